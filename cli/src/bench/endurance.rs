//! Whether a proxy under load stays as it is: its memory, its open files, and no request lost.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contestant::Contestant;
use super::load::{Load, Slice};
use crate::exit::Exit;
use crate::output;

/// How often the proxy is looked at, if there is time for it.
const GLANCE: Duration = Duration::from_secs(10);

/// How much memory may grow in the second half, in KiB: allocators give back late, and never everything.
const GROWTH: u64 = 8 * 1024;

/// Open files that may come and go, beside one for each connection of the load: to the upstream, where it waits for the next request.
const SPARE: usize = 16;

/// How long the proxy may take to notice that clients have left, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a proxy had at a moment.
#[derive(Debug, Clone, Copy)]
struct Glance {
    since: Duration,
    /// KiB.
    memory: u64,
    descriptors: usize,
}

/// Keeps the proxy under load, looks at it, and says whether it stayed as it was.
pub(super) fn soak(proxy: Contestant, load: &Load, seconds: u32, idle: usize) -> Result<Exit> {
    let began = Instant::now();
    let glance = || -> Result<Glance> {
        Ok(Glance { since: began.elapsed(), memory: proxy.memory()?, descriptors: proxy.descriptors()? })
    };
    let before = glance()?;
    tell(&before)?;
    let address = proxy.address();
    let mut still = connect(address, idle)?;
    if idle > 0 {
        let now = glance()?;
        let each = now.memory.saturating_sub(before.memory) as f64 / idle as f64;
        output::print(&format!("{idle} idle connections: {each:.1} KiB each\n"))?;
    }
    let whole = Duration::from_secs(seconds.into());
    let mut glances = Vec::new();
    let slice = thread::scope(|scope| -> Result<Slice> {
        let load = scope.spawn(move || load.run_for(address, seconds));
        let pause = GLANCE.min(whole / 8);
        let mut next = began.elapsed() + pause;
        while !load.is_finished() {
            thread::sleep(Duration::from_millis(50));
            if began.elapsed() >= next {
                next += pause;
                let now = glance()?;
                tell(&now)?;
                glances.push(now);
            }
        }
        load.join().map_err(|_| anyhow::anyhow!("`wrk` cannot be waited for"))?
    })?;
    for client in &mut still {
        ask(client).context("a connection that kept still is served no more")?;
    }
    drop(still);
    let mut after = glance()?;
    let deadline = Instant::now() + PATIENCE;
    let spare = load.connections() + SPARE;
    while after.descriptors > before.descriptors + spare && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
        after = glance()?;
    }
    tell(&after)?;
    let (said, fine) = verdict(&before, &glances, &after, &slice, spare);
    output::print(&said)?;
    Ok(if fine { Exit::Success } else { Exit::Failure })
}

fn tell(glance: &Glance) -> Result<()> {
    output::print(&format!(
        "{:>5} s {:>8.1} MiB {:>6} open files\n",
        glance.since.as_secs(),
        glance.memory as f64 / 1024.0,
        glance.descriptors
    ))?;
    Ok(())
}

/// What came of it, and whether that is fine. Memory grows if the least of the last quarter is more than the most of the first half:
/// modules that are compiled, and whatever else comes and goes, may need more for a while.
fn verdict(before: &Glance, glances: &[Glance], after: &Glance, slice: &Slice, spare: usize) -> (String, bool) {
    let memory = glances.iter().map(|glance| glance.memory);
    let half = glances.len() / 2;
    let most = memory.clone().take(half).max().unwrap_or(before.memory);
    let least = memory.skip(half + half / 2).min().filter(|_| half > 0).unwrap_or(before.memory);
    let grown = least.saturating_sub(most);
    let leaked = after.descriptors.saturating_sub(before.descriptors);
    let mut said = format!(
        "{} requests, {:.0} per second, {} refused, {} failed; memory grew by {:.1} MiB in the second half; {leaked} more open files than before\n",
        slice.requests,
        slice.rate,
        slice.refused,
        slice.errors,
        grown as f64 / 1024.0,
    );
    let mut fine = true;
    let mut wrong = |is: bool, what: &str| {
        if is {
            fine = false;
            // Writing to a text does not fail.
            writeln!(said, "not fine: {what}").ok();
        }
    };
    wrong(slice.errors > 0, "requests have failed");
    wrong(slice.refused > 0, "answers are neither 2xx nor 3xx; a plugin refuses what is asked, or the proxy does");
    wrong(grown > GROWTH, "memory goes on growing");
    wrong(leaked > spare, "files stay open");
    (said, fine)
}

/// Connections that have asked once.
fn connect(to: SocketAddr, count: usize) -> Result<Vec<BufReader<TcpStream>>> {
    let connect = |_| {
        let socket = TcpStream::connect(to).context(
            "no connection can be opened; if there are too many open files, raise the limit with `ulimit -n`, or take fewer",
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client = BufReader::with_capacity(512, socket);
        ask(&mut client)?;
        Ok(client)
    };
    (0..count).map(connect).collect()
}

fn ask(client: &mut BufReader<TcpStream>) -> Result<()> {
    client.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: idle\r\n\r\n")?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(client.read_line(&mut head)? > 0, "the proxy has closed it");
    }
    ensure!(head.starts_with("HTTP/1.1 200 "), "it is answered with `{}`", head.lines().next().unwrap_or_default());
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, memory: u64, descriptors: usize) -> Glance {
        Glance { since: Duration::from_secs(seconds), memory: memory * 1024, descriptors }
    }

    #[test]
    fn what_goes_on_growing_is_told() {
        let before = at(0, 10, 20);
        let flat = [at(10, 50, 40), at(20, 60, 40), at(30, 60, 40), at(40, 61, 40)];
        let slice = Slice { requests: 1, ..Slice::default() };
        let verdict = |glances: &[Glance], after, slice: Slice| verdict(&before, glances, &after, &slice, 30);
        assert!(verdict(&flat, at(41, 60, 30), slice).1);
        assert!(verdict(&[], at(1, 10, 20), slice).1);
        let spike = [flat[0], at(20, 90, 40), flat[2], at(40, 95, 40)];
        assert!(verdict(&spike, at(41, 60, 30), slice).1);
        let growing = [flat[0], flat[1], flat[2], at(40, 80, 40)];
        assert!(verdict(&growing, at(41, 80, 30), slice).0.contains("memory goes on growing"));
        assert!(verdict(&flat, at(41, 60, 80), slice).0.contains("files stay open"));
        assert!(!verdict(&flat, at(41, 60, 30), Slice { errors: 1, ..slice }).1);
        assert!(!verdict(&flat, at(41, 60, 30), Slice { refused: 1, ..slice }).1);
    }
}

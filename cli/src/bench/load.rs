//! One slice of load, made by `wrk`.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::duration;

/// What is sent.
#[derive(Debug)]
pub(super) struct Load {
    connections: u16,
    path: String,
    headers: Vec<String>,
}

/// What came of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Slice {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Answers per second.
    pub(super) rate: f64,
    /// The median, and the times within which 90 and 99 of 100 answers came.
    pub(super) latency: [Duration; 3],
    /// Answers that are neither 2xx nor 3xx.
    pub(super) refused: u64,
    /// Connections that failed, and answers that did not come.
    pub(super) errors: u64,
}

impl Load {
    /// Whether `wrk` is there.
    pub(super) fn check() -> Result<()> {
        if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            bail!("`wrk` is not installed: `apt-get install wrk`, or `brew install wrk`");
        }
        Ok(())
    }

    pub(super) fn new(connections: u16, path: &str, headers: &[String]) -> Self {
        Self { connections, path: path.to_owned(), headers: headers.to_vec() }
    }

    /// How many requests are under way at the same time.
    pub(super) fn connections(&self) -> usize {
        self.connections.into()
    }

    /// A second of it.
    pub(super) fn run(&self, to: SocketAddr) -> Result<Slice> {
        self.run_for(to, 1)
    }

    /// As many seconds of it.
    pub(super) fn run_for(&self, to: SocketAddr, seconds: u32) -> Result<Slice> {
        let mut command = Command::new("wrk");
        command.args(["-t1", "--latency", "-c", &self.connections.to_string(), "-d", &format!("{seconds}s")]);
        for header in &self.headers {
            command.args(["-H", header]);
        }
        let output = command.arg(format!("http://{to}{}", self.path)).output().context("`wrk` cannot be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        parse(&said).with_context(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            format!(
                "`wrk` does not say what it measured: {}",
                said.trim().lines().chain(complaint.lines()).collect::<Vec<_>>().join("; ")
            )
        })
    }
}

fn parse(said: &str) -> Option<Slice> {
    let mut slice = Slice::default();
    let (mut rate, mut requests) = (None, None);
    for line in said.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [percent, time] if percent.ends_with('%') => {
                let place = ["50%", "90%", "99%"].iter().position(|known| *known == percent);
                if let Some(latency) = place.and_then(|place| slice.latency.get_mut(place)) {
                    *latency = duration::parse(time)?;
                }
            }
            ["Requests/sec:", number] => rate = number.parse().ok(),
            [number, "requests", "in", ..] => requests = number.parse().ok(),
            ["Non-2xx", .., number] => slice.refused = number.parse().ok()?,
            ["Socket", "errors:", ..] => {
                let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
                slice.errors = numbers.sum();
            }
            _ => {}
        }
    }
    (slice.rate, slice.requests) = (rate?, requests?);
    Some(slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 8 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
            Latency   250.00us  100.00us   3.00ms   90.00%\n    Req/Sec    20.00k     1.00k   21.00k    75.00%\n  Latency Distribution\n     \
            50%  210.00us\n     75%  300.00us\n     90%  1.25ms\n     99%  2.00s\n  20000 requests in 1.10s, 3.00MB read\n  \
            Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 7\nRequests/sec:  18181.82\nTransfer/sec:      2.72MB\n";
        let slice = parse(said).unwrap();
        assert_eq!((slice.requests, slice.rate, slice.refused, slice.errors), (20000, 18181.82, 7, 3));
        assert_eq!(slice.latency, [Duration::from_micros(210), Duration::from_micros(1250), Duration::from_secs(2)]);
        assert_eq!(parse("unable to connect"), None);
    }
}

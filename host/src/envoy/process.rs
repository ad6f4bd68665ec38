//! A running Envoy: started, watched, and gone when its owner is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client;
use super::complaints::{self, Refusal};
use super::config::{Bootstrap, LISTENER};
use super::log::{FORMAT, Log};
use crate::test::StartError;

/// How long an Envoy may take until it is ready; modules are compiled in that time.
const START: Duration = Duration::from_secs(60);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(10);
/// How long it takes until a dying Envoy has closed its log.
const DYING: Duration = Duration::from_millis(300);
/// How long it may be busy with what it was asked to do.
const SETTLING: Duration = Duration::from_secs(5);
/// How long the exchanges under way in a listener that is replaced may take, in seconds; what is still open is then cut. A route
/// gives up on an answer after 15.
const DRAINING: &str = "20";
/// How long it takes until what Envoy has said has been read, at most.
const HEARSAY: Duration = Duration::from_secs(5);
/// Counts what is refused of listeners and clusters that are discovered.
const REJECTED: &str = r"^(listener_manager\.lds|cluster_manager\.cds)\.update_(rejected|failure)$";
/// How long one question to the admin interface may take.
const ADMIN: Duration = Duration::from_secs(5);

/// Starts Envoy and stays until this process closes its end of the standard input, on purpose or by dying; then
/// ends Envoy and removes its files. `$1` is the folder of these files, the rest is the command.
const WATCHDOG: &str = r#"
folder="$1"; shift
ulimit -n "$(ulimit -Hn)" 2>/dev/null
"$@" </dev/null &
envoy=$!
echo "$envoy" >"$folder/pid"
exec >/dev/null 2>&1
read -r _
kill -KILL "$envoy"
wait "$envoy"
rm -f -- "$folder/bootstrap.json" "$folder/admin" "$folder/pid"
rmdir -- "$folder"
"#;

/// How an Envoy is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of worker threads.
    pub workers: usize,
    /// Whether the log shows every call between Envoy and the plugins.
    pub trace: bool,
}

/// An Envoy that is ready; it ends when this is dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Process {
    watchdog: Child,
    folder: PathBuf,
    admin: SocketAddr,
    listener: SocketAddr,
    log: Log,
}

impl Process {
    /// Starts the binary with that configuration and waits until it is ready.
    pub fn start(binary: &Path, bootstrap: &Bootstrap, options: Options) -> Result<Self, StartError> {
        Self::run(binary, &bootstrap.render(), Some(LISTENER), options)
    }

    /// As [`start`](Self::start), with any configuration, one of whose listeners has that name, if it has any. Listeners and
    /// clusters may be discovered; a refused one prevents the start as it does in the configuration itself, a refused plugin
    /// that is discovered does not.
    pub fn run(binary: &Path, bootstrap: &Value, listener: Option<&str>, options: Options) -> Result<Self, StartError> {
        let io = |error: io::Error| StartError::new(format!("envoy cannot be started: {error}"), Vec::new());
        let folder = folder().map_err(io)?;
        let bootstrap_file = folder.join("bootstrap.json");
        let admin_file = folder.join("admin");
        fs::write(&bootstrap_file, bootstrap.to_string()).map_err(io)?;

        // In a group of its own, so that a Ctrl-C in the terminal leaves it alive to clean up.
        let mut watchdog = Command::new("sh")
            .process_group(0)
            .args(["-c", WATCHDOG, "sh"])
            .arg(&folder)
            .arg(binary)
            .arg("--config-path")
            .arg(&bootstrap_file)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--concurrency", &options.workers.to_string()])
            .args(["--use-dynamic-base-id", "--disable-hot-restart"])
            .args(["--drain-time-s", DRAINING, "--drain-strategy", "immediate"])
            .args(["--log-level", "warning", "--log-format", FORMAT, "--component-log-level"])
            .arg(if options.trace { "wasm:trace" } else { "wasm:debug" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let Some(errors) = watchdog.stderr.take() else {
            return Err(StartError::new("envoy has no standard error", Vec::new()));
        };
        let log = Log::follow(errors).map_err(io)?;

        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { watchdog, folder, admin: unknown, listener: unknown, log };
        process.wait_until_ready(&admin_file, listener)?;
        Ok(process)
    }

    /// Where clients of the listener connect that [`run`](Self::run) was told of.
    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// Where the admin interface listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The id of Envoy's process.
    pub fn id(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.folder.join("pid"))?;
        text.trim().parse().map_err(|_| io::Error::other(format!("`{}` is no process", text.trim())))
    }

    /// The CPU time that all of Envoy's threads have used so far; Linux only.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time(self.id()?)
    }

    /// What Envoy says.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits until it has said nothing for that long and has nothing to do; not much longer than a few seconds.
    pub(super) fn settle(&self, quiet: Duration) {
        let deadline = Instant::now() + SETTLING;
        self.log.settle(quiet);
        while self.is_busy() && Instant::now() < deadline {
            self.log.settle(quiet);
        }
    }

    /// Whether a thread that takes requests runs, or waits for its turn to; false where there is no `/proc`.
    pub(super) fn is_busy(&self) -> bool {
        let Ok(threads) = self.id().and_then(|id| fs::read_dir(format!("/proc/{id}/task"))) else { return false };
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).any(|stat| {
            // `7 (wrk:worker_0) R ..`
            let Some((name, state)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
                return false;
            };
            (name.starts_with("wrk:") || name.starts_with("envoy")) && state.starts_with('R')
        })
    }

    /// Whether it has not ended by itself; takes a moment, as a dying Envoy closes one thing after the other.
    pub fn is_running(&self) -> bool {
        self.log.wait_until_closed(DYING);
        !self.log.is_closed()
    }

    /// The last words of an Envoy that ended by itself, such as `Caught Segmentation fault`.
    pub fn last_words(&self) -> String {
        let records = self.log.records();
        let critical =
            records.iter().rfind(|record| record.level == "critical" && record.message.starts_with("Caught"));
        let words = critical.or(records.last()).and_then(|record| record.message.lines().next());
        words.unwrap_or_default().to_owned()
    }

    /// The value of a counter or gauge by its full name, such as `wasmcustom.hits`.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let stats = self.ask(&format!("/stats?format=json&filter={}", query(&format!("^{}$", literal(name)))))?;
        let found = stats.get("stats")?.as_array()?.iter().find(|stat| stat.get("name").is_some_and(|n| n == name))?;
        found.get("value")?.as_u64()
    }

    /// The counters and gauges whose names match a regular expression; nothing if Envoy does not answer.
    pub fn stats(&self, filter: &str) -> BTreeMap<String, u64> {
        let answer = self.ask(&format!("/stats?format=json&filter={}", query(filter)));
        let stats = answer.as_ref().and_then(|answer| answer.get("stats")?.as_array());
        let pair = |stat: &Value| Some((stat.get("name")?.as_str()?.to_owned(), stat.get("value")?.as_u64()?));
        stats.into_iter().flatten().filter_map(pair).collect()
    }

    /// What of the configuration that Envoy discovers it has refused since this was last asked, and why; waits a moment until
    /// that many are known.
    pub fn refusals(&self, expected: usize) -> Vec<Refusal> {
        self.log.wait_for(expected, HEARSAY, complaints::is_refusal);
        complaints::refusals(&self.log.take_main())
    }

    /// All metrics, as Prometheus reads them; empty if Envoy does not answer.
    pub fn prometheus(&self) -> String {
        let answer = client::get(self.admin, "/stats/prometheus", ADMIN);
        answer.map(|answer| String::from_utf8_lossy(&answer.body()).into_owned()).unwrap_or_default()
    }

    fn wait_until_ready(&mut self, admin_file: &Path, listener: Option<&str>) -> Result<(), StartError> {
        let deadline = Instant::now() + START;
        loop {
            if self.log.is_closed() {
                return Err(self.refusal());
            }
            if self.is_serving(admin_file) {
                if self.stats(REJECTED).values().any(|count| *count > 0) {
                    self.log.wait_for(1, HEARSAY, complaints::is_refusal_of_many);
                    return Err(self.refusal());
                }
                let found = listener.map(|name| self.address_of(name));
                if let Some(found) = found.unwrap_or(Some(self.listener)) {
                    self.listener = found;
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                let message = format!("envoy is not ready after {} s: {}", START.as_secs(), self.last_words());
                return Err(StartError::new(message, self.log.plugin_lines(true)));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Whether everything is up: what is discovered has come, and all workers have their listeners.
    fn is_serving(&mut self, admin_file: &Path) -> bool {
        let text = fs::read_to_string(admin_file).unwrap_or_default();
        let Ok(admin) = text.trim().parse() else { return false };
        self.admin = admin;
        let ready = client::get(self.admin, "/ready", ADMIN).is_ok_and(|answer| answer.status() == 200);
        ready && self.stat("listener_manager.workers_started") == Some(1)
    }

    /// Where a listener listens.
    fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        let listeners = self.ask("/listeners?format=json")?;
        let found = listeners
            .get("listener_statuses")?
            .as_array()?
            .iter()
            .find(|found| found.get("name").is_some_and(|name| name == listener))?;
        let address = found.get("local_address")?.get("socket_address")?;
        let port = u16::try_from(address.get("port_value")?.as_u64()?).ok()?;
        Some(SocketAddr::new(address.get("address")?.as_str()?.parse().ok()?, port))
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = client::get(self.admin, path, ADMIN).ok()?;
        serde_json::from_slice(&answer.body()).ok()
    }

    /// Why Envoy did not start: the plugin's own complaint if there is one, and Envoy's.
    fn refusal(&self) -> StartError {
        let records = self.log.records();
        // Those that are discovered. A plugin that is refused has not prevented the start.
        let refused = complaints::refusals(&records).into_iter().filter(|refusal| !refusal.name.is_empty());
        let mut complaints: Vec<_> =
            refused.map(|refusal| format!("`{}` is refused: {}", refusal.name, refusal.reason)).collect();
        if complaints.is_empty() {
            complaints = complaints::of(&records);
        }
        if complaints.is_empty() {
            complaints.push(format!("it ended without a word: {}", self.last_words()));
        }
        StartError::new(format!("envoy did not start: {}", complaints.join("; ")), self.log.plugin_lines(true))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // The watchdog kills Envoy without mercy, so this does not wait long.
        let _ended = self.watchdog.wait();
    }
}

/// The CPU time that all threads of a process have used so far; Linux only.
pub fn cpu_time(process: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let used = fs::read_to_string(thread?.path().join("schedstat"))?;
        let used = used.split_whitespace().next().and_then(|used| used.parse::<u64>().ok());
        nanoseconds += used.ok_or_else(|| io::Error::other("the kernel does not tell the time of threads"))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A new folder for the files of one Envoy, which may hold what nobody else is to read; the watchdog removes it.
fn folder() -> io::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix("wasmplugin-envoy-").tempdir()?.keep())
}

/// A regular expression that matches the text itself.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_alphanumeric() && character != '_' && character.is_ascii() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Text as the value of a query parameter.
fn query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_name_may_have_any_characters() {
        assert_eq!(literal("a.b{c}"), "a\\.b\\{c\\}");
        assert_eq!(query("^a\\.b"), "%5Ea%5C%2Eb");
    }
}

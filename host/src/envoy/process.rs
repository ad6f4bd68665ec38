//! A running Envoy: started, watched, and gone when its owner is.

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
use super::config::{Bootstrap, LISTENER};
use super::log::{FORMAT, Log, Record};
use crate::test::StartError;

/// How long an Envoy may take until it is ready; modules are compiled in that time.
const START: Duration = Duration::from_secs(60);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(10);
/// How long it takes until a dying Envoy has closed its log.
const DYING: Duration = Duration::from_millis(300);
/// How long it may be busy with what it was asked to do.
const SETTLING: Duration = Duration::from_secs(5);
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

/// What Envoy says after it has said what is wrong with a plugin.
const ECHOES: [&str; 3] = ["Plugin ", "error `", "Unable to create Wasm plugin"];

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
        Self::run(binary, &bootstrap.render(), LISTENER, options)
    }

    /// As [`start`](Self::start), with any configuration, one of whose listeners has that name.
    pub fn run(binary: &Path, bootstrap: &Value, listener: &str, options: Options) -> Result<Self, StartError> {
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

    /// Where clients connect.
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

    /// All metrics, as Prometheus reads them; empty if Envoy does not answer.
    pub fn prometheus(&self) -> String {
        let answer = client::get(self.admin, "/stats/prometheus", ADMIN);
        answer.map(|answer| String::from_utf8_lossy(&answer.body()).into_owned()).unwrap_or_default()
    }

    fn wait_until_ready(&mut self, admin_file: &Path, name: &str) -> Result<(), StartError> {
        let deadline = Instant::now() + START;
        loop {
            if self.log.is_closed() {
                return Err(self.refusal());
            }
            if let Some(listener) = self.find_ready(admin_file, name) {
                self.listener = listener;
                return Ok(());
            }
            if Instant::now() > deadline {
                let message = format!("envoy is not ready after {} s: {}", START.as_secs(), self.last_words());
                return Err(StartError::new(message, self.log.plugin_lines(true)));
            }
            thread::sleep(GLANCE);
        }
    }

    /// The listener's address, once everything is up.
    fn find_ready(&mut self, admin_file: &Path, listener: &str) -> Option<SocketAddr> {
        self.admin = fs::read_to_string(admin_file).ok()?.trim().parse().ok()?;
        let ready = client::get(self.admin, "/ready", ADMIN).ok()?;
        if ready.status() != 200 {
            return None;
        }
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
        let mut complaints: Vec<String> = Vec::new();
        for record in self.log.records() {
            let Some(complaint) = complaint(&record) else { continue };
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
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

/// What of a record tells a reader why Envoy refused to start.
fn complaint(record: &Record) -> Option<String> {
    let message = record.message.lines().next().unwrap_or_default().trim();
    let loud = matches!(record.level.as_str(), "error" | "critical");
    if let Some(said) = message.strip_prefix("wasm log") {
        return loud.then(|| said.split_once(": ").map_or(said, |(_, text)| text).trim().to_owned());
    }
    if !loud || ECHOES.iter().any(|echo| message.starts_with(echo)) {
        return None;
    }
    Some(message.strip_prefix("Wasm VM failed ").unwrap_or(message).to_owned())
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

    fn record(level: &str, logger: &str, message: &str) -> Record {
        Record {
            level: level.to_owned(),
            logger: logger.to_owned(),
            thread: "1".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_plugins_complaint_counts_when_it_is_loud() {
        let loud = record("error", "wasm", "wasm log root: `a`: expected a number");
        assert_eq!(complaint(&loud).as_deref(), Some("`a`: expected a number"));
        assert_eq!(complaint(&record("info", "wasm", "wasm log root: hello")), None);
        assert_eq!(complaint(&record("warning", "main", "no limit")), None);
        assert_eq!(complaint(&record("critical", "", "cannot open")).as_deref(), Some("cannot open"));
        let reason = record("critical", "wasm", "Wasm VM failed Failed to configure base Wasm plugin");
        assert_eq!(complaint(&reason).as_deref(), Some("Failed to configure base Wasm plugin"));
        assert_eq!(complaint(&record("critical", "wasm", "Plugin a failed to load")), None);
    }

    #[test]
    fn a_metrics_name_may_have_any_characters() {
        assert_eq!(literal("a.b{c}"), "a\\.b\\{c\\}");
        assert_eq!(query("^a\\.b"), "%5Ea%5C%2Eb");
    }
}

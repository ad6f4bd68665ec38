//! What a running Envoy says: its log, record by record, and what of it comes from the plugins.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sandbox::RESTRICTED;
use crate::test::{LogLevel, LogLine, TraceLine};

/// Begins a record, so that a message may have several lines.
const RECORD: char = '\x1e';
/// Separates the parts of a record.
const PART: char = '\x1f';

/// Envoy's `--log-format`: level, logger, thread, message.
pub(super) const FORMAT: &str = "\x1e%l\x1f%n\x1f%t\x1f%v";

/// The log so far; a thread keeps adding to it until Envoy closes its end.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    /// The thread of the very first record.
    main: Option<String>,
    closed: bool,
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How loud it is, in Envoy's word.
    pub level: String,
    /// Who says it, such as `wasm` or `main`; empty for what is not in the log's format.
    pub logger: String,
    /// The thread that says it.
    pub thread: String,
    /// What it says, mostly one line.
    pub message: String,
}

impl Log {
    /// Reads until the other side closes.
    pub(super) fn follow(source: impl Read + Send + 'static) -> std::io::Result<Self> {
        let log = Self { shared: Arc::default() };
        let writer = log.clone();
        std::thread::Builder::new().name("envoy log".to_owned()).spawn(move || {
            let mut lines = BufReader::new(source);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                writer.push(String::from_utf8_lossy(&line).trim_end_matches('\n'));
                line.clear();
            }
            writer.lock().closed = true;
            writer.shared.changed.notify_all();
        })?;
        Ok(log)
    }

    /// Every record so far.
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// Whether Envoy has closed its log, that is, has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until Envoy has closed its log; not longer than that.
    pub(super) fn wait_until_closed(&self, patience: Duration) {
        let ended = self.shared.changed.wait_timeout_while(self.lock(), patience, |state| !state.closed);
        drop(ended);
    }

    /// Waits until nothing has been said for that long; not longer than ten times that.
    pub(super) fn settle(&self, quiet: Duration) {
        let deadline = Instant::now() + quiet * 10;
        let mut state = self.lock();
        while !state.closed && Instant::now() < deadline {
            let known = state.records.len();
            let (next, timeout) = self
                .shared
                .changed
                .wait_timeout_while(state, quiet, |state| state.records.len() == known && !state.closed)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() {
                return;
            }
        }
    }

    /// What the plugins logged in the workers; with `everywhere`, also what they logged while they were tried out.
    pub fn plugin_lines(&self, everywhere: bool) -> Vec<LogLine> {
        self.of_plugins(everywhere).iter().filter_map(plugin_line).collect()
    }

    /// What the plugins logged in the workers since this was last asked, with Envoy's words before it
    /// (`wasm log <plugin> <root id> <vm id>: `). It is then forgotten, so that a long run does not pile it up.
    pub fn take_plugin_lines(&self) -> Vec<LogLine> {
        let mut state = self.lock();
        let main = state.main.clone();
        let said = |record: &mut Record| main.as_ref() != Some(&record.thread) && plugin_line(record).is_some();
        let taken = state.records.extract_if(.., said);
        taken.map(|record| LogLine { level: record.loudness(), text: record.message }).collect()
    }

    /// What Envoy's main thread has said since this was last asked. It is then forgotten, as above.
    pub(super) fn take_main(&self) -> Vec<Record> {
        let mut state = self.lock();
        let main = state.main.clone();
        state.records.extract_if(.., |record| main.as_ref() == Some(&record.thread)).collect()
    }

    /// Waits until that many records pass the test; not longer than that.
    pub(super) fn wait_for(&self, count: usize, patience: Duration, test: impl Fn(&Record) -> bool) {
        let lacks = |state: &mut State| {
            !state.closed && state.records.iter().filter(|record| test(record)).take(count).count() < count
        };
        let waited = self.shared.changed.wait_timeout_while(self.lock(), patience, lacks);
        drop(waited);
    }

    /// The calls between Envoy and the plugins in the workers.
    pub fn calls(&self) -> Vec<TraceLine> {
        self.of_plugins(false).iter().filter_map(|record| TraceLine::parse(&record.message)).collect()
    }

    /// The records of the `wasm` logger.
    ///
    /// Envoy configures every plugin twice on its main thread before a worker does.
    fn of_plugins(&self, everywhere: bool) -> Vec<Record> {
        let state = self.lock();
        let is_main = |record: &Record| state.main.as_ref() == Some(&record.thread);
        let wanted = |record: &&Record| record.logger == "wasm" && (everywhere || !is_main(record));
        state.records.iter().filter(wanted).cloned().collect()
    }

    fn push(&self, line: &str) {
        let mut state = self.lock();
        match Record::parse(line) {
            Some(record) => {
                state.main.get_or_insert_with(|| record.thread.clone());
                state.records.push(record);
            }
            None => match state.records.last_mut() {
                Some(record) => {
                    record.message.push('\n');
                    record.message.push_str(line);
                }
                None => state.records.push(Record {
                    level: "critical".to_owned(),
                    logger: String::new(),
                    thread: String::new(),
                    message: line.to_owned(),
                }),
            },
        }
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix(RECORD)?.splitn(4, PART);
        Some(Self {
            level: parts.next()?.to_owned(),
            logger: parts.next()?.to_owned(),
            thread: parts.next()?.to_owned(),
            message: parts.next()?.to_owned(),
        })
    }

    fn loudness(&self) -> LogLevel {
        match self.level.as_str() {
            "trace" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warning" => LogLevel::Warn,
            "error" => LogLevel::Error,
            _ => LogLevel::Critical,
        }
    }
}

/// A plugin's line without `wasm log <plugin> <root id> <vm id>: `, or what it may not do, where Envoy names no plugin.
fn plugin_line(record: &Record) -> Option<LogLine> {
    let text = match record.message.strip_prefix("wasm log") {
        Some(line) => line.split_once(": ")?.1,
        None => Some(record.message.as_str()).filter(|text| text.starts_with(RESTRICTED))?,
    };
    Some(LogLine { level: record.loudness(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &'static str) -> Log {
        let log = Log::follow(text.as_bytes()).unwrap();
        log.settle(Duration::from_secs(1));
        assert!(log.is_closed());
        log
    }

    #[test]
    fn a_record_may_have_several_lines() {
        let log = log("before\n\x1einfo\x1fwasm\x1f7\x1fwasm log p: a: b\nsecond\n\x1einfo\x1fmain\x1f7\x1fx\n");
        let records = log.records();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].message, "before");
        assert_eq!(records[1].message, "wasm log p: a: b\nsecond");
        assert_eq!(records[2].logger, "main");
    }

    #[test]
    fn plugin_lines_are_those_of_the_workers() {
        let log = log("\x1edebug\x1fwasm\x1f1\x1fBase Wasm created 1 now active\n\
             \x1einfo\x1fwasm\x1f1\x1fwasm log: configured\n\
             \x1einfo\x1fwasm\x1f2\x1fwasm log: configured\n\
             \x1eerror\x1fwasm\x1f1\x1fAttempted call to restricted WASI capability: fd_write\n\
             \x1ewarning\x1fwasm\x1f2\x1fwasm log hello root: see: this\n");
        let lines = log.plugin_lines(false);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], LogLine { level: LogLevel::Warn, text: "see: this".to_owned() });
        assert_eq!(log.plugin_lines(true).len(), 4);
        let taken = log.take_plugin_lines();
        assert_eq!(taken[1], LogLine { level: LogLevel::Warn, text: "wasm log hello root: see: this".to_owned() });
        assert!(log.take_plugin_lines().is_empty());
        assert_eq!(log.records().len(), 3);
        log.wait_for(3, Duration::ZERO, |record| record.thread == "1");
        assert_eq!(log.take_main().len(), 3);
        assert!(log.take_main().is_empty());
        assert!(log.plugin_lines(true).is_empty());
    }
}

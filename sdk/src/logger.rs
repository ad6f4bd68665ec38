//! The `log` facade over the host's log.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::sys;

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Trace => 0,
                Level::Debug => 1,
                Level::Info => 2,
                Level::Warn => 3,
                Level::Error => 4,
            };
            // There is nowhere to report a log line that cannot be written.
            let _ = sys::log(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Takes the `log` macros over, unless the program has a logger of its own (in native tests).
pub(crate) fn install() {
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Writes from now on what the host writes; a host that cannot say gets everything from `info` up.
pub(crate) fn follow_host() {
    log::set_max_level(match sys::log_level() {
        Ok(0) => LevelFilter::Trace,
        Ok(1) => LevelFilter::Debug,
        Ok(3) => LevelFilter::Warn,
        Ok(4) => LevelFilter::Error,
        Ok(5 | 6) => LevelFilter::Off,
        Ok(_) | Err(_) => LevelFilter::Info,
    });
}

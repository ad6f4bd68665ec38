//! What plugins and the embedded proxy log, on the standard error.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

/// The variable that says how much is shown, in the words of [`LevelFilter`].
const VARIABLE: &str = "WASMPLUGIN_LOG";

/// The target of what plugins log.
pub(crate) const PLUGINS: &str = "wasm";

/// Writes lines, or keeps them while it is not clear whether anybody should see them.
struct Logger {
    held: Mutex<Option<String>>,
}

static LOGGER: Logger = Logger { held: Mutex::new(None) };

/// Shows nothing, or as much as the variable says: most verbs say themselves what is worth knowing.
pub(crate) fn install() {
    // Nobody else installs a logger in this process.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(asked().unwrap_or(LevelFilter::Off));
    }
}

/// Shows what should not be missed, unless the variable says how much is wanted.
pub(crate) fn show_warnings() {
    log::set_max_level(asked().unwrap_or(LevelFilter::Warn));
}

/// Will show what plugins say from `info` on, unless the variable says how much is wanted, once it is clear that they
/// start: the complaints of one that does not are part of its error.
pub(crate) fn hold_plugins() {
    log::set_max_level(asked().unwrap_or(LevelFilter::Info));
    *LOGGER.lock() = Some(String::new());
}

/// Shows what was held, and what comes.
pub(crate) fn show_plugins() {
    if let Some(text) = LOGGER.lock().take() {
        print(&text);
    }
}

fn asked() -> Option<LevelFilter> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below have much to say that nobody asked for, and what fails is an error of ours anyway.
        let ours = metadata.target() == PLUGINS || metadata.target().starts_with("wasmplugin");
        metadata.level() <= log::max_level() && ours
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}\n", record.level().as_str().to_ascii_lowercase(), record.args());
            match &mut *self.lock() {
                Some(held) => held.push_str(&line),
                None => print(&line),
            }
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn print(text: &str) {
    // Without a standard error there is nobody to tell.
    let _gone = std::io::stderr().write_all(text.as_bytes());
}

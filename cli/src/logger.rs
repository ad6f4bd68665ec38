//! What plugins and the embedded proxy log, on the standard error.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

/// The variable that says how much is shown, in the words of [`LevelFilter`].
const VARIABLE: &str = "WASMPLUGIN_LOG";

/// The target of what plugins log.
pub(crate) const PLUGINS: &str = "wasm";

/// How the targets of our own crates begin, this one's among them.
const OURS: [&str; 2] = ["wasmplugin", env!("CARGO_CRATE_NAME")];

/// Writes lines, or keeps them while it is not clear whether anybody should see them.
struct Logger {
    held: Mutex<Option<String>>,
    /// Lines of plugins for whoever compares them.
    copied: Mutex<Option<Vec<String>>>,
}

static LOGGER: Logger = Logger { held: Mutex::new(None), copied: Mutex::new(None) };

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
    *lock(&LOGGER.held) = Some(String::new());
}

/// Shows what was held, and what comes.
pub(crate) fn show_plugins() {
    if let Some(text) = lock(&LOGGER.held).take() {
        print(&text);
    }
}

/// Keeps a copy of what plugins say from now on, for [`take_copies`].
pub(crate) fn copy_plugins() {
    *lock(&LOGGER.copied) = Some(Vec::new());
}

/// What plugins have said since this was last asked, each line as it is shown.
pub(crate) fn take_copies() -> Vec<String> {
    lock(&LOGGER.copied).as_mut().map(std::mem::take).unwrap_or_default()
}

/// A line as it is shown.
pub(crate) fn line(level: log::Level, text: impl std::fmt::Display) -> String {
    format!("{}: {text}", level.as_str().to_ascii_lowercase())
}

fn asked() -> Option<LevelFilter> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below have much to say that nobody asked for, and what fails is an error of ours anyway.
        let target = metadata.target();
        let ours = target == PLUGINS || OURS.iter().any(|name| target.starts_with(name));
        metadata.level() <= log::max_level() && ours
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = line(record.level(), record.args());
            if record.target() == PLUGINS
                && let Some(copied) = &mut *lock(&self.copied)
            {
                copied.push(line.clone());
            }
            line.push('\n');
            match &mut *lock(&self.held) {
                Some(held) => held.push_str(&line),
                None => print(&line),
            }
        }
    }

    fn flush(&self) {}
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print(text: &str) {
    // Without a standard error there is nobody to tell.
    let _gone = std::io::stderr().write_all(text.as_bytes());
}

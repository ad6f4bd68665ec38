//! What plugins and the embedded proxy log, on the standard error.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// The variable that says how much is shown, in the words of [`LevelFilter`].
const VARIABLE: &str = "WASMPLUGIN_LOG";

/// The target of what plugins log.
pub(crate) const PLUGINS: &str = "wasm";

struct Logger;

/// Shows warnings and errors, or as much as the variable says.
pub(crate) fn install() {
    let asked = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    // Nobody else installs a logger in this process.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(asked.unwrap_or(LevelFilter::Warn));
    }
}

/// Shows what plugins say from `info` on, unless the variable says how much is wanted.
pub(crate) fn show_plugins() {
    if std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below have much to say that nobody asked for.
        let ours = metadata.target() == PLUGINS || metadata.target().starts_with("wasmplugin");
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            // Without a standard error there is nobody to tell.
            let _gone = writeln!(std::io::stderr(), "{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}

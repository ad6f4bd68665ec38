//! Lines of plugins on their way to the log, in Envoy's words.

use log::Level;
use wasmplugin_host::abi::LogLevel;
use wasmplugin_host::services::{LogRecord, LogSink};

/// Hands lines to the `log` facade, under the target `wasm` as in Envoy.
pub(crate) fn sink() -> LogSink {
    Box::new(|record: LogRecord<'_>| {
        let level = match record.level {
            LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error | LogLevel::Critical => Level::Error,
        };
        log::log!(target: "wasm", level, "{record}");
    })
}

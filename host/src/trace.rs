//! Envoy's `wasm:trace` lines: what the host called in the guest and the guest in the host, with every answer.

use std::fmt;

use crate::guest::Callback;
use crate::imports::{Import, Param};

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceLine {
    /// `[host->vm] name(arguments)`: a callback begins.
    Enter {
        /// The export.
        name: String,
        /// Its arguments.
        arguments: Vec<u64>,
    },
    /// `[vm->host] env.name(arguments)`: a host call begins.
    Call {
        /// The import, with its module.
        name: String,
        /// Its arguments.
        arguments: Vec<u64>,
    },
    /// `[vm<-host] env.name return: value`: a host call ends.
    Return {
        /// The import, with its module.
        name: String,
        /// Its answer; `None` for `void`.
        value: Option<u64>,
    },
    /// `[host<-vm] name return: value`: a callback ends.
    Leave {
        /// The export.
        name: String,
        /// Its answer; `None` for `void`.
        value: Option<u64>,
    },
}

impl TraceLine {
    pub(crate) fn enter(callback: Callback) -> Self {
        Self::Enter { name: callback.name().into(), arguments: callback.arguments().as_slice().to_vec() }
    }

    pub(crate) fn leave(callback: Callback, answer: u32) -> Self {
        Self::Leave { name: callback.name().into(), value: callback.answers().then_some(answer.into()) }
    }

    pub(crate) fn call(import: &Import, arguments: &[u64]) -> Self {
        Self::Call { name: format!("env.{}", import.name), arguments: arguments.to_vec() }
    }

    pub(crate) fn answer(import: &Import, status: u32) -> Self {
        Self::Return { name: format!("env.{}", import.name), value: Some(status.into()) }
    }

    /// Reads a line back, such as one from a real Envoy's log, whatever stands before it.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let at = line.find("[host->vm]").or_else(|| line.find("[vm->host]")).or_else(|| line.find("[vm<-host]"));
        let (mark, rest) = line.get(at.or_else(|| line.find("[host<-vm]"))?..)?.split_once(' ')?;
        if matches!(mark, "[host->vm]" | "[vm->host]") {
            let (name, arguments) = rest.split_once('(')?;
            let arguments = arguments.trim_end().strip_suffix(')')?;
            let arguments = arguments
                .split(',')
                .map(str::trim)
                .filter(|argument| !argument.is_empty())
                .map(|argument| argument.parse().ok())
                .collect::<Option<Vec<u64>>>()?;
            let name = name.to_owned();
            Some(if mark == "[host->vm]" { Self::Enter { name, arguments } } else { Self::Call { name, arguments } })
        } else {
            let (name, value) = rest.split_once(" return: ")?;
            let (name, value) = (name.to_owned(), value.trim_end());
            let value = if value == "void" { None } else { Some(value.parse().ok()?) };
            Some(if mark == "[vm<-host]" { Self::Return { name, value } } else { Self::Leave { name, value } })
        }
    }

    /// The line without what differs between two right hosts: addresses become 0.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        if let Self::Call { name, arguments } = &mut self
            && let Some(import) = name.rsplit('.').next().and_then(Import::find)
        {
            for (argument, param) in arguments.iter_mut().zip(import.meaning) {
                if matches!(param, Param::Pointer | Param::Out) {
                    *argument = 0;
                }
            }
        }
        self
    }

    /// Whether the line belongs to a callback, not to a host call.
    #[must_use]
    pub const fn is_callback(&self) -> bool {
        matches!(self, Self::Enter { .. } | Self::Leave { .. })
    }
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter { name, arguments } => write!(f, "[host->vm] {name}({})", Commas(arguments)),
            Self::Call { name, arguments } => write!(f, "[vm->host] {name}({})", Commas(arguments)),
            Self::Return { name, value } => write!(f, "[vm<-host] {name} return: {}", OrVoid(*value)),
            Self::Leave { name, value } => write!(f, "[host<-vm] {name} return: {}", OrVoid(*value)),
        }
    }
}

/// The part of a trace in which two right hosts agree: without start-up, allocations and WASI, without addresses.
#[must_use]
pub fn comparable(lines: impl IntoIterator<Item = TraceLine>) -> Vec<TraceLine> {
    let agreed = |line: &TraceLine| match line {
        TraceLine::Enter { name, .. } | TraceLine::Leave { name, .. } => {
            name.starts_with("proxy_on_") && name != "proxy_on_memory_allocate"
        }
        TraceLine::Call { name, .. } | TraceLine::Return { name, .. } => name.starts_with("env.proxy_"),
    };
    lines.into_iter().filter(agreed).map(TraceLine::normalised).collect()
}

struct Commas<'a>(&'a [u64]);

impl fmt::Display for Commas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, argument) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{argument}")?;
        }
        Ok(())
    }
}

struct OrVoid(Option<u64>);

impl fmt::Display for OrVoid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("void"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        for line in [
            "[host->vm] proxy_on_request_headers(2, 7, 1)",
            "[vm->host] env.proxy_log(2, 1049, 3)",
            "[vm<-host] env.proxy_log return: 0",
            "[host<-vm] proxy_on_request_headers return: 0",
            "[host<-vm] proxy_on_log return: void",
            "[vm->host] env.proxy_done()",
        ] {
            let parsed = TraceLine::parse(&format!("[2026-11-21][4761][trace][wasm] [x.cc:1] {line}")).unwrap();
            assert_eq!(parsed.to_string(), line);
        }
        assert_eq!(TraceLine::parse("nothing"), None);
    }

    #[test]
    fn what_only_one_host_shows_is_left_out() {
        let lines = [
            "[host->vm] _initialize()",
            "[host->vm] proxy_on_tick(1)",
            "[vm->host] env.proxy_get_property(1024, 9, 16, 20)",
            "[host->vm] proxy_on_memory_allocate(259)",
            "[host<-vm] proxy_on_memory_allocate return: 1063872",
            "[vm<-host] env.proxy_get_property return: 0",
            "[vm->host] wasi_snapshot_preview1.fd_write(1, 2, 3, 4)",
        ];
        let lines = comparable(lines.iter().map(|line| TraceLine::parse(line).unwrap()));
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "[host->vm] proxy_on_tick(1)",
                "[vm->host] env.proxy_get_property(0, 9, 0, 0)",
                "[vm<-host] env.proxy_get_property return: 0",
            ]
        );
    }

    #[test]
    fn addresses_do_not_matter() {
        let line = TraceLine::parse("[vm->host] env.proxy_log(2, 1049, 3)").unwrap();
        assert_eq!(line.normalised().to_string(), "[vm->host] env.proxy_log(2, 0, 3)");
    }
}

//! One line of Envoy's `wasm:trace`.

use std::fmt;

use crate::callback::Callback;

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

    pub(crate) fn call(name: &str, arguments: &[u64]) -> Self {
        Self::Call { name: format!("env.{name}"), arguments: arguments.to_vec() }
    }

    pub(crate) fn answer(name: &str, status: u32) -> Self {
        Self::Return { name: format!("env.{name}"), value: Some(status.into()) }
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

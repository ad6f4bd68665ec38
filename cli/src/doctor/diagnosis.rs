//! What was found out about one thing.

/// What was found out about one thing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// What was looked at, e.g. `rust`.
    pub(super) name: String,
    pub(super) state: State,
    /// What was found.
    pub(super) said: String,
    /// What to type; empty where nothing has to be done.
    pub(super) help: String,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Something does not work that not everybody needs, or may go wrong.
    Warn,
    /// Something does not work that is needed.
    Fail,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Diagnosis {
    pub(super) fn ok(name: impl Into<String>, said: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, said: said.into(), help: String::new() }
    }

    pub(super) fn warn(name: impl Into<String>, said: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warn, said: said.into(), help: help.into() }
    }

    pub(super) fn fail(name: impl Into<String>, said: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Fail, said: said.into(), help: help.into() }
    }
}

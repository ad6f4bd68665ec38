//! What the lint tells.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub kind: FindingKind,
    /// The plugin's name.
    pub plugin: String,
    /// The callback during which it was noticed; empty if none ran.
    pub callback: &'static str,
    /// What is wrong, in words.
    pub message: String,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Envoy 1.40 would crash, with all its workers.
    Crash,
    /// A stream was continued and then paused by the same callback: nothing continues it any more.
    ContinueThenPause,
    /// A stream was continued by a callback that then lets it continue once more: headers pass twice.
    ContinueTwice,
    /// A second local reply for one stream; only the first counts.
    SecondReply,
    /// A body does not have the length that `content-length` says.
    ContentLength,
    /// A callout decided against a request that had reached the upstream before.
    BeforeDecision,
    /// A header map was used while it does not exist.
    AbsentMap,
    /// A header map was set from bytes that are no pairs, which empties it.
    MalformedPairs,
    /// A stream ended while a plugin still held it.
    LeftWaiting,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`", self.plugin)?;
        if !self.callback.is_empty() {
            write!(f, " in `{}`", self.callback)?;
        }
        write!(f, ": {}", self.message)
    }
}

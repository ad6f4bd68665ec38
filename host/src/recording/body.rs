//! What is kept of a body: its size, and how it begins.

use std::sync::Arc;

use super::Leg;
use crate::headers::HeaderMap;

/// Bytes that are kept of one body at one place.
pub(super) const BEGINNING: usize = 4096;

/// A body at one point of the chain, as far as it has come there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub point: Point,
    /// The plugin at that place; empty at the ends of the chain.
    pub plugin: Arc<str>,
    /// What was seen there.
    pub body: Body,
}

/// Where a body is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// At an end of the chain.
    End(Leg),
    /// Behind a plugin that has changed it and is not the last on its way.
    Behind {
        /// The plugin's place in the chain, from 0.
        place: usize,
        /// Whether it is the response's body.
        response: bool,
    },
}

/// What is kept of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// All bytes of it, so far.
    pub bytes: u64,
    /// How it begins.
    pub content: Content,
    /// Bytes behind the beginning, or all of them where nothing of the content is kept.
    pub omitted: u64,
    /// Whether there were secrets in what is kept, which were taken out.
    pub redacted: bool,
    /// Whether nothing follows.
    pub end: bool,
}

/// The beginning of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It is text.
    Text(String),
    /// It is not text.
    Bytes(Vec<u8>),
    /// Nothing of it is kept, for this reason.
    Nothing(String),
}

impl Body {
    /// A whole body as it is, before secrets are taken out.
    pub(crate) fn raw(whole: &[u8], headers: &HeaderMap) -> Self {
        let bytes = whole.len() as u64;
        match encoding(|name| headers.get_str(name)) {
            Some(encoding) if !whole.is_empty() => Self::unkept(bytes, true, unreadable(encoding)),
            _ => Self::begun(whole.get(..BEGINNING).unwrap_or(whole).to_vec(), bytes, true),
        }
    }

    /// A body that begins like this.
    pub(super) fn begun(begin: Vec<u8>, bytes: u64, end: bool) -> Self {
        let omitted = bytes.saturating_sub(begin.len() as u64);
        Self { bytes, content: Content::Bytes(begin), omitted, redacted: false, end }
    }

    /// A body of which only the size is kept.
    pub(super) const fn unkept(bytes: u64, end: bool, why: String) -> Self {
        Self { bytes, content: Content::Nothing(why), omitted: bytes, redacted: false, end }
    }

    /// Whether it is kept to the last byte, as it was.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.end && !self.redacted && self.omitted == 0 && !matches!(self.content, Content::Nothing(_))
    }

    /// The bytes that its content takes.
    pub(super) const fn weight(&self) -> usize {
        match &self.content {
            Content::Text(text) | Content::Nothing(text) => text.len(),
            Content::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Point {
    /// Whether it is on the way of the response.
    #[must_use]
    pub const fn is_response(self) -> bool {
        match self {
            Self::End(leg) => matches!(leg, Leg::ResponseIn | Leg::ResponseOut),
            Self::Behind { response, .. } => response,
        }
    }

    /// Its place on the way from the client to the upstream and back.
    pub(super) fn order(self) -> (bool, usize) {
        match self {
            Self::End(Leg::RequestIn) => (false, 0),
            Self::Behind { place, response: false } => (false, place + 1),
            Self::End(Leg::RequestOut) => (false, usize::MAX),
            Self::End(Leg::ResponseIn) => (true, 0),
            Self::Behind { place, response: true } => (true, usize::MAX - 1 - place),
            Self::End(Leg::ResponseOut) => (true, usize::MAX),
        }
    }
}

/// How a body is packed, so that no secret could be found in it.
pub(super) fn encoding<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Option<&'a str> {
    ["content-encoding", "grpc-encoding"].into_iter().find_map(|name| header(name).filter(|value| *value != "identity"))
}

/// Why nothing is kept of what is packed.
pub(super) fn unreadable(encoding: &str) -> String {
    let encoding: String = encoding.chars().take(64).collect();
    format!("it is encoded with {encoding}, where secrets cannot be found")
}

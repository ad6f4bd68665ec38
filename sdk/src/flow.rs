//! What a synchronous hook decides.

use crate::reply::Reply;

/// The decision of a synchronous hook.
#[derive(Debug)]
#[must_use = "a hook returns its decision"]
pub enum Flow {
    /// The message moves on.
    Continue,
    /// The exchange ends with this answer.
    Reply(Box<Reply>),
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

//! The end of a handler: its decision was made.

/// The proof that an exchange was decided; only a decision makes one.
#[derive(Debug)]
#[must_use = "a handler ends by returning its decision"]
pub struct Done {
    _private: (),
}

impl Done {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }
}

//! The parameters of a request to the admin port.

/// What follows the path.
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of a request with that query, if it has one.
    pub(crate) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The value of a parameter; empty if it has none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let parts = self.0.split('&').filter(|part| !part.is_empty());
        parts.map(|part| part.split_once('=').unwrap_or((part, "")))
    }
}

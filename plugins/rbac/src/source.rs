//! Where facts come from: the request or the connection that is decided about.

use wasmplugin::attributes::{Attribute, Value};
use wasmplugin::headers::Headers;
use wasmplugin::tcp::ConnectionHead;
use wasmplugin::{Request, Result};

/// What the proxy tells about one request or connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'s> {
    Request(&'s Request),
    Connection(&'s ConnectionHead),
}

impl<'s> Source<'s> {
    /// An attribute; `None` where the proxy has none.
    pub(crate) fn attribute<T: Value>(self, attribute: Attribute<T>) -> Result<Option<T>> {
        match self {
            Self::Request(request) => (**request).attribute(attribute),
            Self::Connection(connection) => connection.attribute(attribute),
        }
    }

    /// The request's header lines; `None` of a connection.
    pub(crate) fn headers(self) -> Result<Option<&'s Headers>> {
        match self {
            Self::Request(request) => (**request).headers().map(Some),
            Self::Connection(_) => Ok(None),
        }
    }
}

//! Where facts come from: the request or the connection that is decided about.

use wasmplugin::attributes::{Attribute, Value};
use wasmplugin::headers::Headers;
use wasmplugin::tcp::ConnectionHead;
use wasmplugin::{Request, Result};

/// What the proxy tells about one request or connection.
pub(crate) trait Source {
    /// An attribute; `None` where the proxy has none.
    fn attribute<T: Value>(&self, attribute: Attribute<T>) -> Result<Option<T>>;

    /// The request's header lines; `None` of a connection.
    fn headers(&self) -> Result<Option<&Headers>>;
}

impl Source for Request {
    fn attribute<T: Value>(&self, attribute: Attribute<T>) -> Result<Option<T>> {
        (**self).attribute(attribute)
    }

    fn headers(&self) -> Result<Option<&Headers>> {
        (**self).headers().map(Some)
    }
}

impl Source for ConnectionHead {
    fn attribute<T: Value>(&self, attribute: Attribute<T>) -> Result<Option<T>> {
        self.attribute(attribute)
    }

    fn headers(&self) -> Result<Option<&Headers>> {
        Ok(None)
    }
}

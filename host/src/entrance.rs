//! Where exchanges come in: the listener, and the route table behind it.

use crate::headers::HeaderMap;
use crate::surroundings::{Listener, Router, Routing};

/// Where the exchanges of a chain come in.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    listener: Listener,
    router: Option<Router>,
}

impl Entrance {
    /// Through this listener, with no route table behind it.
    #[must_use]
    pub const fn new(listener: Listener) -> Self {
        Self { listener, router: None }
    }

    /// The same with a route table: where a request with these headers goes. It is asked when the headers come, and
    /// again behind the filters if one of them changed them or cleared the route cache.
    #[must_use]
    pub fn with_router(mut self, look: impl Fn(&HeaderMap) -> Routing + Send + Sync + 'static) -> Self {
        self.router = Some(Router::new(look));
        self
    }

    /// The listener.
    #[must_use]
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where a request with these headers goes; nothing where there is no route table.
    pub(crate) fn route(&self, headers: &HeaderMap) -> Option<Routing> {
        self.router.as_ref().map(|router| router.look(headers))
    }
}

//! What a plugin holds of a TCP connection; each step takes the one before.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;

use futures_lite::future::poll_fn;

use super::wire::Wire;
use crate::attributes::attribute_methods;
use crate::done::Done;
use crate::error::{Error, Result};
use crate::stream::Side;
use crate::{runtime, sys};

/// What is known of a connection, from its beginning to its log.
pub struct ConnectionHead {
    context: u32,
}

impl ConnectionHead {
    pub(crate) fn new(context: u32) -> Self {
        Self { context }
    }

    attribute_methods!(Connection, |head| runtime::focus(head.context));

    /// Where the client connects from, as Envoy's `source.address` has it.
    ///
    /// # Errors
    ///
    /// The host does not tell, or the client came over a socket without an IP address.
    pub fn source(&self) -> Result<SocketAddr> {
        self.address("source\0address")
    }

    /// Where the client has connected to, as Envoy's `destination.address` has it.
    ///
    /// # Errors
    ///
    /// As [`source`](Self::source).
    pub fn destination(&self) -> Result<SocketAddr> {
        self.address("destination\0address")
    }

    fn address(&self, path: &str) -> Result<SocketAddr> {
        runtime::focus(self.context)?;
        let bytes = sys::property(path)?;
        let text = std::str::from_utf8(&bytes).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::malformed(format!("no address: `{}`", bytes.escape_ascii())))
    }
}

impl fmt::Debug for ConnectionHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHead").field("context", &self.context).finish()
    }
}

/// A connection that waits for the plugin: the proxy has not connected to the upstream yet.
///
/// Of the client's bytes none is here before it has: take what is to be read with [`into_downstream`],
/// [`into_upstream`] or [`into_halves`]. A connection that is dropped without a decision is closed.
///
/// [`into_downstream`]: Self::into_downstream
/// [`into_upstream`]: Self::into_upstream
/// [`into_halves`]: Self::into_halves
#[must_use = "a connection waits until it is passed or closed"]
pub struct Connection {
    wire: Rc<Wire>,
    head: ConnectionHead,
}

impl Connection {
    pub(crate) fn new(wire: Rc<Wire>) -> Self {
        let head = ConnectionHead::new(wire.id());
        Self { wire, head }
    }

    /// Lets the connection go on; all bytes pass untouched.
    pub fn pass(self) -> Result<Done> {
        self.wire.pass(Side::Downstream)?;
        self.wire.pass(Side::Upstream)?;
        self.wire.open()?;
        Ok(Done::new())
    }

    /// Closes the connection. No upstream ever hears of it.
    pub fn close(self) -> Result<Done> {
        self.wire.close();
        Ok(Done::new())
    }

    /// Lets the proxy connect; the plugin sees the bytes of both peers.
    ///
    /// Take care of both at the same time, as with [`join`](crate::future::join): what is not read waits.
    pub fn into_halves(self) -> Result<(Downstream, Upstream)> {
        self.wire.open()?;
        Ok((Downstream { wire: Rc::clone(&self.wire) }, Upstream { wire: self.wire }))
    }

    /// Lets the proxy connect; the plugin sees the client's bytes, and the upstream's pass untouched.
    pub fn into_downstream(self) -> Result<Downstream> {
        self.wire.pass(Side::Upstream)?;
        self.wire.open()?;
        Ok(Downstream { wire: self.wire })
    }

    /// Lets the proxy connect; the plugin sees the upstream's bytes, and the client's pass untouched.
    pub fn into_upstream(self) -> Result<Upstream> {
        self.wire.pass(Side::Downstream)?;
        self.wire.open()?;
        Ok(Upstream { wire: self.wire })
    }
}

impl Deref for Connection {
    type Target = ConnectionHead;

    fn deref(&self) -> &ConnectionHead {
        &self.head
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("context", &self.head.context).finish_non_exhaustive()
    }
}

macro_rules! half {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        ///
        /// A direction that is dropped without a decision closes the connection.
        #[must_use = "a direction waits until it is passed or closed"]
        pub struct $name {
            wire: Rc<Wire>,
        }

        impl $name {
            const SIDE: Side = Side::$name;

            /// What is known of the connection.
            pub fn head(&self) -> ConnectionHead {
                ConnectionHead::new(self.wire.id())
            }

            /// Takes the next bytes, `limit` of them at most; `None` when no more will come.
            ///
            /// What is [written](Self::write) before all that has come is taken, and more is asked for, goes on in
            /// their place; nothing written means that they are left out.
            pub async fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
                poll_fn(|cx| self.wire.poll_read(Self::SIDE, limit, cx)).await
            }

            /// Takes everything up to the end of this direction.
            ///
            /// # Errors
            ///
            /// More than `limit` bytes come before the end. The host keeps them meanwhile, up to its own limit (1 MiB
            /// in Envoy by default), beyond which it stops reading: a `limit` above that one is never reached.
            pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>> {
                poll_fn(|cx| self.wire.poll_whole(Self::SIDE, limit, cx)).await
            }

            /// Shows the next `count` bytes, fewer only at the end, and leaves them there.
            ///
            /// More than the host keeps (1 MiB in Envoy by default) never comes together.
            pub async fn peek(&mut self, count: usize) -> Result<Vec<u8>> {
                poll_fn(|cx| self.wire.poll_peek(Self::SIDE, count, cx)).await
            }

            /// Sends bytes on, with the next that go.
            pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
                self.wire.write(Self::SIDE, bytes.as_ref());
            }

            /// Sends on what was written; all that was not taken, and all that follows, passes untouched.
            pub fn pass(self) -> Result<Done> {
                self.wire.pass(Self::SIDE)?;
                Ok(Done::new())
            }

            /// Closes the connections to both peers; what they have been sent before still arrives.
            pub fn close(self) -> Result<Done> {
                self.wire.close();
                Ok(Done::new())
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.wire.dropped(Self::SIDE);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("context", &self.wire.id()).finish_non_exhaustive()
            }
        }
    };
}

half! {
    /// The direction from the client to the upstream.
    ///
    /// While the plugin waits, for whatever, the bytes that have come and were not let go stay in the host.
    Downstream
}

half! {
    /// The direction from the upstream to the client.
    ///
    /// The host lets these bytes go only at the moment when some come. So a plugin that reads them should go on to
    /// read before it waits for anything else: what it decides later goes out with the next bytes of the upstream.
    /// When the upstream has sent its last ones while the plugin still waits, the connection is closed, since the host
    /// can neither hold them nor send them later.
    Upstream
}

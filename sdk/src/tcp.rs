//! Plugins for TCP: the trait, and what it decides.
//!
//! ```
//! use std::rc::Rc;
//!
//! use wasmplugin::tcp::Connection;
//! use wasmplugin::{Done, Result, Tcp};
//!
//! /// Lets only clients pass that speak SSH.
//! struct SshOnly;
//!
//! impl Tcp for SshOnly {
//!     async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done> {
//!         let mut client = connection.into_downstream()?;
//!         match client.peek(4).await?.as_slice() {
//!             b"SSH-" => client.pass(),
//!             _ => client.close(),
//!         }
//!     }
//! }
//!
//! wasmplugin::plugin!(SshOnly: Tcp);
//! # fn main() {}
//! ```

mod adapter;
mod both;
#[doc(hidden)]
pub mod callbacks;
mod connection;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::background::Idle;
use crate::done::Done;
use crate::error::Result;

pub(crate) use adapter::configured;
pub(crate) use both::configured as both_configured;
pub use connection::{Connection, ConnectionHead, Downstream, Upstream};

/// A plugin that works on TCP connections; implement what you need, the rest lets everything pass.
///
/// ```text
///   client ──► on_connection ──► connection ─ ─ ─ ─ ─► the proxy connects to the upstream
///   client ═══════► Downstream ════════► upstream      bytes, and the client's half-close
///   client ◄═══════ Upstream ◄══════════ upstream      bytes, and the upstream's half-close
///                   on_log, when all is over
/// ```
///
/// `on_connection` decides at once. `connection` may wait: for callouts, timers, bytes. While it does, no byte passes
/// in a direction that it did not let go. A connection whose plugin fails, or panics, is closed. State of one
/// connection is the handler's local variables; state of the plugin is `self`, one value per worker thread of the
/// proxy.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a TCP plugin yet",
    note = "implement `wasmplugin::Tcp` for it: `impl Tcp for {Self} {{}}`"
)]
pub trait Tcp: Sized + 'static {
    /// A client has connected; the upstream has not been.
    fn on_connection(&self, connection: &ConnectionHead) -> Result<TcpFlow> {
        let _ = connection;
        Ok(TcpFlow::Continue)
    }

    /// Works on the whole connection, written as
    /// `async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done>`.
    fn connection(self: Rc<Self>, connection: Connection) -> impl Future<Output = Result<Done>> + 'static {
        Pass(Some(connection))
    }

    /// Works beside the connections, written as `async fn background(self: Rc<Self>) -> Result<()>`; see
    /// [`background`](crate::background) for when it begins and ends.
    fn background(self: Rc<Self>) -> impl Future<Output = Result<()>> + 'static {
        Idle
    }

    /// The connection is over.
    fn on_log(&self, connection: &ConnectionHead) {
        let _ = connection;
    }
}

/// The decision of [`Tcp::on_connection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a hook returns its decision"]
pub enum TcpFlow {
    /// The connection goes on.
    Continue,
    /// The connection is closed; no upstream ever hears of it.
    Close,
}

/// The handler of a plugin that has none; its type is how the dispatcher knows.
struct Pass(Option<Connection>);

impl Future for Pass {
    type Output = Result<Done>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Done>> {
        Poll::Ready(match self.0.take() {
            Some(connection) => connection.pass(),
            None => Ok(Done::new()),
        })
    }
}

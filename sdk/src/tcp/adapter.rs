//! How the dispatcher sees a TCP plugin.

use std::any::TypeId;
use std::future::Future;
use std::rc::Rc;

use super::wire::Wire;
use super::{Connection, ConnectionHead, Pass, Tcp, TcpFlow};
use crate::background::{Idle, supervise};
use crate::done::Done;
use crate::error::{Error, Result};
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Instance, Past};
use crate::reply::Reply;
use crate::runtime;
use crate::stream::{Action, Stream};

/// Puts a TCP plugin behind the dispatcher.
pub(crate) fn configured<P: Tcp>(plugin: P) -> Configured {
    Configured(Rc::new(adapter(Rc::new(plugin), P::connection, P::background)))
}

/// Makes any TCP plugin an [`Instance`]. `F` is the future of its handler, `B` that of its background task.
pub(super) struct Adapter<P, F, B> {
    plugin: Rc<P>,
    handle: fn(Rc<P>, Connection) -> F,
    background: fn(Rc<P>) -> B,
}

/// Names the type of a handler's future, which only a function's signature can.
pub(super) fn adapter<P, F, B>(
    plugin: Rc<P>,
    handle: fn(Rc<P>, Connection) -> F,
    background: fn(Rc<P>) -> B,
) -> Adapter<P, F, B> {
    Adapter { plugin, handle, background }
}

impl<P, F, B> Instance for Adapter<P, F, B>
where
    P: Tcp,
    F: Future<Output = Result<Done>> + 'static,
    B: Future<Output = Result<()>> + 'static,
{
    /// A connection that passes at once leaves nothing behind.
    fn new_connection(&self, context: u32, root: u32) -> (Action, Option<Rc<dyn Stream>>) {
        let wire = match self.plugin.on_connection(&ConnectionHead::new(context)) {
            Ok(TcpFlow::Continue) if TypeId::of::<F>() == TypeId::of::<Pass>() => return (Action::Continue, None),
            Ok(TcpFlow::Continue) => Rc::new(Wire::new(context)),
            Ok(TcpFlow::Close) => return closed(context),
            Err(error) => {
                log::error!("connection {context} failed: {error}");
                return closed(context);
            }
        };
        let action = wire.arrived(|| {
            let future = (self.handle)(Rc::clone(&self.plugin), Connection::new(Rc::clone(&wire)));
            let wire = Rc::clone(&wire);
            drop(runtime::start(context, root, Box::pin(async move { settle(&wire, future.await) })));
        });
        (action, Some(wire))
    }

    /// Somebody has put a plugin for TCP among the filters for HTTP.
    fn request_headers(&self, context: u32, _root: u32, _end: bool) -> (Action, Option<Rc<dyn Stream>>) {
        log::error!("exchange {context} was refused: the plugin is for TCP");
        Reply::new(500).details("plugin_error").send_or_reset();
        (Action::Pause, None)
    }

    fn response_headers(&self, _context: u32, _past: Past<'_>, _end: bool) -> Action {
        Action::Continue
    }

    fn log(&self, context: u32, _entry: &LogEntry) {
        self.plugin.on_log(&ConnectionHead::new(context));
    }

    fn begin(&self, root: u32) -> bool {
        TypeId::of::<B>() == TypeId::of::<Idle>() || supervise(root, Rc::clone(&self.plugin), self.background)
    }
}

/// A connection that a hook has closed.
fn closed(context: u32) -> (Action, Option<Rc<dyn Stream>>) {
    let wire = Wire::new(context);
    wire.close();
    (Action::Pause, Some(Rc::new(wire)))
}

/// Closes a connection whose handler has ended in an error, or without a decision.
fn settle(wire: &Wire, outcome: Result<Done>) {
    let error = match outcome {
        Err(error) => error,
        Ok(Done { .. }) if wire.undecided() => Error::app("the handler ended without a decision"),
        Ok(Done { .. }) => return,
    };
    log::error!("connection {} failed: {error}", wire.id());
    wire.close();
}

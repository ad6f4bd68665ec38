//! What an author implements, and how the dispatcher sees it.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::config::ConfigError;
use crate::done::Done;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Action, Exchange, Half};
use crate::flow::Flow;
use crate::head::{RequestHead, ResponseHead};
use crate::log_entry::LogEntry;
use crate::reply::Reply;
use crate::request::Request;
use crate::runtime;

/// A plugin that works on HTTP exchanges; implement what you need, the rest lets everything pass.
///
/// ```text
///            client ──► on_request ──► handle ─ ─ ─ ─ forward ─ ─ ─ ─► upstream
///            client ◄── ─ ─ ─ pass ◄── handle ◄── on_response ◄─────── upstream
///                                 on_log, when all is over
/// ```
///
/// The hooks `on_request` and `on_response` decide at once and cost nothing but themselves. `handle` may wait: for
/// callouts, timers, bodies, the response. While it does, nothing of the exchange moves, whatever
/// `allow_on_headers_stop_iteration` says. State of one exchange is the handler's local variables; state of the
/// plugin is `self`, one value per worker thread of the proxy.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin yet",
    note = "implement `wasmplugin::Http` for it: `impl Http for {Self} {{}}`"
)]
pub trait Http: Sized + 'static {
    /// The request's headers are here.
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let _ = request;
        Ok(Flow::Continue)
    }

    /// The response's headers are here: the upstream's, or those of an answer made in the proxy.
    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        let _ = response;
        Ok(Flow::Continue)
    }

    /// Works on the whole exchange, written as `async fn handle(self: Rc<Self>, request: Request) -> Result<Done>`.
    fn handle(self: Rc<Self>, request: Request) -> impl Future<Output = Result<Done>> + 'static {
        Pass(Some(request))
    }

    /// The exchange is over.
    fn on_log(&self, entry: &LogEntry) {
        let _ = entry;
    }

    /// What the client gets when a hook or the handler fails.
    ///
    /// Unless overridden, an empty answer: 503 after a failed callout, 413 when a body is too large, 500 otherwise.
    /// The error is in the log already. After the response's headers have gone, the exchange is cut off instead.
    fn on_error(&self, error: &Error) -> Reply {
        let status = match error.kind() {
            ErrorKind::Callout(_) => 503,
            ErrorKind::BodyTooLarge { .. } => 413,
            _ => 500,
        };
        Reply::new(status).details("plugin_error")
    }
}

/// The handler of a plugin that has none; its type is how the dispatcher knows.
struct Pass(Option<Request>);

impl Future for Pass {
    type Output = Result<Done>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Done>> {
        Poll::Ready(match self.0.take() {
            Some(request) => request.pass(),
            None => Ok(Done::new()),
        })
    }
}

/// Makes an instance of a plugin from its configuration.
pub(crate) type Factory = fn(&[u8]) -> Result<Configured, ConfigError>;

/// A plugin with its configuration; opaque outside.
#[derive(Clone)]
pub struct Configured(pub(crate) Rc<dyn Instance>);

impl Configured {
    pub(crate) fn new(plugin: impl Http) -> Self {
        Self(Rc::new(Adapter(Rc::new(plugin))))
    }
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").finish_non_exhaustive()
    }
}

/// A configured plugin, as the dispatcher sees it.
pub(crate) trait Instance {
    fn request_headers(&self, exchange: &Rc<Exchange>, end: bool) -> Action;
    fn response_headers(&self, exchange: &Rc<Exchange>, end: bool) -> Action;
    fn log(&self, entry: &LogEntry);
}

/// Makes any plugin an [`Instance`].
struct Adapter<P>(Rc<P>);

impl<P: Http> Adapter<P> {
    /// Whether the plugin has a handler of its own: answered by the compiler, from the type of its future.
    fn handles() -> bool {
        fn future<P, F: Future + 'static>(_: fn(Rc<P>, Request) -> F) -> TypeId {
            TypeId::of::<F>()
        }
        future(P::handle) != TypeId::of::<Pass>()
    }

    fn fail(plugin: &P, exchange: &Exchange, error: &Error) {
        log::error!("exchange {} failed: {error}", exchange.id());
        exchange.reply(&plugin.on_error(error));
    }

    /// Carries a hook's decision out; whether the message moves on.
    fn settle(&self, exchange: &Exchange, flow: Result<Flow>) -> bool {
        match flow {
            Ok(Flow::Continue) => return true,
            Ok(Flow::Reply(reply)) => exchange.reply(&reply),
            Err(error) => Self::fail(&self.0, exchange, &error),
        }
        false
    }

    fn start_handler(&self, exchange: &Rc<Exchange>, head: RequestHead) {
        let plugin = Rc::clone(&self.0);
        let exchange = Rc::clone(exchange);
        runtime::start(exchange.id(), exchange.root(), async move {
            let outcome = Rc::clone(&plugin).handle(Request::new(head)).await;
            let error = match outcome {
                Err(error) => error,
                // A decision about another exchange's request is none about this one.
                Ok(Done { .. }) if exchange.undecided() => Error::app("the handler ended without a decision"),
                Ok(Done { .. }) => return,
            };
            Self::fail(&plugin, &exchange, &error);
        });
    }
}

impl<P: Http> Instance for Adapter<P> {
    fn request_headers(&self, exchange: &Rc<Exchange>, end: bool) -> Action {
        exchange.headers_arrived(Half::Request, end, || {
            let mut head = RequestHead::new(exchange);
            let flow = self.0.on_request(&mut head);
            if !self.settle(exchange, flow) {
            } else if Self::handles() {
                self.start_handler(exchange, head);
            } else if let Err(error) = exchange.release(Half::Request) {
                Self::fail(&self.0, exchange, &error);
            }
        })
    }

    fn response_headers(&self, exchange: &Rc<Exchange>, end: bool) -> Action {
        let wanted = exchange.response_wanted();
        exchange.headers_arrived(Half::Response, end, || {
            let flow = self.0.on_response(&mut ResponseHead::new(exchange));
            if self.settle(exchange, flow) && !wanted {
                if let Err(error) = exchange.release(Half::Response) {
                    Self::fail(&self.0, exchange, &error);
                }
            }
        })
    }

    fn log(&self, entry: &LogEntry) {
        self.0.on_log(entry);
    }
}

//! What an author implements, and how the dispatcher sees it.

use std::any::TypeId;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::background::{Idle, Singleton, supervise};
use crate::config::ConfigError;
use crate::done::Done;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::Exchange;
use crate::flow::Flow;
use crate::head::{RequestHead, ResponseHead};
use crate::log_entry::LogEntry;
use crate::reply::Reply;
use crate::request::Request;
use crate::runtime;
use crate::stream::{Action, Half, Stream};
use crate::sys::BufferKind;

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

    /// Works beside the exchanges, written as `async fn background(self: Rc<Self>) -> Result<()>`; see
    /// [`background`](crate::background) for when it begins and ends.
    fn background(self: Rc<Self>) -> impl Future<Output = Result<()>> + 'static {
        Idle
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
            #[cfg(feature = "grpc")]
            ErrorKind::Grpc(_) => 503,
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
        Self(Rc::new(shared(Rc::new(plugin))))
    }

    pub(crate) fn singleton(plugin: impl Singleton) -> Self {
        Self(Rc::new(Alone(Rc::new(plugin))))
    }
}

/// A plugin for HTTP, as the dispatcher sees it.
pub(crate) fn shared(plugin: Rc<impl Http>) -> impl Instance {
    adapter(plugin, Http::handle, Http::background)
}

/// Whether a plugin has a handler, as the compiler sees it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn has_handler<P: Http>() -> bool {
    fn handles<P, F: 'static>(_: fn(Rc<P>, Request) -> F) -> bool {
        TypeId::of::<F>() != TypeId::of::<Pass>()
    }
    handles(P::handle)
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").finish_non_exhaustive()
    }
}

/// What a plugin has done with an exchange before its response came.
#[derive(Clone, Copy)]
pub(crate) enum Past<'a> {
    /// It let the request pass at once.
    Passed,
    /// It answered at once: the response is its own, and there is no second one.
    Answered,
    /// Its handler waits, or has waited.
    Waited(&'a dyn Stream),
}

/// A configured plugin, as the dispatcher sees it.
///
/// Only an exchange whose handler waits has an [`Exchange`]: what never waits leaves nothing behind.
pub(crate) trait Instance {
    fn request_headers(&self, context: u32, root: u32, end: bool) -> (Action, Option<Rc<dyn Stream>>);
    fn response_headers(&self, context: u32, past: Past<'_>, end: bool) -> Action;
    fn log(&self, context: u32, entry: &LogEntry);

    /// A piece of a body passes that no handler works on; called once an observer was configured.
    fn body_passes(&self, context: u32, body: BufferKind, size: usize) {
        let _ = (context, body, size);
    }

    /// A TCP client has connected. The connection is returned if there will be something to do for it.
    fn new_connection(&self, context: u32, root: u32) -> (Action, Option<Rc<dyn Stream>>) {
        // A module with a plugin for HTTP does not export this callback, and then everything passes.
        let _ = (context, root);
        (Action::Continue, None)
    }

    /// Begins what the plugin does beside the exchanges, if anything; whether there was room for it.
    fn begin(&self, root: u32) -> bool;
}

/// Makes any plugin an [`Instance`]. `F` is the future of its handler, `B` that of its background task.
struct Adapter<P, F, B> {
    plugin: Rc<P>,
    handle: fn(Rc<P>, Request) -> F,
    background: fn(Rc<P>) -> B,
    /// The memory of the last handler that did not wait, for the next one.
    spare: Cell<Option<Place<P, F>>>,
}

/// The memory that a handler and its exchange live in.
type Place<P, F> = (Pin<Box<Handler<P, F>>>, Rc<Exchange>);

/// Names the types of a plugin's futures, which only a function's signature can.
fn adapter<P, F, B>(plugin: Rc<P>, handle: fn(Rc<P>, Request) -> F, background: fn(Rc<P>) -> B) -> Adapter<P, F, B> {
    Adapter { plugin, handle, background, spare: Cell::new(None) }
}

pin_project! {
    /// A handler at work, with what it takes to carry its outcome out.
    struct Handler<P, F> {
        work: Option<(Rc<P>, Rc<Exchange>)>,
        #[pin]
        future: Option<F>,
    }
}

impl<P: Http, F: Future<Output = Result<Done>>> Future for Handler<P, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let outcome = ready!(future.poll(cx));
        this.future.set(None);
        if let Some((plugin, exchange)) = this.work.take() {
            settle(&*plugin, &exchange, outcome);
        }
        Poll::Ready(())
    }
}

/// Makes sure that an exchange whose handler has ended is decided.
fn settle<P: Http>(plugin: &P, exchange: &Exchange, outcome: Result<Done>) {
    let error = match outcome {
        Err(error) => error,
        // A decision about another exchange's request is none about this one.
        Ok(Done { .. }) if exchange.undecided() => Error::app("the handler ended without a decision"),
        // Nobody is left to wait for a response.
        Ok(Done { .. }) => return exchange.want_response(false),
    };
    exchange.reply(&failure(plugin, exchange.id(), &error));
}

impl<P: Http, F: Future<Output = Result<Done>> + 'static, B> Adapter<P, F, B> {
    /// Whether the plugin has a handler of its own: answered by the compiler, from the type of its future.
    fn handles() -> bool {
        TypeId::of::<F>() != TypeId::of::<Pass>()
    }

    /// What a hook's decision is; `Some` ends the exchange.
    fn verdict(&self, context: u32, flow: Result<Flow>) -> Option<Box<Reply>> {
        match flow {
            Ok(Flow::Continue) => None,
            Ok(Flow::Reply(reply)) => Some(reply),
            Err(error) => Some(Box::new(failure(&*self.plugin, context, &error))),
        }
    }

    /// Runs the handler as far as it gets; the exchange is returned if it waits.
    fn run_handler(&self, context: u32, root: u32, end: bool, head: RequestHead) -> (Action, Option<Rc<dyn Stream>>) {
        let (mut handler, exchange) = self.place(context, root);
        let mut ended = None;
        let action = exchange.headers_arrived(Half::Request, end, || {
            let request = Request::new(Rc::clone(&exchange), head);
            let work = Some((Rc::clone(&self.plugin), Rc::clone(&exchange)));
            let future = Some((self.handle)(Rc::clone(&self.plugin), request));
            handler.set(Handler { work, future });
            ended = runtime::start(context, root, handler);
        });
        match ended {
            Some(handler) => {
                self.spare.set(Some((handler, exchange)));
                (action, None)
            }
            None => (action, Some(exchange)),
        }
    }

    /// The memory for a handler and its exchange: the spare one, unless somebody still holds it.
    fn place(&self, context: u32, root: u32) -> Place<P, F> {
        let new = Exchange::new(context, root);
        match self.spare.take() {
            Some((handler, mut exchange)) => {
                match Rc::get_mut(&mut exchange) {
                    Some(old) => *old = new,
                    None => exchange = Rc::new(new),
                }
                (handler, exchange)
            }
            None => (Box::pin(Handler { work: None, future: None }), Rc::new(new)),
        }
    }
}

/// What the client gets for an error, which goes to the log.
fn failure<P: Http>(plugin: &P, context: u32, error: &Error) -> Reply {
    log::error!("exchange {context} failed: {error}");
    plugin.on_error(error)
}

impl<P, F, B> Instance for Adapter<P, F, B>
where
    P: Http,
    F: Future<Output = Result<Done>> + 'static,
    B: Future<Output = Result<()>> + 'static,
{
    fn request_headers(&self, context: u32, root: u32, end: bool) -> (Action, Option<Rc<dyn Stream>>) {
        let mut head = RequestHead::new(context);
        let flow = self.plugin.on_request(&mut head);
        if let Some(reply) = self.verdict(context, flow) {
            reply.send_or_reset();
            return (Action::Pause, None);
        }
        if !Self::handles() {
            return (Action::Continue, None);
        }
        self.run_handler(context, root, end, head)
    }

    fn response_headers(&self, context: u32, past: Past<'_>, end: bool) -> Action {
        let flow = self.plugin.on_response(&mut ResponseHead::new(context));
        let reply = self.verdict(context, flow);
        match (past, reply) {
            (Past::Waited(exchange), reply) => exchange.response_arrived(end, reply.as_deref()),
            (Past::Passed, Some(reply)) => {
                reply.send_or_reset();
                Action::Pause
            }
            (Past::Passed | Past::Answered, _) => Action::Continue,
        }
    }

    fn log(&self, _context: u32, entry: &LogEntry) {
        self.plugin.on_log(entry);
    }

    fn begin(&self, root: u32) -> bool {
        // Answered by the compiler, as with the handler: a plugin without one carries nothing of this.
        TypeId::of::<B>() == TypeId::of::<Idle>() || supervise(root, Rc::clone(&self.plugin), self.background)
    }
}

/// A singleton as an [`Instance`]: it has a background task, and no exchange is its own.
struct Alone<P>(Rc<P>);

impl<P: Singleton> Instance for Alone<P> {
    fn request_headers(&self, context: u32, _root: u32, _end: bool) -> (Action, Option<Rc<dyn Stream>>) {
        log::error!("exchange {context} was refused: a singleton takes none, so it must not be among the filters");
        Reply::new(500).details("plugin_error").send_or_reset();
        (Action::Pause, None)
    }

    fn response_headers(&self, _context: u32, _past: Past<'_>, _end: bool) -> Action {
        Action::Continue
    }

    fn log(&self, _context: u32, _entry: &LogEntry) {}

    fn begin(&self, root: u32) -> bool {
        supervise(root, Rc::clone(&self.0), Singleton::run)
    }
}

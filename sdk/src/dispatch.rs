//! The host's callbacks: finds the plugin and the exchange that each is about.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::ConfigError;
use crate::error::Result;
#[cfg(feature = "grpc")]
use crate::grpc;
use crate::id_map::IdMap;
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Factory, Past};
use crate::reply::Reply;
use crate::stream::{Action, Half, Stream};
use crate::sys::{self, BufferKind};
use crate::{callout, logger, machinery, runtime, time};

/// One configured use of the plugin: the root context of the specification.
struct Root {
    id: u32,
    factory: Factory,
    instance: Option<Configured>,
}

/// What the dispatcher keeps of a stream.
enum Kept {
    /// The plugin works on it, or has.
    Stream(Rc<dyn Stream>),
    /// The plugin has answered without a wait.
    Answered,
}

struct Dispatcher {
    factory: Cell<Option<Factory>>,
    /// Few, mostly one.
    roots: RefCell<Vec<Root>>,
    /// The root of an exchange that is not in `parents`: the one that was alone when the exchange began.
    sole_root: Cell<u32>,
    /// The roots of exchanges that began while there were several.
    parents: RefCell<IdMap<u32>>,
    /// The exchanges that were answered or whose handler waits, or has waited, and the TCP connections that a plugin
    /// works on.
    kept: RefCell<IdMap<Kept>>,
}

thread_local! {
    static DISPATCHER: Dispatcher = const {
        Dispatcher {
            factory: Cell::new(None),
            roots: RefCell::new(Vec::new()),
            sole_root: Cell::new(0),
            parents: RefCell::new(IdMap::new()),
            kept: RefCell::new(IdMap::new()),
        }
    };
}

/// Makes a type the plugin of this module (natively: of this thread, for the root contexts made from now on).
pub(crate) fn register(factory: Factory) {
    logger::install();
    DISPATCHER.with(|dispatcher| dispatcher.factory.set(Some(factory)));
}

pub(crate) fn context_create(context: u32, root: u32) {
    DISPATCHER.with(|dispatcher| {
        if root != 0 {
            if root != dispatcher.sole_root.get() {
                dispatcher.parents.borrow_mut().insert(context, root);
            }
        } else if let Some(factory) = dispatcher.factory.get() {
            let mut roots = dispatcher.roots.borrow_mut();
            machinery::forget_shown::call(context);
            if roots.is_empty() {
                dispatcher.sole_root.set(context);
            }
            roots.push(Root { id: context, factory, instance: None });
        }
    });
}

pub(crate) fn configure(root: u32, size: usize) -> bool {
    runtime::enter(root);
    runtime::enter_root(root);
    logger::follow_host();
    match read_configuration(root, size) {
        Ok(instance) => {
            let begins = instance.clone();
            let earlier = DISPATCHER.with(|dispatcher| {
                let mut roots = dispatcher.roots.borrow_mut();
                roots.iter_mut().find(|known| known.id == root).and_then(|root| root.instance.replace(instance))
            });
            if earlier.is_some() {
                machinery::end_tasks::call(root);
            }
            drop(earlier);
            if !begins.0.begin(root) {
                log::error!("the background task was not started: this VM has too many tasks");
            }
            runtime::run();
            true
        }
        Err(error) => {
            // Not through the `log` facade: this line has to be written, whatever the level.
            let _ = sys::log(4, &error.to_string());
            false
        }
    }
}

fn read_configuration(root: u32, size: usize) -> Result<Configured, ConfigError> {
    let factory = DISPATCHER
        .with(|dispatcher| dispatcher.roots.borrow().iter().find(|known| known.id == root).map(|root| root.factory));
    let factory = factory.ok_or_else(|| ConfigError::new("no plugin is registered in this module"))?;
    let configuration = match size {
        0 => Vec::new(),
        _ => sys::buffer_bytes(BufferKind::PluginConfiguration, 0, usize::MAX).map_err(crate::Error::from)?,
    };
    if configuration.len() != size {
        return Err(ConfigError::new(format!("the host announced {size} bytes and gave {}", configuration.len())));
    }
    factory(&configuration)
}

pub(crate) fn request_headers(context: u32, end: bool) -> Action {
    runtime::enter(context);
    let (root, instance) = plugin_of(context);
    runtime::enter_root(root);
    let Some(instance) = instance else {
        // A plugin that is not configured must not let anything pass.
        log::error!("exchange {context} was refused: the plugin is not configured");
        Reply::new(500).details("plugin_error").send_or_reset();
        keep(context, Kept::Answered);
        return Action::Pause;
    };
    let (action, waiting) = instance.0.request_headers(context, root, end);
    match (waiting, action) {
        (Some(exchange), _) => keep(context, Kept::Stream(exchange)),
        (None, Action::Pause) => keep(context, Kept::Answered),
        (None, Action::Continue) => {}
    }
    runtime::run();
    action
}

pub(crate) fn response_headers(context: u32, end: bool) -> Action {
    runtime::enter(context);
    let (root, instance) = plugin_of(context);
    runtime::enter_root(root);
    let action = match instance {
        Some(instance) => {
            let waiting = stream(context);
            let past = match &waiting {
                Some(exchange) => Past::Waited(&**exchange),
                None if is_answered(context) => Past::Answered,
                None => Past::Passed,
            };
            instance.0.response_headers(context, past, end)
        }
        None => Action::Continue,
    };
    runtime::run();
    action
}

pub(crate) fn body(context: u32, half: Half, size: usize, end: bool) -> Action {
    let Some(stream) = stream(context) else {
        machinery::body_passes::call(context, half.body(), size);
        return unattended(context, half);
    };
    runtime::enter(context);
    stream.body_arrived(half, size, end)
}

pub(crate) fn trailers(context: u32, half: Half) -> Action {
    let Some(stream) = stream(context) else { return unattended(context, half) };
    runtime::enter(context);
    stream.trailers_arrived(half)
}

/// What becomes of the rest of a message whose exchange no handler waits for: it passes, unless the plugin has
/// refused the request it belongs to.
fn unattended(context: u32, half: Half) -> Action {
    if half == Half::Request && is_answered(context) { Action::Pause } else { Action::Continue }
}

/// Whether the plugin has answered at once.
fn is_answered(context: u32) -> bool {
    DISPATCHER.with(|dispatcher| matches!(dispatcher.kept.borrow().get(context), Some(Kept::Answered)))
}

/// The plugin that an exchange belongs to, and its root.
pub(crate) fn plugin_of(context: u32) -> (u32, Option<Configured>) {
    DISPATCHER.with(|dispatcher| {
        let parent = dispatcher.parents.borrow().get(context).copied();
        let root = parent.unwrap_or_else(|| dispatcher.sole_root.get());
        let roots = dispatcher.roots.borrow();
        (root, roots.iter().find(|known| known.id == root).and_then(|root| root.instance.clone()))
    })
}

/// The exchange whose handler waits or has waited, or the TCP connection that a plugin works on.
pub(crate) fn stream(context: u32) -> Option<Rc<dyn Stream>> {
    DISPATCHER.with(|dispatcher| match dispatcher.kept.borrow().get(context) {
        Some(Kept::Stream(stream)) => Some(Rc::clone(stream)),
        _ => None,
    })
}

/// Keeps a TCP connection until the host deletes its context.
pub(crate) fn keep_connection(context: u32, connection: Rc<dyn Stream>) {
    keep(context, Kept::Stream(connection));
}

/// Keeps what is known of a stream until the host deletes its context.
fn keep(context: u32, kept: Kept) {
    // What was kept is dropped after the map is free again.
    let earlier = DISPATCHER.with(|dispatcher| dispatcher.kept.borrow_mut().insert(context, kept));
    drop(earlier);
}

pub(crate) fn http_call_response(root: u32, token: u32, headers: u32, body_size: usize) {
    runtime::enter(root);
    machinery::callout_answered::call(token, headers, body_size);
}

#[cfg(feature = "grpc")]
pub(crate) fn grpc_metadata(root: u32, token: u32) {
    runtime::enter(root);
    grpc::metadata_received(token);
}

#[cfg(feature = "grpc")]
pub(crate) fn grpc_receive(root: u32, token: u32, size: usize) {
    runtime::enter(root);
    grpc::received(token, size);
}

#[cfg(feature = "grpc")]
pub(crate) fn grpc_trailers(root: u32, token: u32) {
    runtime::enter(root);
    grpc::trailers_received(token);
}

#[cfg(feature = "grpc")]
pub(crate) fn grpc_close(root: u32, token: u32, status: u32) {
    runtime::enter(root);
    grpc::closed(token, status);
}

pub(crate) fn tick(root: u32) {
    runtime::enter(root);
    machinery::resets::call();
    machinery::tick::call(root);
    runtime::run();
    machinery::rearm::call(root);
}

pub(crate) fn queue_ready(root: u32, queue: u32) {
    runtime::enter(root);
    machinery::queue_ready::call(root, queue);
    runtime::run();
}

pub(crate) fn log(context: u32) {
    runtime::enter(context);
    let (root, instance) = plugin_of(context);
    runtime::enter_root(root);
    if let Some(instance) = instance {
        instance.0.log(context, &LogEntry::new(context));
    }
    runtime::run();
}

pub(crate) fn delete(context: u32) {
    runtime::enter(context);
    // What is taken out is dropped after the tables are free again: a plugin's `Drop` may do anything.
    let kept = DISPATCHER.with(|dispatcher| {
        dispatcher.parents.borrow_mut().remove(context);
        dispatcher.kept.borrow_mut().remove(context)
    });
    if let Some(Kept::Stream(stream)) = kept {
        stream.deleted();
    }
    if let Some(root) = forget_root(context) {
        machinery::end_tasks::call(context);
        machinery::forget_timers::call(context);
        machinery::forget_shown::call(context);
        drop(root);
    }
    runtime::run();
}

fn forget_root(context: u32) -> Option<Root> {
    DISPATCHER.with(|dispatcher| {
        let mut roots = dispatcher.roots.borrow_mut();
        let place = roots.iter().position(|root| root.id == context)?;
        let root = roots.swap_remove(place);
        if let [remaining] = roots.as_slice() {
            dispatcher.sole_root.set(remaining.id);
        }
        Some(root)
    })
}

/// What the SDK keeps at the moment, for tests that look for leaks.
#[must_use]
pub fn census() -> String {
    let exchanges = DISPATCHER
        .with(|dispatcher| dispatcher.kept.borrow().iter().filter(|(_, kept)| !matches!(kept, Kept::Answered)).count());
    let (tasks, callouts, timers) = (runtime::waiting(), callout::waiting(), time::waiting());
    #[cfg(feature = "grpc")]
    let callouts = callouts + grpc::waiting();
    format!("{exchanges} exchanges, {tasks} tasks, {callouts} callouts, {timers} timers")
}

/// The plugin has panicked, and nothing of it will be called again: answers everybody who waits for it.
pub(crate) fn last_words() {
    let streams: Vec<Rc<dyn Stream>> = DISPATCHER.with(|dispatcher| {
        // Taken when the panic came while something was being put there.
        let Ok(kept) = dispatcher.kept.try_borrow() else { return Vec::new() };
        let stream = |(_, kept): (u32, &Kept)| match kept {
            Kept::Stream(stream) => Some(Rc::clone(stream)),
            Kept::Answered => None,
        };
        kept.iter().filter_map(stream).collect()
    });
    for stream in streams {
        stream.last_words();
    }
}

//! The host's callbacks: finds the plugin and the exchange that each is about.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::ConfigError;
use crate::error::Result;
use crate::exchange::{Action, Exchange, Half};
#[cfg(feature = "grpc")]
use crate::grpc;
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Factory, Past};
use crate::reply::{self, Reply};
use crate::runtime::{self, IdMap};
use crate::sys::{self, BufferKind};
use crate::tcp::Wire;
use crate::{callout, logger, notice, shown, time};

/// One configured use of the plugin: the root context of the specification.
struct Root {
    id: u32,
    factory: Factory,
    instance: Option<Configured>,
}

/// What the dispatcher keeps of a stream.
enum Kept {
    Exchange(Rc<Exchange>),
    Wire(Rc<Wire>),
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
    /// works on. One map, as the code of each kind of map adds two kilobytes to every module.
    kept: RefCell<IdMap<Kept>>,
    /// Exchanges that must be reset, as soon as a callback comes that survives it.
    to_reset: RefCell<Vec<u32>>,
}

thread_local! {
    static DISPATCHER: Dispatcher = const {
        Dispatcher {
            factory: Cell::new(None),
            roots: RefCell::new(Vec::new()),
            sole_root: Cell::new(0),
            parents: RefCell::new(runtime::id_map()),
            kept: RefCell::new(runtime::id_map()),
            to_reset: RefCell::new(Vec::new()),
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
            shown::forget(context);
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
            let background = instance.0.background();
            let earlier = DISPATCHER.with(|dispatcher| {
                let mut roots = dispatcher.roots.borrow_mut();
                roots.iter_mut().find(|known| known.id == root).and_then(|root| root.instance.replace(instance))
            });
            if earlier.is_some() {
                runtime::end(root);
            }
            drop(earlier);
            if background.is_some_and(|background| !runtime::spawn(root, background)) {
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
        (Some(exchange), _) => keep(context, Kept::Exchange(exchange)),
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
            let waiting = waiting(context);
            let past = match &waiting {
                Some(exchange) => Past::Waited(exchange),
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
    let Some(exchange) = waiting(context) else { return unattended(context, half) };
    runtime::enter(context);
    exchange.body_arrived(half, size, end)
}

pub(crate) fn trailers(context: u32, half: Half) -> Action {
    let Some(exchange) = waiting(context) else { return unattended(context, half) };
    runtime::enter(context);
    let action = exchange.trailers_arrived(half);
    if exchange.take_reset() {
        reset_soon(context);
    }
    action
}

/// What becomes of the rest of a message whose exchange no handler waits for: it passes, unless the plugin has
/// refused the request it belongs to.
fn unattended(context: u32, half: Half) -> Action {
    if half == Half::Request && is_answered(context) { Action::Pause } else { Action::Continue }
}

/// Whether the plugin has answered at once.
fn is_answered(context: u32) -> bool {
    DISPATCHER.with(|dispatcher| matches!(dispatcher.kept.borrow().get(&context), Some(Kept::Answered)))
}

/// The plugin that an exchange belongs to, and its root.
pub(crate) fn plugin_of(context: u32) -> (u32, Option<Configured>) {
    DISPATCHER.with(|dispatcher| {
        let parent = dispatcher.parents.borrow().get(&context).copied();
        let root = parent.unwrap_or_else(|| dispatcher.sole_root.get());
        let roots = dispatcher.roots.borrow();
        (root, roots.iter().find(|known| known.id == root).and_then(|root| root.instance.clone()))
    })
}

/// The exchange, if its handler waits or has waited.
fn waiting(context: u32) -> Option<Rc<Exchange>> {
    DISPATCHER.with(|dispatcher| match dispatcher.kept.borrow().get(&context) {
        Some(Kept::Exchange(exchange)) => Some(Rc::clone(exchange)),
        _ => None,
    })
}

/// The TCP connection, if a plugin works on it.
pub(crate) fn wire(context: u32) -> Option<Rc<Wire>> {
    DISPATCHER.with(|dispatcher| match dispatcher.kept.borrow().get(&context) {
        Some(Kept::Wire(wire)) => Some(Rc::clone(wire)),
        _ => None,
    })
}

/// Keeps a TCP connection until the host deletes its context.
pub(crate) fn keep_wire(context: u32, wire: Rc<Wire>) {
    keep(context, Kept::Wire(wire));
}

/// Keeps what is known of a stream until the host deletes its context.
fn keep(context: u32, kept: Kept) {
    // What was kept is dropped after the map is free again.
    let earlier = DISPATCHER.with(|dispatcher| dispatcher.kept.borrow_mut().insert(context, kept));
    drop(earlier);
}

/// Has an exchange reset from the next tick.
fn reset_soon(context: u32) {
    DISPATCHER.with(|dispatcher| dispatcher.to_reset.borrow_mut().push(context));
    if let Err(error) = time::tick_soon(plugin_of(context).0) {
        log::error!("exchange {context} could not be reset: {error}");
    }
}

pub(crate) fn http_call_response(root: u32, token: u32, headers: u32, body_size: usize) {
    runtime::enter(root);
    callout::answered(token, headers, body_size);
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
    for context in DISPATCHER.with(|dispatcher| dispatcher.to_reset.take()) {
        match runtime::focus(context) {
            Ok(()) => reply::reset(),
            Err(error) => log::error!("exchange {context} is lost: {error}"),
        }
    }
    time::tick(root);
    runtime::run();
    time::rearm(root);
}

pub(crate) fn queue_ready(root: u32, queue: u32) {
    runtime::enter(root);
    notice::queue_ready(root, queue);
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
        take(&mut dispatcher.parents.borrow_mut(), context);
        take(&mut dispatcher.kept.borrow_mut(), context)
    });
    if let Some(Kept::Wire(wire)) = &kept {
        wire.forget();
    }
    if matches!(kept, Some(Kept::Exchange(_) | Kept::Wire(_))) {
        runtime::cancel(context);
    }
    if let Some(root) = forget_root(context) {
        runtime::end(context);
        time::forget(context);
        shown::forget(context);
        drop(root);
    }
    runtime::run();
}

/// Takes an entry out of a map that is mostly empty: then it need not even hash.
fn take<V>(map: &mut IdMap<V>, context: u32) -> Option<V> {
    if map.is_empty() { None } else { map.remove(&context) }
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
        .with(|dispatcher| dispatcher.kept.borrow().values().filter(|kept| !matches!(kept, Kept::Answered)).count());
    let (tasks, callouts, timers) = (runtime::waiting(), callout::waiting(), time::waiting());
    #[cfg(feature = "grpc")]
    let callouts = callouts + grpc::waiting();
    format!("{exchanges} exchanges, {tasks} tasks, {callouts} callouts, {timers} timers")
}

/// The plugin has panicked, and nothing of it will be called again: answers everybody who waits for it.
pub(crate) fn last_words() {
    let mut exchanges = Vec::new();
    let mut wires = Vec::new();
    DISPATCHER.with(|dispatcher| {
        let Ok(kept) = dispatcher.kept.try_borrow() else { return };
        for kept in kept.values() {
            match kept {
                Kept::Exchange(exchange) if exchange.is_stopped() => exchanges.push(Rc::clone(exchange)),
                Kept::Wire(wire) if wire.undecided() => wires.push(Rc::clone(wire)),
                Kept::Exchange(_) | Kept::Wire(_) | Kept::Answered => {}
            }
        }
    });
    for exchange in exchanges {
        exchange.reply(&Reply::new(503).details("plugin_panic"));
    }
    for wire in wires {
        wire.close();
    }
}

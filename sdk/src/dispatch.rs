//! The host's callbacks: finds the plugin and the exchange that each is about.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::ConfigError;
use crate::error::Result;
use crate::exchange::{Action, Exchange, Half};
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Factory};
use crate::reply::Reply;
use crate::runtime::{self, IdMap};
use crate::sys::{self, BufferKind, StreamKind};
use crate::{callout, logger, time};

/// One configured use of the plugin: the root context of the specification.
struct Root {
    factory: Factory,
    instance: Option<Configured>,
    /// Exchanges that must be reset, as soon as a callback comes that survives it.
    to_reset: Vec<u32>,
}

#[derive(Clone)]
struct Open {
    exchange: Rc<Exchange>,
    /// `None` when the plugin is not configured: such an exchange is refused.
    instance: Option<Configured>,
}

#[derive(Default)]
struct Dispatcher {
    factory: Cell<Option<Factory>>,
    roots: RefCell<IdMap<Root>>,
    open: RefCell<IdMap<Open>>,
}

thread_local! {
    static DISPATCHER: Dispatcher = Dispatcher::default();
}

/// Makes a type the plugin of this module (natively: of this thread, for the root contexts made from now on).
pub(crate) fn register(factory: Factory) {
    logger::install();
    DISPATCHER.with(|dispatcher| dispatcher.factory.set(Some(factory)));
}

pub(crate) fn context_create(context: u32, root: u32) {
    runtime::enter(context);
    DISPATCHER.with(|dispatcher| {
        if root == 0 {
            if let Some(factory) = dispatcher.factory.get() {
                let new = Root { factory, instance: None, to_reset: Vec::new() };
                dispatcher.roots.borrow_mut().insert(context, new);
            }
        } else {
            let instance = dispatcher.roots.borrow().get(&root).and_then(|root| root.instance.clone());
            let exchange = Rc::new(Exchange::new(context, root));
            dispatcher.open.borrow_mut().insert(context, Open { exchange, instance });
        }
    });
}

pub(crate) fn configure(root: u32, size: usize) -> bool {
    runtime::enter(root);
    logger::follow_host();
    match read_configuration(root, size) {
        Ok(instance) => {
            DISPATCHER.with(|dispatcher| {
                if let Some(root) = dispatcher.roots.borrow_mut().get_mut(&root) {
                    root.instance = Some(instance);
                }
            });
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
    let factory = DISPATCHER.with(|dispatcher| dispatcher.roots.borrow().get(&root).map(|root| root.factory));
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
    with(context, |open| match &open.instance {
        Some(instance) => instance.0.request_headers(&open.exchange, end),
        None => refuse(&open.exchange),
    })
}

/// A plugin that is not configured must not let anything pass.
fn refuse(exchange: &Exchange) -> Action {
    log::error!("exchange {} was refused: the plugin is not configured", exchange.id());
    exchange.reply(&Reply::new(500).details("plugin_error"));
    Action::Pause
}

pub(crate) fn response_headers(context: u32, end: bool) -> Action {
    with(context, |open| match &open.instance {
        Some(instance) => instance.0.response_headers(&open.exchange, end),
        None => Action::Continue,
    })
}

pub(crate) fn body(context: u32, half: Half, size: usize, end: bool) -> Action {
    with(context, |open| open.exchange.body_arrived(half, size, end))
}

pub(crate) fn trailers(context: u32, half: Half) -> Action {
    with(context, |open| {
        let action = open.exchange.trailers_arrived(half);
        if open.exchange.take_reset() {
            reset_soon(&open.exchange);
        }
        action
    })
}

fn with(context: u32, run: impl FnOnce(&Open) -> Action) -> Action {
    runtime::enter(context);
    match DISPATCHER.with(|dispatcher| dispatcher.open.borrow().get(&context).cloned()) {
        Some(open) => run(&open),
        None => Action::Continue,
    }
}

/// Has the exchange reset from the next tick.
fn reset_soon(exchange: &Exchange) {
    DISPATCHER.with(|dispatcher| {
        if let Some(root) = dispatcher.roots.borrow_mut().get_mut(&exchange.root()) {
            root.to_reset.push(exchange.id());
        }
    });
    if let Err(error) = sys::set_tick_period(1).or_else(|_| sys::set_tick_period(1)) {
        log::error!("exchange {} could not be reset: {error}", exchange.id());
    }
}

pub(crate) fn http_call_response(root: u32, token: u32, headers: u32, body_size: usize) {
    runtime::enter(root);
    callout::answered(token, headers, body_size);
}

pub(crate) fn tick(root: u32) {
    runtime::enter(root);
    let to_reset = DISPATCHER.with(|dispatcher| {
        dispatcher.roots.borrow_mut().get_mut(&root).map(|root| std::mem::take(&mut root.to_reset)).unwrap_or_default()
    });
    for context in to_reset {
        if let Err(error) = runtime::focus(context).and_then(|()| sys::close_stream(StreamKind::Response)) {
            log::error!("exchange {context} could not be reset: {error}");
        }
    }
    time::tick(root);
    runtime::run();
    time::rearm(root);
}

pub(crate) fn log(context: u32) {
    runtime::enter(context);
    let open = DISPATCHER.with(|dispatcher| dispatcher.open.borrow().get(&context).cloned());
    if let Some(Open { instance: Some(instance), .. }) = open {
        instance.0.log(&LogEntry::new());
    }
}

pub(crate) fn delete(context: u32) {
    runtime::enter(context);
    // Dropped outside the table's borrow: a plugin's `Drop` may do anything.
    let (open, root) = DISPATCHER.with(|dispatcher| {
        (dispatcher.open.borrow_mut().remove(&context), dispatcher.roots.borrow_mut().remove(&context))
    });
    runtime::cancel(context);
    if root.is_some() {
        time::forget(context);
    }
    drop((open, root));
}

/// What the SDK keeps at the moment, for tests that look for leaks.
#[must_use]
pub fn census() -> String {
    let open = DISPATCHER.with(|dispatcher| dispatcher.open.borrow().len());
    let (tasks, callouts, timers) = (runtime::waiting(), callout::waiting(), time::waiting());
    format!("{open} exchanges, {tasks} tasks, {callouts} callouts, {timers} timers")
}

/// The plugin has panicked, and nothing of it will be called again: answers everybody who waits for it.
pub(crate) fn last_words() {
    let waiting: Vec<_> = DISPATCHER.with(|dispatcher| match dispatcher.open.try_borrow() {
        Ok(open) => open.values().filter(|open| open.exchange.is_stopped()).map(|open| Rc::clone(&open.exchange)).collect(),
        Err(_) => Vec::new(),
    });
    for exchange in waiting {
        exchange.reply(&Reply::new(503).details("plugin_panic"));
    }
}

//! The host's callbacks about TCP connections; only modules with a TCP plugin export them.

use crate::dispatch;
use crate::runtime;
use crate::stream::{Action, Side};
use crate::sys::{self, StreamKind};

/// `proxy_on_new_connection`.
#[must_use]
pub fn new_connection(context: u32) -> u32 {
    runtime::enter(context);
    let (root, instance) = dispatch::plugin_of(context);
    let Some(instance) = instance else {
        // A plugin that is not configured must not let anything pass.
        log::error!("connection {context} was refused: the plugin is not configured");
        if let Err(error) = sys::close_stream(StreamKind::Downstream) {
            log::error!("connection {context} could not be closed: {error}");
        }
        return Action::Pause as u32;
    };
    let (action, wire) = instance.0.new_connection(context, root);
    if let Some(wire) = wire {
        dispatch::keep_connection(context, wire);
    }
    action as u32
}

/// `proxy_on_downstream_data`.
#[must_use]
pub fn downstream_data(context: u32, size: usize, end: bool) -> u32 {
    data(context, Side::Downstream, size, end) as u32
}

/// `proxy_on_upstream_data`.
#[must_use]
pub fn upstream_data(context: u32, size: usize, end: bool) -> u32 {
    data(context, Side::Upstream, size, end) as u32
}

fn data(context: u32, side: Side, size: usize, end: bool) -> Action {
    // A connection that nobody works on has passed.
    let Some(connection) = dispatch::stream(context) else { return Action::Continue };
    runtime::enter(context);
    connection.data_arrived(side, size, end)
}

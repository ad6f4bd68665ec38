//! The order of plugins, as istiod sorts them.

use std::cmp::Reverse;

use crate::attach::{Listener, Proxy};
use crate::resource::{Extension, Phase, PluginKind};

/// The plugins for a proxy, in the order of their priority, WasmPlugins and TrafficExtensions together.
///
/// Higher priorities come first; one that is not given counts as the lowest number there is. Among equals those of the
/// proxy's own namespace come first, then those of the root namespace, then those of a waypoint's services; within a
/// namespace the older one, then the name decides.
#[must_use]
pub fn plugins_for<'a>(proxy: &Proxy, extensions: impl IntoIterator<Item = &'a Extension>) -> Vec<&'a Extension> {
    let namespaces = proxy.namespaces();
    let place = |extension: &Extension| namespaces.iter().position(|name| *name == extension.metadata.namespace());
    let mut plugins: Vec<_> = extensions.into_iter().filter(|extension| proxy.takes(extension)).collect();
    plugins.sort_by_cached_key(|extension| {
        let created = extension.metadata.creation_timestamp.clone();
        (Reverse(rank(extension)), place(extension), created, extension.sort_name())
    });
    plugins
}

/// The plugins of one chain: those for that listener and phase, in order.
#[must_use]
pub fn chain<'a>(plugins: &[&'a Extension], listener: Listener, phase: Phase, kind: PluginKind) -> Vec<&'a Extension> {
    let fits = |extension: &&&Extension| {
        let own_kind = extension.wasm().map(|wasm| wasm.kind).unwrap_or_default();
        extension.spec.phase == phase && own_kind == kind && listener.is_seen(&extension.spec.traffic)
    };
    plugins.iter().filter(fits).copied().collect()
}

fn rank(extension: &Extension) -> i32 {
    extension.spec.priority.unwrap_or(i32::MIN)
}

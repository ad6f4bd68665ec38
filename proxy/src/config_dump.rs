//! `/config_dump` and `/server_info`: what the proxy is set up with, in the shape in which Envoy tells it.

use serde_json::{Map, Value, json};
use wasmplugin_host::worker::{Code, FailPolicy, Plugin};

use crate::board::{Board, Phase};
use crate::listings::{address, failure_policy};
use crate::settings::{Cluster, Listener, Serves, Settings};

/// Everything: bootstrap, clusters, listeners, and the plugins one by one.
pub(crate) fn dump(board: &Board) -> Value {
    let settings = board.settings();
    let addresses = board.addresses();
    let listeners = settings.listeners.iter().map(|listener| {
        let at = addresses.get(&listener.name).copied().unwrap_or(listener.address);
        json!({"name": listener.name, "active_state": {"listener": with_address(listener, at)}})
    });
    let clusters = settings.clusters.iter().map(|cluster| json!({"cluster": of_cluster(cluster)}));
    let plugins = settings.listeners.iter().flat_map(|listener| {
        let kind = kind(listener);
        listener.plugins.iter().map(move |plugin| {
            let typed = json!({
                "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                "name": plugin.name,
                "typed_config": of_plugin(plugin, kind),
            });
            json!({"ecds_filter": typed, "listener": listener.name})
        })
    });
    json!({"configs": [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
            "bootstrap": {
                "node": node(&settings),
                "bootstrap_extensions": settings.singletons.iter().map(singleton).collect::<Vec<_>>(),
            },
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "static_clusters": clusters.collect::<Vec<_>>(),
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": listeners.collect::<Vec<_>>(),
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
            "ecds_filters": plugins.collect::<Vec<_>>(),
        },
    ]})
}

/// What runs here.
pub(crate) fn server_info(board: &Board) -> Value {
    let settings = board.settings();
    let state = if *board.phase.borrow() == Phase::Live { "LIVE" } else { "DRAINING" };
    json!({
        "version": concat!("wasmplugin-proxy/", env!("CARGO_PKG_VERSION")),
        "state": state,
        "uptime_current_epoch": format!("{}s", board.services.clock().now().as_secs()),
        "command_line_options": {"concurrency": settings.workers},
        "node": node(&settings),
    })
}

fn node(settings: &Settings) -> Value {
    let node = &settings.node;
    let locality = &node.locality;
    json!({
        "id": node.id,
        "cluster": node.cluster,
        "metadata": node.metadata,
        "locality": {"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone},
    })
}

fn with_address(listener: &Listener, at: std::net::SocketAddr) -> Value {
    let filters = listener.plugins.iter().map(|plugin| json!({"name": plugin.name}));
    let behind = match &listener.serves {
        Serves::Http(_) => json!({"name": "envoy.filters.http.router"}),
        Serves::Tcp { cluster } => json!({"name": "envoy.filters.network.tcp_proxy", "cluster": cluster}),
    };
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": listener.name,
        "address": address(at),
        "traffic_direction": format!("{:?}", listener.facts.direction).to_uppercase(),
        "stat_prefix": listener.stat_prefix,
        "tls": listener.tls.is_some(),
        "filters": filters.chain([behind]).collect::<Vec<_>>(),
    })
}

fn of_cluster(cluster: &Cluster) -> Value {
    let endpoints = cluster.endpoints.iter().map(|endpoint| json!({"endpoint": {"address": address(*endpoint)}}));
    json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": cluster.name,
        "type": "STATIC",
        "connect_timeout": format!("{}s", cluster.connect_timeout.as_secs_f64()),
        "metadata": {"filter_metadata": cluster.metadata},
        "tls": cluster.tls.is_some(),
        "load_assignment": {
            "cluster_name": cluster.name,
            "endpoints": [{"lb_endpoints": endpoints.collect::<Vec<_>>()}],
        },
    })
}

/// Whether a listener's plugins are filters of HTTP or of bytes.
const fn kind(listener: &Listener) -> &'static str {
    match listener.serves {
        Serves::Http(_) => "http",
        Serves::Tcp { .. } => "network",
    }
}

fn of_plugin(plugin: &Plugin, kind: &str) -> Value {
    if plugin.code.is_stand_in() {
        return json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.{kind}.rbac.v3.RBAC")});
    }
    json!({
        "@type": format!("type.googleapis.com/envoy.extensions.filters.{kind}.wasm.v3.Wasm"),
        "config": config(plugin),
    })
}

fn singleton(plugin: &Plugin) -> Value {
    json!({
        "name": "envoy.bootstrap.wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
            "singleton": true,
            "config": config(plugin),
        },
    })
}

fn config(plugin: &Plugin) -> Value {
    let code = match &plugin.code {
        Code::Wasm(load) => format!("{load:?}"),
        #[allow(unreachable_patterns, reason = "the other kind exists with a feature of the host only")]
        _ => String::new(),
    };
    // Values of variables may be secrets.
    let variables: Vec<_> = plugin.environment.iter().map(|(name, _)| name).collect();
    let allowed = plugin.sandbox.capabilities.names().into_iter().flatten().map(|name| (name.to_owned(), json!({})));
    let backoff = match plugin.fail {
        FailPolicy::Reload { backoff } => Some(format!("{}s", backoff.as_secs_f64())),
        FailPolicy::Closed | FailPolicy::Open | FailPolicy::OpenLater => None,
    };
    json!({
        "name": plugin.name,
        "root_id": plugin.root_id,
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": String::from_utf8_lossy(&plugin.configuration),
        },
        "failure_policy": failure_policy(plugin.fail),
        "reload_config": backoff.map(|base| json!({"backoff": {"base_interval": base}})),
        "vm_config": {
            "vm_id": plugin.vm_id,
            "runtime": "wasmtime",
            "code": code,
            "sha256": plugin.code.identity().map(|(_, digest)| digest.trim_start_matches("sha256:")),
            "environment_variables": variables,
            "capability_restriction_config": {"allowed_capabilities": allowed.collect::<Map<_, _>>()},
        },
    })
}

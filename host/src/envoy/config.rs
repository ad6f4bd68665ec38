//! The configuration that a real Envoy is started with.

mod cluster;
mod message;
mod native;
mod plugin;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::prometheus::StatsTag;
use crate::test::{Route, Surroundings};
use message::{limit, metadata};

pub use cluster::Cluster;
pub use message::{address, put, typed};
pub use plugin::Plugin;
pub use tls::Tls;

/// Name of the one listener.
pub const LISTENER: &str = "wasmplugin";

/// Prefix of the listener's own statistics.
pub const STATS: &str = "ingress";

/// How long Envoy leaves a connection open that it cuts; its own second would be most of a test's time.
const DELAYED_CLOSE: &str = "0.1s";

/// One listener with a chain of plugins, and the clusters behind it.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Where clients connect; port 0 takes a free one.
    pub listener: SocketAddr,
    /// Where the admin interface listens; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Envoy's own HTTP filters, which a request meets before the plugins: each as Envoy reads it, with `name` and
    /// `typed_config`.
    pub filters: Vec<Value>,
    /// The chain, in the order in which a request meets it.
    pub plugins: Vec<Plugin>,
    /// The plugins that run once, on the main thread.
    pub singletons: Vec<Plugin>,
    /// The cluster that requests go to.
    pub upstream: Cluster,
    /// Whether Envoy answers every request itself, behind all filters, with 200 and `ok`: nothing goes to the upstream.
    pub answers_itself: bool,
    /// Whether the listener passes TCP on to the upstream; the plugins are network filters then.
    pub tcp: bool,
    /// The listener's TLS.
    pub tls: Option<Tls>,
    /// The TLS towards the upstream.
    pub upstream_tls: Option<Tls>,
    /// The clusters that plugins call.
    pub clusters: Vec<Cluster>,
    /// How many bytes a connection buffers; Envoy's own 1 MiB if nothing is said.
    pub buffer_limit: Option<usize>,
    /// What becomes a label of a metric.
    pub stats_tags: Vec<StatsTag>,
    /// What properties tell.
    pub surroundings: Surroundings,
}

impl Bootstrap {
    /// Nothing but an upstream, on free ports of the loopback.
    pub fn new(upstream: Cluster) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listener: free,
            admin: free,
            filters: Vec::new(),
            plugins: Vec::new(),
            upstream,
            answers_itself: false,
            tcp: false,
            tls: None,
            upstream_tls: None,
            clusters: Vec::new(),
            buffer_limit: None,
            stats_tags: Vec::new(),
            singletons: Vec::new(),
            surroundings: Surroundings::default(),
        }
    }

    /// The configuration as JSON, which Envoy reads like YAML.
    pub fn render(&self) -> Value {
        let mut upstream = self.upstream.render(self.buffer_limit, &self.surroundings);
        if let Some(tls) = &self.upstream_tls {
            put(&mut upstream, "transport_socket", tls.render_client());
        }
        let mut clusters = vec![upstream];
        clusters.extend(self.clusters.iter().map(|cluster| cluster.render(self.buffer_limit, &self.surroundings)));
        let facts = &self.surroundings.listener;
        let filters = if self.tcp { self.network_filters() } else { vec![self.connection_manager()] };
        let mut chain = json!({"name": facts.filter_chain, "filters": filters});
        let mut before = Vec::new();
        // A client says by this protocol where it comes from; one of TCP always does.
        if self.tcp || self.surroundings.client.is_some() {
            let proxy_protocol = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
            // Another proxy, which may be the client as well, has nothing to say.
            let config = typed(proxy_protocol, json!({"allow_requests_without_proxy_protocol": true}));
            before.push(json!({"name": "envoy.filters.listener.proxy_protocol", "typed_config": config}));
        }
        if let Some(tls) = &self.tls {
            put(&mut chain, "transport_socket", tls.render_server());
            let inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
            before.push(
                json!({"name": "envoy.filters.listener.tls_inspector", "typed_config": typed(inspector, json!({}))}),
            );
        }
        let mut listener = json!({
            "name": LISTENER,
            "address": address(self.listener),
            "traffic_direction": facts.direction as u32,
            "metadata": metadata(&facts.metadata),
            "listener_filters": before,
            "filter_chains": [chain],
        });
        limit(&mut listener, self.buffer_limit);
        let tags = self.stats_tags.iter().map(|tag| json!({"tag_name": tag.name(), "regex": tag.pattern()}));
        json!({
            "stats_config": {"stats_tags": tags.collect::<Vec<_>>()},
            "node": node(&self.surroundings),
            "admin": {"address": address(self.admin)},
            "stats_flush_interval": "0.1s",
            "bootstrap_extensions": self.singletons.iter().map(Plugin::render_singleton).collect::<Vec<_>>(),
            "static_resources": {"listeners": [listener], "clusters": clusters},
        })
    }

    fn network_filters(&self) -> Vec<Value> {
        let mut filters: Vec<_> = self.plugins.iter().map(|plugin| plugin.render("network")).collect();
        filters.push(json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": typed(
                "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                json!({"stat_prefix": STATS, "cluster": self.upstream.name}),
            ),
        }));
        filters
    }

    fn connection_manager(&self) -> Value {
        let mut filters = native::filters(&self.surroundings);
        filters.extend(self.filters.iter().cloned());
        filters.extend(self.plugins.iter().map(|plugin| plugin.render("http")));
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
        }));
        let mut routes: Vec<_> = self.surroundings.routes.iter().map(Route::render).collect();
        if self.answers_itself {
            routes.push(json!({
                "match": {"prefix": "/"},
                "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
            }));
        } else {
            routes.push(self.surroundings.rest(&self.upstream.name).render());
        }
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": typed(
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                json!({
                    "stat_prefix": STATS,
                    "codec_type": "AUTO",
                    "delayed_close_timeout": DELAYED_CLOSE,
                    "http_protocol_options": {"enable_trailers": true},
                    "route_config": {
                        "name": "local",
                        "virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": routes,
                        }],
                    },
                    "http_filters": filters,
                }),
            ),
        })
    }
}

impl Route {
    fn render(&self) -> Value {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| json!({"name": name, "string_match": {"exact": value}})).collect();
        json!({
            "name": self.name,
            "match": {"prefix": self.prefix, "headers": headers},
            "metadata": metadata(&self.metadata),
            "route": {"cluster": self.cluster},
        })
    }
}

fn node(surroundings: &Surroundings) -> Value {
    let node = &surroundings.node;
    // Envoy does not start without these two.
    let named = |name: &str| if name.is_empty() { "wasmplugin".to_owned() } else { name.to_owned() };
    let locality = &node.locality;
    json!({
        "id": named(&node.id),
        "cluster": named(&node.cluster),
        "metadata": node.metadata,
        "locality": {"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone},
    })
}

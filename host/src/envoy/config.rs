//! The configuration that a real Envoy is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::prometheus::StatsTag;
use crate::sandbox::Capabilities;
use crate::surroundings::Metadata;
use crate::test::{FailPolicy, Route, Surroundings};

/// Name of the one listener.
pub const LISTENER: &str = "wasmplugin";

/// Prefix of the listener's own statistics.
pub const STATS: &str = "ingress";

/// No cluster gives up because of too many of anything: a test may open thousands of exchanges at once.
const PLENTY: u32 = 1_000_000;

/// Connections per cluster and worker; further requests wait for a free one, so that a test with thousands of
/// exchanges does not run out of file descriptors.
const CONNECTIONS: u32 = 256;

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

/// One end of TLS, all of it in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of this end.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Whose certificates are believed; empty for a listener that asks for none.
    pub authority: String,
    /// The server's name that a client asks for; may be empty.
    pub server_name: String,
    /// The URI name that a server's certificate has to have; empty for any.
    pub peer: String,
}

/// One plugin of the chain.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of Envoy's plugin configuration")]
pub struct Plugin {
    pub name: String,
    pub root_id: String,
    pub vm_id: String,
    pub module: PathBuf,
    pub configuration: Bytes,
    pub vm_configuration: Bytes,
    pub environment: Vec<(String, String)>,
    pub capabilities: Capabilities,
    pub fail: FailPolicy,
    pub allow_on_headers_stop_iteration: bool,
}

/// A cluster with one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What routes and plugins call it.
    pub name: String,
    /// Where its server listens.
    pub address: SocketAddr,
    /// Whether its server speaks HTTP/2, as gRPC needs it.
    pub http2: bool,
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
        let mut filters = native_filters(&self.surroundings);
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

impl Tls {
    fn render_server(&self) -> Value {
        let mut context = json!({"common_tls_context": self.render()});
        if !self.authority.is_empty() {
            put(&mut context, "require_client_certificate", json!(true));
        }
        socket("DownstreamTlsContext", context)
    }

    fn render_client(&self) -> Value {
        socket("UpstreamTlsContext", json!({"common_tls_context": self.render(), "sni": self.server_name}))
    }

    fn render(&self) -> Value {
        let text = |text: &str| json!({"inline_string": text});
        let mut context = json!({
            "tls_certificates": [{"certificate_chain": text(&self.certificate), "private_key": text(&self.key)}],
        });
        if !self.authority.is_empty() {
            let mut believed = json!({"trusted_ca": text(&self.authority)});
            if !self.peer.is_empty() {
                let names = json!([{"san_type": "URI", "matcher": {"exact": self.peer}}]);
                put(&mut believed, "match_typed_subject_alt_names", names);
            }
            put(&mut context, "validation_context", believed);
        }
        context
    }
}

fn socket(context: &str, config: Value) -> Value {
    let message = format!("envoy.extensions.transport_sockets.tls.v3.{context}");
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed(&message, config)})
}

impl Plugin {
    /// As a filter of that kind, `http` or `network`.
    pub fn render(&self, kind: &str) -> Value {
        let filter = typed(&format!("envoy.extensions.filters.{kind}.wasm.v3.Wasm"), json!({"config": self.config()}));
        json!({"name": format!("envoy.filters.{kind}.wasm"), "typed_config": filter})
    }

    /// As a bootstrap extension.
    pub fn render_singleton(&self) -> Value {
        let service = json!({"singleton": true, "config": self.config()});
        json!({
            "name": "envoy.bootstrap.wasm",
            "typed_config": typed("envoy.extensions.wasm.v3.WasmService", service),
        })
    }

    fn config(&self) -> Value {
        let mut vm = json!({
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": self.module.to_string_lossy()}},
        });
        if !self.vm_configuration.is_empty() {
            put(&mut vm, "configuration", any(&self.vm_configuration));
        }
        if !self.environment.is_empty() {
            let values: serde_json::Map<_, _> =
                self.environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            put(&mut vm, "environment_variables", json!({"key_values": values}));
        }
        let mut config = json!({
            "name": self.name,
            "root_id": self.root_id,
            "vm_config": vm,
        });
        // With the policy `FAIL_OPEN` Envoy 1.40 still refuses the request in which the plugin traps, and only those
        // after it pass; the older flag lets that one pass as well.
        let (key, value) = match self.fail {
            FailPolicy::Closed => ("failure_policy", json!("FAIL_CLOSED")),
            FailPolicy::Open => ("fail_open", json!(true)),
            FailPolicy::OpenLater => ("failure_policy", json!("FAIL_OPEN")),
            FailPolicy::Reload { .. } => ("failure_policy", json!("FAIL_RELOAD")),
        };
        put(&mut config, key, value);
        if let FailPolicy::Reload { backoff } = self.fail {
            let base = format!("{}.{:09}s", backoff.as_secs(), backoff.subsec_nanos());
            put(&mut config, "reload_config", json!({"backoff": {"base_interval": base}}));
        }
        if let Some(names) = self.capabilities.names() {
            let allowed: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), json!({}))).collect();
            // Envoy 1.40 would rather have it in the VM's configuration, where earlier ones do not know it.
            put(&mut config, "capability_restriction_config", json!({"allowed_capabilities": allowed}));
        }
        if !self.configuration.is_empty() {
            put(&mut config, "configuration", any(&self.configuration));
        }
        if self.allow_on_headers_stop_iteration {
            put(&mut config, "allow_on_headers_stop_iteration", json!(true));
        }
        config
    }
}

impl Cluster {
    fn render(&self, buffer_limit: Option<usize>, surroundings: &Surroundings) -> Value {
        let protocol = if self.http2 {
            // Our servers keep no table of headers, and Envoy would use one before it knows.
            json!({"http2_protocol_options": {"hpack_table_size": 0}})
        } else {
            json!({"http_protocol_options": {"enable_trailers": true}})
        };
        let host = metadata(&surroundings.host_metadata(&self.name));
        let mut cluster = json!({
            "name": self.name,
            "metadata": metadata(&surroundings.cluster_metadata(&self.name)),
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": self.name,
                "endpoints": [{"lb_endpoints": [{"metadata": host, "endpoint": {"address": address(self.address)}}]}],
            },
            "circuit_breakers": {"thresholds": [{
                "max_connections": CONNECTIONS,
                "max_pending_requests": PLENTY,
                "max_requests": PLENTY,
                "max_retries": PLENTY,
            }]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    json!({"explicit_http_config": protocol}),
                ),
            },
        });
        limit(&mut cluster, buffer_limit);
        cluster
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

/// The filters that leave metadata and filter state for the plugins.
fn native_filters(surroundings: &Surroundings) -> Vec<Value> {
    let mut filters = Vec::new();
    if !surroundings.dynamic_metadata.is_empty() {
        let namespaces: Vec<_> = surroundings
            .dynamic_metadata
            .iter()
            .map(|(namespace, value)| json!({"metadata_namespace": namespace, "value": value}))
            .collect();
        filters.push(json!({
            "name": "envoy.filters.http.set_metadata",
            "typed_config": typed(
                "envoy.extensions.filters.http.set_metadata.v3.Config",
                json!({"metadata": namespaces}),
            ),
        }));
    }
    if !surroundings.filter_state.is_empty() {
        let objects: Vec<_> = surroundings
            .filter_state
            .iter()
            .map(|(name, value)| {
                // A percent sign would begin a command of Envoy's formatter.
                let text = value.replace('%', "%%");
                json!({
                    "object_key": name,
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": text}},
                })
            })
            .collect();
        filters.push(json!({
            "name": "envoy.filters.http.set_filter_state",
            "typed_config": typed(
                "envoy.extensions.filters.http.set_filter_state.v3.Config",
                json!({"on_request_headers": objects}),
            ),
        }));
    }
    filters
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

fn metadata(metadata: &Metadata) -> Value {
    json!({"filter_metadata": metadata})
}

fn limit(to: &mut Value, buffer_limit: Option<usize>) {
    if let Some(bytes) = buffer_limit {
        put(to, "per_connection_buffer_limit_bytes", json!(bytes));
    }
}

/// An address, as Envoy's configuration has it.
pub fn address(of: SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}

/// A message in an `Any`, by its name.
pub fn typed(message: &str, fields: Value) -> Value {
    let mut fields = fields;
    put(&mut fields, "@type", json!(format!("type.googleapis.com/{message}")));
    fields
}

/// Bytes as Envoy wants a plugin's configuration: text as it is, anything else in base 64.
fn any(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => typed("google.protobuf.StringValue", json!({"value": text})),
        Err(_) => typed("google.protobuf.BytesValue", json!({"value": base64(bytes)})),
    }
}

/// Sets a field of an object.
pub fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize);
            let shown = if place <= group.len() { digit.copied() } else { None };
            text.push(char::from(shown.unwrap_or(b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap() -> Bootstrap {
        let cluster = |name: &str, port| Cluster {
            name: name.to_owned(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            http2: false,
        };
        let mut bootstrap = Bootstrap::new(cluster("upstream", 8001));
        bootstrap.clusters.push(cluster("auth", 8002));
        bootstrap.plugins.push(Plugin {
            name: "hello".to_owned(),
            root_id: "root".to_owned(),
            vm_id: String::new(),
            module: "/m/hello.wasm".into(),
            configuration: Bytes::from_static(b"{\"a\":1}"),
            vm_configuration: Bytes::from_static(b"\xff\x00"),
            environment: Vec::new(),
            capabilities: Capabilities::only(["proxy_log"]),
            fail: FailPolicy::Open,
            allow_on_headers_stop_iteration: true,
        });
        bootstrap
    }

    #[test]
    fn plugins_come_before_the_router() {
        let rendered = bootstrap().render();
        let manager = &rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        let filters = manager["http_filters"].as_array().unwrap();
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[1]["name"], "envoy.filters.http.router");
        let config = &filters[0]["typed_config"]["config"];
        assert_eq!(config["name"], "hello");
        assert_eq!(config["root_id"], "root");
        assert_eq!(config["fail_open"], true);
        assert_eq!(config["allow_on_headers_stop_iteration"], true);
        assert_eq!(config["configuration"]["value"], "{\"a\":1}");
        assert_eq!(config["vm_config"]["configuration"]["value"], "/wA=");
        assert_eq!(config["vm_config"]["code"]["local"]["filename"], "/m/hello.wasm");
    }

    #[test]
    fn own_filters_come_before_plugins_and_requests_may_end_there() {
        let mut bootstrap = bootstrap();
        bootstrap.filters.push(json!({"name": "own"}));
        bootstrap.answers_itself = true;
        let rendered = bootstrap.render();
        let manager = &rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        assert_eq!(manager["http_filters"][0]["name"], "own");
        assert_eq!(manager["http_filters"].as_array().unwrap().len(), 3);
        let routes = &manager["route_config"]["virtual_hosts"][0]["routes"];
        assert_eq!(routes[0]["direct_response"]["status"], 200);
    }

    #[test]
    fn a_singleton_is_a_bootstrap_extension() {
        let mut bootstrap = bootstrap();
        bootstrap.singletons.append(&mut bootstrap.plugins);
        let rendered = bootstrap.render();
        let extension = &rendered["bootstrap_extensions"][0];
        assert_eq!(extension["name"], "envoy.bootstrap.wasm");
        assert_eq!(extension["typed_config"]["singleton"], true);
        assert_eq!(extension["typed_config"]["config"]["root_id"], "root");
    }

    #[test]
    fn every_cluster_has_its_server() {
        let rendered = bootstrap().render();
        let clusters = rendered["static_resources"]["clusters"].as_array().unwrap();
        let ports: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
                (cluster["name"].as_str().unwrap(), endpoint["address"]["socket_address"]["port_value"].as_u64())
            })
            .collect();
        assert_eq!(ports, [("upstream", Some(8001)), ("auth", Some(8002))]);
    }

    #[test]
    fn a_buffer_limit_holds_on_both_sides() {
        let mut bootstrap = bootstrap();
        assert!(!bootstrap.render().to_string().contains("per_connection_buffer_limit_bytes"));
        bootstrap.buffer_limit = Some(1000);
        let text = bootstrap.render().to_string();
        assert_eq!(text.matches("\"per_connection_buffer_limit_bytes\":1000").count(), 3);
    }

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}

//! What a real Envoy has to be told for a plan: what amounts to what istiod would send.

use anyhow::Result;
use serde_json::{Value, json};
use wasmplugin_deploy::envoy as sent;
use wasmplugin_deploy::resource::PluginKind;
use wasmplugin_host::envoy::config;
use wasmplugin_host::limits::Limits;

use super::description::Normalization;
use super::discovery::Discovery;
use super::modules::{Failure, Library};
use super::plan::{Cluster, Listener, Proxy, Serves, Side, Tls};
use super::plugin_config::{Plugin, Wanted};

/// Everything that an Envoy is told.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// What it is started with and does not change while it runs.
    pub(crate) bootstrap: Value,
    pub(crate) clusters: Vec<Value>,
    pub(crate) listeners: Vec<Value>,
    /// The plugins in the chains of the listeners.
    pub(crate) plugins: Vec<Discovered>,
    /// What went wrong with modules, for people.
    pub(crate) notes: Vec<String>,
}

/// A plugin that a listener only names.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// The name of its resource, which no other plugin of this Envoy has.
    pub(crate) resource: String,
    pub(crate) listener: String,
    pub(crate) plugin: String,
    /// Its filter's configuration.
    pub(crate) config: Value,
    /// Why Envoy will not take it, where that is known before; it is told nevertheless, as in a cluster.
    pub(crate) flaw: Option<String>,
}

/// What an Envoy has to be told; `discovery` is where it will look for it.
pub(crate) fn configuration(proxy: &Proxy, library: &mut Library, discovery: &mut Discovery) -> Result<Configuration> {
    let mut chains = Chains { library, discovery, plugins: Vec::new(), notes: Vec::new() };
    let listeners = proxy.listeners.iter().map(|listener| chains.listener(proxy, listener));
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let mut singletons = Vec::new();
    for plugin in &proxy.singletons {
        let (plugin, flaw) = chains.located(plugin)?;
        if let Some(flaw) = flaw {
            anyhow::bail!("`{}`: {flaw}", plugin.name);
        }
        singletons.push(plugin.render_singleton());
    }
    let Chains { plugins, notes, .. } = chains;
    let tags = library.stats_tags(proxy).into_iter().map(|(name, regex)| json!({"tag_name": name, "regex": regex}));
    let bootstrap = json!({
        "node": {"id": proxy.node.id, "cluster": proxy.node.cluster, "metadata": proxy.node.metadata},
        "admin": {"address": config::address(proxy.admin)},
        "stats_config": {"stats_tags": tags.collect::<Vec<_>>()},
        "stats_flush_interval": "0.1s",
        // As istiod says: what follows a `#` is cut off, in place of a 400.
        "layered_runtime": {"layers": [{
            "name": "istio",
            "static_layer": {"envoy.reloadable_features.http_reject_path_with_fragment": false},
        }]},
        "bootstrap_extensions": singletons,
        "dynamic_resources": discovery.sources(),
    });
    let clusters = proxy.clusters.iter().map(|cluster| self::cluster(proxy, cluster)).collect();
    Ok(Configuration { bootstrap, clusters, listeners, plugins, notes })
}

/// The chains of an Envoy's listeners, one after the other.
struct Chains<'a> {
    library: &'a mut Library,
    discovery: &'a mut Discovery,
    plugins: Vec<Discovered>,
    notes: Vec<String>,
}

impl Chains<'_> {
    fn listener(&mut self, proxy: &Proxy, listener: &Listener) -> Result<Value> {
        let kind = match listener.serves {
            Serves::Http(_) => PluginKind::Http,
            Serves::Tcp(_) => PluginKind::Network,
        };
        let mut filters = Vec::new();
        for plugin in &listener.plugins {
            filters.push(self.filter(listener, plugin, kind)?);
        }
        let network = match &listener.serves {
            Serves::Http(_) => vec![connection_manager(listener, filters)],
            Serves::Tcp(cluster) => {
                let tcp = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
                let last = json!({"stat_prefix": listener.stat_prefix, "cluster": cluster});
                let last = json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": config::typed(tcp, last)});
                filters.push(last);
                filters
            }
        };
        let mut chains = Vec::new();
        if listener.tls != Tls::Plain {
            let mut chain = json!({"filters": network, "transport_socket": server_tls(proxy)});
            if listener.tls == Tls::Permissive {
                config::put(&mut chain, "filter_chain_match", json!({"transport_protocol": "tls"}));
            }
            chains.push(chain);
        }
        if listener.tls != Tls::Mutual {
            chains.push(json!({"filters": network}));
        }
        let inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let inspector = json!({"name": "envoy.filters.listener.tls_inspector", "typed_config": config::typed(inspector, json!({}))});
        Ok(json!({
            "name": listener.name,
            "address": config::address(listener.address),
            "traffic_direction": if listener.side == Side::Inbound { "INBOUND" } else { "OUTBOUND" },
            // It waits for the client's first bytes, and some clients wait for the server's.
            "listener_filters": if listener.tls == Tls::Permissive { json!([inspector]) } else { json!([]) },
            "filter_chains": chains,
        }))
    }

    /// A filter whose configuration, the plugin's or that of the fallback that the agent puts in its place, is found elsewhere.
    fn filter(&mut self, listener: &Listener, plugin: &Plugin, kind: PluginKind) -> Result<Value> {
        if let Wanted::Script(filter) = &plugin.module {
            // It comes with the listener, as from istiod.
            return Ok((**filter).clone());
        }
        let word = if kind == PluginKind::Http { "http" } else { "network" };
        let (filter, flaw) = match self.library.get(&plugin.module) {
            Err(Failure::NotFetched(reason)) if plugin.flaw.is_none() => {
                self.notes.push(format!("`{}` has no module: {reason}", plugin.name));
                (sent::fallback(&plugin.name, kind, plugin.strategy()), None)
            }
            _ => {
                let (located, flaw) = self.located(plugin)?;
                (located.render(word), flaw)
            }
        };
        let resource = self.name(&format!("{}/{word}/{}", listener.name, plugin.resource));
        let named = self.discovery.filter(&resource, word);
        self.plugins.push(Discovered {
            resource,
            listener: listener.name.clone(),
            plugin: plugin.name.clone(),
            config: filter.get("typed_config").cloned().unwrap_or_default(),
            flaw,
        });
        Ok(named)
    }

    /// That name, or the next one that is free; without what Envoy's counters write otherwise.
    fn name(&self, wanted: &str) -> String {
        let wanted = wanted.replace(':', "_");
        let is_free = |name: &String| self.plugins.iter().all(|other| other.resource != *name);
        let numbered = (2..).map(|number| format!("{wanted}#{number}"));
        std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or_default()
    }

    /// The plugin with the file of its module, and why Envoy will not take it, where that is known before.
    fn located(&mut self, plugin: &Plugin) -> Result<(config::Plugin, Option<String>)> {
        let loaded = match &plugin.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.library.get(&plugin.module).map_err(|failure| match failure {
                Failure::NotFetched(reason) | Failure::Refused(reason) => reason,
            }),
        };
        let (module, flaw) = match loaded {
            Ok(loaded) => {
                self.notes.extend(loaded.lacks(&plugin.name, &plugin.sandbox.capabilities));
                if plugin.sandbox.limits != Limits::USUAL {
                    self.notes.push(format!("the limits of `{}` are unknown to a real Envoy", plugin.name));
                }
                (self.discovery.module(&loaded.bytes)?, None)
            }
            Err(flaw) => (self.discovery.flawed(plugin.flaw.is_none().then_some(&plugin.module)), Some(flaw)),
        };
        let plugin = config::Plugin {
            name: plugin.name.clone(),
            root_id: plugin.root_id.clone(),
            vm_id: plugin.vm_id.clone(),
            module,
            configuration: plugin.configuration.clone().into(),
            vm_configuration: plugin.vm_configuration.clone().into(),
            environment: plugin.environment.clone(),
            capabilities: plugin.sandbox.capabilities.clone(),
            fail: plugin.fail,
            allow_on_headers_stop_iteration: plugin.allow_on_headers_stop_iteration,
        };
        Ok((plugin, flaw))
    }
}

fn connection_manager(listener: &Listener, mut filters: Vec<Value>) -> Value {
    let router = "envoy.extensions.filters.http.router.v3.Router";
    filters.push(json!({"name": "envoy.filters.http.router", "typed_config": config::typed(router, json!({}))}));
    let hosts = match &listener.serves {
        Serves::Http(hosts) => hosts.as_slice(),
        Serves::Tcp(_) => &[],
    };
    let hosts = hosts.iter().map(|host| {
        json!({
            "name": host.name,
            "domains": host.domains,
            "routes": [{"name": host.route, "match": {"prefix": "/"}, "route": {"cluster": host.cluster}}],
        })
    });
    let mut manager = json!({
        "stat_prefix": listener.stat_prefix,
        "codec_type": "AUTO",
        "http_protocol_options": {"enable_trailers": true},
        "route_config": {"name": listener.name, "virtual_hosts": hosts.collect::<Vec<_>>()},
        "http_filters": filters,
    });
    let normalization = listener.path_normalization;
    config::put(&mut manager, "normalize_path", json!(normalization != Normalization::None));
    let merges = matches!(normalization, Normalization::MergeSlashes | Normalization::DecodeAndMergeSlashes);
    config::put(&mut manager, "merge_slashes", json!(merges));
    if normalization == Normalization::DecodeAndMergeSlashes {
        config::put(&mut manager, "path_with_escaped_slashes_action", json!("UNESCAPE_AND_FORWARD"));
    }
    if listener.side == Side::Inbound {
        config::put(&mut manager, "forward_client_cert_details", json!("APPEND_FORWARD"));
        let details = json!({"subject": true, "uri": true, "dns": true});
        config::put(&mut manager, "set_current_client_cert_details", details);
    }
    let kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config::typed(kind, manager)})
}

fn cluster(proxy: &Proxy, cluster: &Cluster) -> Value {
    let metadata = |fields: &serde_json::Map<String, Value>| json!({"filter_metadata": fields});
    let endpoints = cluster.endpoints.iter().map(|endpoint| {
        json!({"endpoint": {"address": config::address(*endpoint)}, "metadata": metadata(&cluster.host_metadata)})
    });
    let protocol = match cluster.http2 {
        true => json!({"http2_protocol_options": {}}),
        false => json!({"http_protocol_options": {"enable_trailers": true}}),
    };
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut rendered = json!({
        "name": cluster.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "metadata": metadata(&cluster.metadata),
        "load_assignment": {
            "cluster_name": cluster.name,
            "endpoints": [{"lb_endpoints": endpoints.collect::<Vec<_>>()}],
        },
        "typed_extension_protocol_options": {
            options: config::typed(options, json!({"explicit_http_config": protocol})),
        },
    });
    if let Some((name, identities)) = &cluster.tls {
        let kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let context = json!({"sni": name, "common_tls_context": common_tls(proxy, identities)});
        let socket = json!({"name": "envoy.transport_sockets.tls", "typed_config": config::typed(kind, context)});
        config::put(&mut rendered, "transport_socket", socket);
    }
    rendered
}

fn server_tls(proxy: &Proxy) -> Value {
    let kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let mut common = common_tls(proxy, &[]);
    config::put(&mut common, "alpn_protocols", json!(["h2", "http/1.1"]));
    let context = json!({"require_client_certificate": true, "common_tls_context": common});
    json!({"name": "envoy.transport_sockets.tls", "typed_config": config::typed(kind, context)})
}

/// Who the proxy is, and whom it believes: everybody of the mesh, or these identities alone.
fn common_tls(proxy: &Proxy, identities: &[String]) -> Value {
    let identity = &proxy.identity;
    let names = identities.iter().map(|name| json!({"san_type": "URI", "matcher": {"exact": name}}));
    json!({
        "tls_certificates": [{
            "certificate_chain": {"inline_string": identity.certificates},
            "private_key": {"inline_string": identity.key},
        }],
        "validation_context": {
            "trusted_ca": {"inline_string": identity.roots},
            "match_typed_subject_alt_names": names.collect::<Vec<_>>(),
        },
    })
}

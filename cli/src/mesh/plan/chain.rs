//! The chain of a listener: the plugins of all resources, and those that stand for Istio's own filters, in istiod's order.

use anyhow::Result;
use serde_json::{Value, json};
use wasmplugin_deploy::attach::{self, ProxyKind};
use wasmplugin_deploy::chain::{self, Slot};
use wasmplugin_deploy::resource::{Extension, PluginKind, Program};
use wasmplugin_deploy::version::IstioVersion;
use wasmplugin_deploy::{envoy, order};
use wasmplugin_host::sandbox::Sandbox;
use wasmplugin_host::worker::FailPolicy;

use super::planner::Planner;
use super::proxy::Side;
use crate::mesh::description::{Role, Workload};
use crate::mesh::envoy_filter::{self, Context, Filter, Place};
use crate::mesh::plugin_config::{Plugin, Wanted};
use crate::mesh::policies::{self, EXTERNAL, JWT, PEER_METADATA, RBAC, STATS};

/// The label of pods of a Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A plugin on its way to its place.
#[derive(Debug, Clone)]
struct Placed {
    slot: Slot,
    plugin: Plugin,
}

impl Planner<'_> {
    /// The chain of a listener.
    pub(super) fn plugins(&self, side: Side, port: u16, tcp: bool) -> Result<Vec<Plugin>> {
        let kind = if tcp { PluginKind::Network } else { PluginKind::Http };
        let listener = match side {
            Side::Inbound => attach::Listener::Inbound(port),
            Side::Outbound => attach::Listener::Outbound(port),
            Side::Gateway => attach::Listener::Gateway(port),
        };
        let attached = order::plugins_for(&self.attached(), &self.resources.extensions);
        let mut placed = Vec::new();
        let slots: &[Slot] = if tcp { &chain::TCP } else { &chain::HTTP };
        for slot in slots {
            if let Slot::Plugins(phase) = slot {
                for extension in order::chain(&attached, listener, *phase, kind) {
                    if let Some(plugin) = self.extension(extension)? {
                        placed.push(Placed { slot: *slot, plugin });
                    }
                }
            } else if let Some(plugin) = self.own(*slot, side, tcp) {
                placed.push(Placed { slot: *slot, plugin });
            }
        }
        for filter in self.envoy_filters().flat_map(|filter| &filter.filters) {
            let applies = match filter.context {
                Context::Any => true,
                Context::Inbound => side == Side::Inbound,
                Context::Outbound => side == Side::Outbound,
                Context::Gateway => side == Side::Gateway,
            };
            if applies && filter.network == tcp && filter.port.is_none_or(|wanted| wanted == port) {
                let plugin = self.configured(&filter.config, &filter.name, filter.discovered);
                insert(&mut placed, filter, plugin, slots);
            }
        }
        Ok(placed.into_iter().map(|placed| self.limited(placed.plugin)).collect())
    }

    pub(super) fn envoy_filters(&self) -> impl Iterator<Item = &envoy_filter::EnvoyFilter> {
        let Workload { namespace, labels, .. } = self.workload;
        let root = &self.mesh.root_namespace;
        let takes = move |filter: &&envoy_filter::EnvoyFilter| filter.takes(namespace, labels, root);
        let all = self.resources.envoy_filters.iter().filter(takes);
        // Those of the root namespace come first.
        let (of_root, own): (Vec<_>, Vec<_>) = all.partition(|filter| filter.namespace == *root);
        of_root.into_iter().chain(own)
    }

    /// The workload's proxy, as attachment looks at it.
    fn attached(&self) -> attach::Proxy {
        let gateway = self.workload.labels.get(GATEWAY_NAME);
        let kind = match (self.workload.role, gateway) {
            (Role::Sidecar, _) => ProxyKind::Sidecar,
            (Role::Gateway, Some(name)) => ProxyKind::KubernetesGateway { name: name.clone() },
            (Role::Gateway, None) => ProxyKind::Gateway,
        };
        attach::Proxy {
            kind,
            namespace: self.workload.namespace.clone(),
            labels: self.workload.labels.clone(),
            root_namespace: self.mesh.root_namespace.clone(),
            selects_gateways: true,
        }
    }

    /// What stands in for a filter of Istio's own.
    fn own(&self, slot: Slot, side: Side, tcp: bool) -> Option<Plugin> {
        let protocol = if tcp { "tcp" } else { "http" };
        let istio = &self.mesh.istio;
        let (resources, workload) = (self.resources, self.workload);
        let (name, origin, folder, config) = match slot {
            Slot::PeerMetadata => {
                let origin = istio.metadata_exchange.as_ref()?;
                // The listener's direction decides what it does.
                (PEER_METADATA, Some(origin), "metadata-exchange", json!({}))
            }
            Slot::Telemetry => (STATS, Some(istio.stats.as_ref()?), "stats", policies::stats(self.mesh, side)),
            // Istio asks and decides where requests come in: before an application, and at the edge.
            _ if side == Side::Outbound => return None,
            Slot::ExternalAuthorization => {
                (EXTERNAL, istio.rbac.as_ref(), "rbac", policies::rbac(resources, workload, true, protocol)?)
            }
            Slot::Authentication => (JWT, istio.jwt.as_ref(), "jwt", policies::jwt(resources, workload)?),
            Slot::Authorization => {
                (RBAC, istio.rbac.as_ref(), "rbac", policies::rbac(resources, workload, false, protocol)?)
            }
            _ => return None,
        };
        let module = origin.map_or_else(|| Wanted::Build(folder.to_owned()), Wanted::from);
        // Of the plugins in these modules, only one is chosen by its name.
        let root_id = if tcp && slot == Slot::PeerMetadata { "tcp" } else { "" };
        Some(Plugin {
            name: name.to_owned(),
            resource: name.to_owned(),
            module,
            root_id: root_id.to_owned(),
            vm_id: String::new(),
            configuration: config.to_string(),
            vm_configuration: String::new(),
            environment: Vec::new(),
            sandbox: Sandbox::OPEN,
            fail: FailPolicy::Closed,
            allow_on_headers_stop_iteration: false,
            flaw: None,
        })
    }

    /// A WasmPlugin or TrafficExtension; nothing for one that istiod drops.
    fn extension(&self, extension: &Extension) -> Result<Option<Plugin>> {
        let namespace = extension.metadata.namespace().to_owned();
        let secret = match &extension.spec.program {
            Program::Wasm(wasm) => wasm.image_pull_secret.as_ref(),
            Program::Lua(_) => None,
        };
        let secret = secret
            .map(|name| self.resources.secrets.get(&(namespace.clone(), name.clone())).cloned().unwrap_or_default());
        let sent = match envoy::configuration(extension, IstioVersion::LATEST, secret.as_deref()) {
            Ok(sent) => sent,
            Err(dropped) => {
                log::warn!("`{namespace}.{}`: {dropped}", extension.metadata.name);
                return Ok(None);
            }
        };
        let Some(resource) = sent.resource else {
            let name = sent.filter.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            return Ok(Some(Plugin::scripted(&name, sent.filter)));
        };
        let config = resource.pointer("/typed_config/config").cloned().unwrap_or_default();
        let name = resource.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut plugin = self.configured(&config, name, true);
        if let Wanted::Fetch(request) = &mut plugin.module {
            request.resource = format!("{namespace}.{}", extension.metadata.name);
        }
        Ok(Some(plugin))
    }

    /// Envoy's `PluginConfig`. With `discovered` it goes through the agent, which fetches the module and takes out what
    /// istiod has told it.
    pub(super) fn configured(&self, config: &Value, resource: &str, discovered: bool) -> Plugin {
        let mut plugin = Plugin::read(config, resource, discovered, &self.workload.env);
        plugin.module = self.replaced(plugin.module);
        plugin
    }

    /// The plugin within the limits that the mesh has for it.
    pub(super) fn limited(&self, mut plugin: Plugin) -> Plugin {
        plugin.sandbox.limits = self.mesh.limits.of(&plugin.name);
        plugin
    }

    /// Where a module really comes from.
    fn replaced(&self, wanted: Wanted) -> Wanted {
        let Some(url) = wanted.url() else { return wanted };
        let found = self.mesh.modules.iter().find(|replacement| replacement.url == url);
        match found {
            Some(found) => match (&found.build, &found.file) {
                (Some(name), _) => Wanted::Build(name.clone()),
                (None, Some(file)) => Wanted::File(file.clone()),
                (None, None) => wanted,
            },
            None => wanted,
        }
    }
}

/// Puts a filter where its patch says. A neighbour that is not there takes the place of the patch's whole effect, as in
/// Istio, but for those of Istio's own that have a known place in the chain.
fn insert(placed: &mut Vec<Placed>, filter: &Filter, plugin: Plugin, slots: &[Slot]) {
    let rank = |slot: Slot| slots.iter().position(|other| *other == slot).unwrap_or(slots.len());
    let at = match &filter.place {
        Place::First => Some((0, slots.first().copied().unwrap_or(Slot::Terminal))),
        Place::Before(name) | Place::After(name) => {
            let after = matches!(filter.place, Place::After(_));
            let named = placed.iter().position(|other| other.plugin.resource == *name);
            match (named, slot_of(name)) {
                (Some(at), _) => placed.get(at).map(|other| (at + usize::from(after), other.slot)),
                (None, Some(slot)) => {
                    let beyond = |other: &Placed| match after {
                        true => rank(other.slot) > rank(slot),
                        false => rank(other.slot) >= rank(slot),
                    };
                    Some((placed.iter().position(beyond).unwrap_or(placed.len()), slot))
                }
                (None, None) => {
                    log::warn!(
                        "the patch that puts `{}` beside `{name}` has no effect: that is not in the chain",
                        filter.name
                    );
                    None
                }
            }
        }
    };
    if let Some((at, slot)) = at {
        placed.insert(at, Placed { slot, plugin });
    }
}

/// Where filters stand that patches name.
fn slot_of(name: &str) -> Option<Slot> {
    Some(match name {
        "envoy.filters.http.router" | "envoy.router" | "envoy.filters.network.tcp_proxy" => Slot::Terminal,
        "envoy.filters.http.jwt_authn" | "istio_authn" => Slot::Authentication,
        "envoy.filters.http.rbac" | "envoy.filters.network.rbac" => Slot::Authorization,
        "envoy.filters.http.ext_authz" => Slot::ExternalAuthorization,
        "envoy.filters.http.cors" | "envoy.filters.http.fault" | "envoy.filters.http.grpc_stats" | "istio.alpn" => {
            Slot::Traffic
        }
        "istio.stats" => Slot::Telemetry,
        "istio.metadata_exchange" | "envoy.filters.http.peer_metadata" => Slot::PeerMetadata,
        _ => return None,
    })
}

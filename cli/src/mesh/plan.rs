//! What each proxy of a mesh has to do: its listeners with their chains, its clusters, its singletons.
//!
//! Names, chains and ports are those that istiod would hand out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Map, Value, json};
use wasmplugin_deploy::attach::{self, ProxyKind};
use wasmplugin_deploy::chain::{self, Slot};
use wasmplugin_deploy::resource::{Extension, FailStrategy, PluginKind, Program};
use wasmplugin_deploy::version::IstioVersion;
use wasmplugin_deploy::{envoy, order};
use wasmplugin_proxy::{Authority, Identity};

use super::description::{Mesh, Mtls, Origin, Port, Protocol, Role, Service, Workload};
use super::envoy_filter::{self, Context, Filter, Place};
use super::files::Resources;
use super::plugin_config::{Config, Wanted};
use super::policies::{self, EXTERNAL, JWT, PEER_METADATA, RBAC, STATS};

/// The label of pods of a Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// One proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its workload, `name.namespace`.
    pub(crate) workload: String,
    /// Who it is in the mesh.
    pub(crate) identity: Identity,
    /// What plugins read as `xds.node`.
    pub(crate) node: Node,
    /// Where its admin port listens.
    pub(crate) admin: SocketAddr,
    /// Its threads.
    pub(crate) workers: usize,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) singletons: Vec<Plugin>,
    /// What becomes a label of a plugin's metric, besides what modules ask for: name and expression.
    pub(crate) stats_tags: Vec<(String, String)>,
}

impl Proxy {
    /// All plugins of all listeners.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.listeners.iter().flat_map(|listener| &listener.plugins).chain(&self.singletons)
    }

    /// Where clients reach a side of it on that port.
    pub(crate) fn address(&self, side: Side, port: u16) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| listener.side == side && listener.port == port).map(|found| found.address)
    }
}

/// A proxy's identity as plugins read it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) metadata: Map<String, Value>,
}

/// A place where clients come in.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) stat_prefix: String,
    pub(crate) side: Side,
    /// The port that resources speak of.
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) serves: Serves,
    /// In the order in which a request meets them.
    pub(crate) plugins: Vec<Plugin>,
}

/// Which way a listener's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Inbound,
    Outbound,
    Gateway,
}

/// What a listener's clients have to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Plain,
    /// Mutual TLS of the mesh.
    Mutual,
    /// Mutual TLS, or none.
    Permissive,
}

/// What is behind a chain.
#[derive(Debug, Clone)]
pub(crate) enum Serves {
    Http(Vec<VirtualHost>),
    Tcp(String),
}

/// Hosts that share a cluster.
#[derive(Debug, Clone)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) domains: Vec<String>,
    pub(crate) route: String,
    pub(crate) cluster: String,
}

/// Servers behind one name.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) http2: bool,
    /// The name that is asked for in TLS, and the identities that are believed; plain without.
    pub(crate) tls: Option<(String, Vec<String>)>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) host_metadata: Map<String, Value>,
}

/// A plugin of a chain: Envoy's `PluginConfig` with the module still to be had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    /// What logs and properties call it.
    pub(crate) name: String,
    /// Its resource in ECDS, or its filter's name.
    pub(crate) resource: String,
    pub(crate) module: Wanted,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) configuration: String,
    pub(crate) vm_configuration: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) fail: FailStrategy,
    pub(crate) allow_on_headers_stop_iteration: bool,
    /// Whether an older flag asks to let pass even the request that trapped.
    pub(crate) fail_open_flag: bool,
    /// Why Envoy would not take this configuration, whatever the module is.
    pub(crate) flaw: Option<String>,
}

/// An element of a chain on its way to its place: Lua and the like have no plugin.
#[derive(Debug, Clone)]
struct Placed {
    slot: Slot,
    plugin: Plugin,
}

/// The certificates of a mesh: each workload keeps its own.
#[derive(Debug)]
pub(crate) struct Identities {
    authority: Authority,
    trust_domain: String,
    made: BTreeMap<String, Identity>,
}

impl Identities {
    /// Those of a new authority.
    pub(crate) fn new(trust_domain: &str) -> Result<Self> {
        Ok(Self {
            authority: Authority::new(trust_domain)?,
            trust_domain: trust_domain.to_owned(),
            made: BTreeMap::new(),
        })
    }

    /// The same certificates for the same workloads, in another place; what is new there has another authority.
    pub(crate) fn copied(&self) -> Result<Self> {
        Ok(Self {
            authority: Authority::new(&self.trust_domain)?,
            trust_domain: self.trust_domain.clone(),
            made: self.made.clone(),
        })
    }

    fn of(&mut self, spiffe: &str) -> Result<Identity> {
        if let Some(made) = self.made.get(spiffe) {
            return Ok(made.clone());
        }
        let identity = self.authority.identity(spiffe, [])?;
        self.made.insert(spiffe.to_owned(), identity.clone());
        Ok(identity)
    }
}

/// Decides for every workload.
pub(crate) fn plan(
    resources: &Resources,
    identities: &mut Identities,
    ports: &Ports,
    upstream: &Upstreams,
) -> Result<Vec<Proxy>> {
    let mesh = &resources.mesh;
    mesh.workloads
        .iter()
        .map(|workload| {
            let planner = Planner { resources, mesh, workload, ports, upstream };
            planner.proxy(identities).with_context(|| format!("workload `{}`", workload.full_name()))
        })
        .collect()
}

/// Where the applications are, by workload and port.
pub(crate) type Upstreams = BTreeMap<(String, u16), SocketAddr>;

/// Where everything listens: free ports are chosen once, so that proxies find each other and a reload changes nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    /// By workload, side and port.
    chosen: BTreeMap<(String, &'static str, u16), SocketAddr>,
    /// Ports that the mesh names are taken by others.
    anywhere: bool,
}

impl Ports {
    /// Free ports for everything, also for what the mesh names a port for.
    pub(crate) fn anywhere() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// Chooses ports for what is new, and keeps those of before.
    pub(crate) fn choose(&mut self, mesh: &Mesh) -> Result<()> {
        let mut held = Vec::new();
        let mut wanted = Vec::new();
        for workload in &mesh.workloads {
            let name = workload.full_name();
            wanted.push(((name.clone(), "admin", 0), workload.admin));
            wanted.extend(workload.ports.iter().map(|port| ((name.clone(), "in", port.port), port.listen)));
            if workload.role == Role::Sidecar {
                let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let listen = |port: u16| workload.outbound.get(&port).copied().unwrap_or(anywhere);
                wanted.extend(service_ports(mesh).into_iter().map(|port| ((name.clone(), "out", port), listen(port))));
            }
        }
        for (key, mut address) in wanted {
            if self.anywhere {
                address.set_port(0);
            }
            if address.port() != 0 {
                self.chosen.insert(key, address);
            } else if let Entry::Vacant(vacant) = self.chosen.entry(key) {
                // Held until all are chosen, so that no two get the same.
                let listener =
                    TcpListener::bind(address).with_context(|| format!("no free port on `{}`", address.ip()))?;
                vacant.insert(listener.local_addr().context("no free port")?);
                held.push(listener);
            }
        }
        Ok(())
    }

    fn of(&self, workload: &Workload, side: &'static str, port: u16) -> Result<SocketAddr> {
        let found = self.chosen.get(&(workload.full_name(), side, port)).copied();
        found.ok_or_else(|| anyhow!("no address was chosen for port `{port}` of `{}`", workload.full_name()))
    }
}

/// The ports of all services.
fn service_ports(mesh: &Mesh) -> BTreeSet<u16> {
    mesh.services.iter().map(|service| service.port).collect()
}

/// Decides for one workload.
struct Planner<'a> {
    resources: &'a Resources,
    mesh: &'a Mesh,
    workload: &'a Workload,
    ports: &'a Ports,
    upstream: &'a Upstreams,
}

impl Planner<'_> {
    fn proxy(&self, identities: &mut Identities) -> Result<Proxy> {
        let workload = self.workload;
        let inbound = workload.ports.iter().map(|port| self.own_listener(port));
        let mut listeners = inbound.collect::<Result<Vec<_>>>()?;
        if workload.role == Role::Sidecar {
            for port in service_ports(self.mesh) {
                listeners.push(self.outbound(port)?);
            }
        }
        let identity = identities.of(&workload.spiffe(&self.mesh.trust_domain))?;
        let filters = self.envoy_filters();
        let singletons = filters
            .flat_map(|filter| filter.singletons.iter().map(|config| self.configured(config, "singleton", false)));
        Ok(Proxy {
            workload: workload.full_name(),
            identity,
            node: self.node(),
            admin: self.ports.of(workload, "admin", 0)?,
            workers: workload.workers.max(1),
            listeners,
            clusters: self.clusters()?,
            singletons: singletons.collect(),
            stats_tags: self.mesh.stats_tags.iter().map(|tag| (tag.tag_name.clone(), tag.regex.clone())).collect(),
        })
    }

    fn node(&self) -> Node {
        let Workload { name, namespace, .. } = self.workload;
        let label = |name: &str| self.workload.labels.get(name).map_or("", String::as_str);
        let mut labels = self.workload.labels.clone();
        labels.entry("service.istio.io/canonical-name".to_owned()).or_insert_with(|| name.clone());
        let revision = if label("version").is_empty() { "latest" } else { label("version") };
        labels.entry("service.istio.io/canonical-revision".to_owned()).or_insert_with(|| revision.to_owned());
        let kind = if self.workload.role == Role::Gateway { "router" } else { "sidecar" };
        let pod = format!("{name}-0");
        let mut metadata = json!({
            "NAME": pod,
            "NAMESPACE": namespace,
            "WORKLOAD_NAME": name,
            "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
            "SERVICE_ACCOUNT": self.workload.service_account,
            "CLUSTER_ID": self.mesh.cluster_id,
            "MESH_ID": self.mesh.trust_domain,
            "INSTANCE_IPS": "127.0.0.1",
            "LABELS": labels,
        });
        if let Some(fields) = metadata.as_object_mut() {
            fields.extend(self.workload.metadata.clone());
        }
        Node {
            id: format!("{kind}~127.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: format!("{name}.{namespace}"),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
        }
    }

    /// A port of a sidecar's application, or of a gateway.
    fn own_listener(&self, port: &Port) -> Result<Listener> {
        let side = if self.workload.role == Role::Gateway { Side::Gateway } else { Side::Inbound };
        let (name, serves) = match side {
            Side::Gateway => (format!("0.0.0.0_{}", port.port), self.gateway_routes(port)),
            _ => {
                let cluster = format!("inbound|{}||", port.port);
                let serves = match port.protocol {
                    Protocol::Tcp => Serves::Tcp(cluster),
                    Protocol::Http | Protocol::Http2 => Serves::Http(vec![VirtualHost {
                        name: format!("inbound|http|{}", port.port),
                        domains: vec!["*".to_owned()],
                        route: "default".to_owned(),
                        cluster,
                    }]),
                };
                (format!("inbound_0.0.0.0_{}", port.port), serves)
            }
        };
        let tls = match (side, self.mesh.mtls) {
            (Side::Gateway, _) | (_, Mtls::Disable) => Tls::Plain,
            (_, Mtls::Strict) => Tls::Mutual,
            (_, Mtls::Permissive) => Tls::Permissive,
        };
        let stat_prefix = match side {
            Side::Gateway => format!("outbound_{name}"),
            _ => name.clone(),
        };
        let address = self.ports.of(self.workload, "in", port.port)?;
        let plugins = self.plugins(side, port.port, matches!(serves, Serves::Tcp(_)))?;
        Ok(Listener { name, address, stat_prefix, side, port: port.port, tls, serves, plugins })
    }

    fn gateway_routes(&self, port: &Port) -> Serves {
        let services = port.routes.iter().filter_map(|(host, name)| Some((host, self.mesh.service(name)?)));
        let hosts = services.map(|(host, service)| VirtualHost {
            name: format!("{host}:{}", port.port),
            domains: if host == "*" { vec![host.clone()] } else { vec![host.clone(), format!("{host}:*")] },
            route: String::new(),
            cluster: outbound_cluster(service),
        });
        Serves::Http(hosts.collect())
    }

    /// Where the application reaches all services of one port.
    fn outbound(&self, port: u16) -> Result<Listener> {
        let services: Vec<_> = self.mesh.services.iter().filter(|service| service.port == port).collect();
        let speaks_tcp =
            |service: &&&Service| self.mesh.workloads_of(service).any(|(_, port)| port.protocol == Protocol::Tcp);
        let serves = match services.iter().find(speaks_tcp) {
            // Bytes say nothing about where they want to go: the first service has the port.
            Some(service) => Serves::Tcp(outbound_cluster(service)),
            None => Serves::Http(services.iter().map(|service| self.virtual_host(service)).collect()),
        };
        let name = format!("0.0.0.0_{port}");
        let address = self.ports.of(self.workload, "out", port)?;
        let plugins = self.plugins(Side::Outbound, port, matches!(serves, Serves::Tcp(_)))?;
        let stat_prefix = format!("outbound_{name}");
        Ok(Listener { name, address, stat_prefix, side: Side::Outbound, port, tls: Tls::Plain, serves, plugins })
    }

    /// The names of a service, as far as they can be told apart from here.
    fn virtual_host(&self, service: &Service) -> VirtualHost {
        let Service { name, namespace, port, .. } = service;
        let mut names = vec![service.host(), format!("{name}.{namespace}.svc"), format!("{name}.{namespace}")];
        if *namespace == self.workload.namespace {
            names.push(name.clone());
        }
        let domains = names.into_iter().flat_map(|name| [format!("{name}:{port}"), name]);
        VirtualHost {
            name: format!("{}:{port}", service.host()),
            domains: domains.collect(),
            route: "default".to_owned(),
            cluster: outbound_cluster(service),
        }
    }

    fn clusters(&self) -> Result<Vec<Cluster>> {
        let mut clusters = Vec::new();
        if self.workload.role == Role::Sidecar {
            for port in &self.workload.ports {
                let key = (self.workload.full_name(), port.port);
                let application = port.upstream.or_else(|| self.upstream.get(&key).copied());
                let service = self.mesh.services.iter().find(|service| {
                    let mut behind = self.mesh.workloads_of(service);
                    behind.any(|(workload, of)| workload.full_name() == key.0 && of.port == port.port)
                });
                clusters.push(Cluster {
                    name: format!("inbound|{}||", port.port),
                    endpoints: application.into_iter().collect(),
                    http2: port.protocol == Protocol::Http2,
                    tls: None,
                    metadata: service.map(service_metadata).unwrap_or_default(),
                    host_metadata: Map::new(),
                });
            }
        }
        for service in &self.mesh.services {
            clusters.push(self.service_cluster(service)?);
        }
        clusters.extend(self.mesh.clusters.iter().map(|external| Cluster {
            name: external.name.clone(),
            endpoints: vec![external.address],
            http2: external.http2,
            tls: None,
            metadata: Map::new(),
            host_metadata: Map::new(),
        }));
        Ok(clusters)
    }

    fn service_cluster(&self, service: &Service) -> Result<Cluster> {
        let behind: Vec<_> = self.mesh.workloads_of(service).collect();
        let endpoints = behind.iter().map(|(workload, port)| self.ports.of(workload, "in", port.port));
        let identities: BTreeSet<_> =
            behind.iter().map(|(workload, _)| workload.spiffe(&self.mesh.trust_domain)).collect();
        let name = format!("outbound_.{}_._.{}", service.port, service.host());
        let label = |workload: &Workload, name: &str| workload.labels.get(name).cloned();
        let host_metadata = behind.first().map(|(workload, _)| {
            let canonical = label(workload, "service.istio.io/canonical-name").unwrap_or_else(|| workload.name.clone());
            let revision =
                label(workload, "service.istio.io/canonical-revision").or_else(|| label(workload, "version"));
            let cluster = &self.mesh.cluster_id;
            let Workload { name, namespace, .. } = workload;
            let text = format!("{name};{namespace};{canonical};{};{cluster}", revision.unwrap_or_default());
            Map::from_iter([("istio".to_owned(), json!({"workload": text}))])
        });
        Ok(Cluster {
            name: outbound_cluster(service),
            endpoints: endpoints.collect::<Result<_>>()?,
            http2: false,
            tls: (self.mesh.mtls != Mtls::Disable).then(|| (name, identities.into_iter().collect())),
            metadata: service_metadata(service),
            host_metadata: host_metadata.unwrap_or_default(),
        })
    }

    /// The chain of a listener.
    fn plugins(&self, side: Side, port: u16, tcp: bool) -> Result<Vec<Plugin>> {
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
        Ok(placed.into_iter().map(|placed| placed.plugin).collect())
    }

    fn envoy_filters(&self) -> impl Iterator<Item = &envoy_filter::EnvoyFilter> {
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
            fail: FailStrategy::FailClose,
            allow_on_headers_stop_iteration: false,
            fail_open_flag: false,
            flaw: None,
        })
    }

    /// A WasmPlugin or TrafficExtension; nothing for one that istiod drops, or that no module of ours runs.
    fn extension(&self, extension: &Extension) -> Result<Option<Plugin>> {
        let Program::Wasm(wasm) = &extension.spec.program else { return Ok(None) };
        let namespace = extension.metadata.namespace().to_owned();
        let secret = wasm
            .image_pull_secret
            .as_ref()
            .map(|name| self.resources.secrets.get(&(namespace.clone(), name.clone())).cloned().unwrap_or_default());
        let sent = match envoy::configuration(extension, IstioVersion::LATEST, secret.as_deref()) {
            Ok(sent) => sent,
            Err(dropped) => {
                log::warn!("`{namespace}.{}`: {dropped}", extension.metadata.name);
                return Ok(None);
            }
        };
        let Some(resource) = sent.resource else { return Ok(None) };
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
    fn configured(&self, config: &Value, resource: &str, discovered: bool) -> Plugin {
        let read = Config::read(config, discovered, &self.workload.env);
        Plugin {
            name: read.name,
            resource: resource.to_owned(),
            module: self.replaced(read.module),
            root_id: read.root_id,
            vm_id: read.vm_id,
            configuration: read.configuration,
            vm_configuration: read.vm_configuration,
            environment: read.environment,
            fail: read.fail,
            allow_on_headers_stop_iteration: read.allow_on_headers_stop_iteration,
            fail_open_flag: read.fail_open_flag,
            flaw: read.flaw,
        }
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

impl From<&Origin> for Wanted {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin { build: Some(name), .. } => Self::Build(name.clone()),
            Origin { file: Some(file), .. } => Self::File(file.clone()),
            Origin { url: Some(url), .. } => Self::of_url(url),
            Origin { .. } => Self::Build(String::new()),
        }
    }
}

fn outbound_cluster(service: &Service) -> String {
    format!("outbound|{}||{}", service.port, service.host())
}

fn service_metadata(service: &Service) -> Map<String, Value> {
    let Service { name, namespace, .. } = service;
    let services = json!({"services": [{"host": service.host(), "name": name, "namespace": namespace}]});
    Map::from_iter([("istio".to_owned(), services)])
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

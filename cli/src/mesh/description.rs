//! `mesh.yaml`: what Kubernetes and istiod would know by themselves about a mesh that runs on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::limits::PluginLimits;

/// What the file says its `kind` is.
pub(crate) const KIND: &str = "Mesh";

/// The whole mesh.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mesh {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    /// The first part of every identity.
    #[serde(default = "trust_domain")]
    pub(crate) trust_domain: String,
    /// The namespace whose resources are for everybody.
    #[serde(default = "root_namespace")]
    pub(crate) root_namespace: String,
    /// The name of the cluster that the workloads claim to run in.
    #[serde(default = "cluster_id")]
    pub(crate) cluster_id: String,
    /// Whether workloads speak mutual TLS with each other.
    #[serde(default)]
    pub(crate) mtls: Mtls,
    /// What proxies do to paths before policies see them; shaped as in Istio's `meshConfig`.
    #[serde(default)]
    pub(crate) path_normalization: ProxyPathNormalization,
    /// The modules that stand in for Istio's own filters.
    #[serde(default)]
    pub(crate) istio: IstioModules,
    /// Where the modules behind some URLs really come from.
    #[serde(default)]
    pub(crate) modules: Vec<Replacement>,
    /// What runs, each with a proxy of its own.
    pub(crate) workloads: Vec<Workload>,
    /// What workloads call each other by.
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// Servers outside of the mesh.
    #[serde(default)]
    pub(crate) clusters: Vec<External>,
    /// Who `CUSTOM` policies ask, as the `rbac` module wants it, by name.
    #[serde(default)]
    pub(crate) extension_providers: Map<String, Value>,
    /// The configuration of the `stats` module.
    #[serde(default)]
    pub(crate) telemetry: Map<String, Value>,
    /// How much plugins may use, by their names.
    #[serde(default)]
    pub(crate) limits: PluginLimits,
    /// What becomes a label of a plugin's metric, besides Istio's own.
    #[serde(default)]
    pub(crate) stats_tags: Vec<Tag>,
}

/// What proxies do to paths.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProxyPathNormalization {
    /// How far they go.
    #[serde(default)]
    pub(crate) normalization: Normalization,
}

/// How far proxies go with the spellings of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Normalization {
    /// As the client sent it.
    None,
    /// Dot segments, escapes of letters, backslashes.
    #[default]
    #[serde(alias = "DEFAULT")]
    Base,
    /// And several slashes in a row.
    MergeSlashes,
    /// And slashes that are escaped.
    DecodeAndMergeSlashes,
}

/// How workloads speak with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Mtls {
    /// Only with certificates of the mesh.
    #[default]
    Strict,
    /// With certificates among each other, and without for everybody else.
    Permissive,
    /// Never.
    Disable,
}

/// The modules that stand in for Istio's own filters; without a word, those of this workspace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IstioModules {
    /// For `RequestAuthentication`.
    pub(crate) jwt: Option<Origin>,
    /// For `AuthorizationPolicy`.
    pub(crate) rbac: Option<Origin>,
    /// For the exchange of peer metadata; none without a word.
    pub(crate) metadata_exchange: Option<Origin>,
    /// For Istio's metrics; none without a word.
    pub(crate) stats: Option<Origin>,
}

/// Where a module comes from: one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Origin {
    /// A plugin or example of this workspace, by the name of its folder; it is built.
    pub(crate) build: Option<String>,
    /// A file, from this one's folder on.
    pub(crate) file: Option<PathBuf>,
    /// A URL, as in a WasmPlugin.
    pub(crate) url: Option<String>,
}

/// A URL, and where its module really comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Replacement {
    /// The URL in the resources, word for word.
    pub(crate) url: String,
    /// A plugin or example of this workspace, by the name of its folder; it is built.
    pub(crate) build: Option<String>,
    /// A file, from this one's folder on.
    pub(crate) file: Option<PathBuf>,
}

/// Something that runs, with a proxy of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub(crate) namespace: String,
    /// Whose certificate it shows.
    #[serde(default = "default_name")]
    pub(crate) service_account: String,
    /// The labels of its pods.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// What its proxy is.
    #[serde(default)]
    pub(crate) role: Role,
    /// Node metadata, besides what follows from all else here.
    #[serde(default)]
    pub(crate) metadata: Map<String, Value>,
    /// What it listens on: a sidecar's application, or a gateway to the world.
    #[serde(default)]
    pub(crate) ports: Vec<Port>,
    /// Where its application reaches services, by the port of the service; a free port for those that are not named.
    #[serde(default)]
    pub(crate) outbound: BTreeMap<u16, SocketAddr>,
    /// Where the admin port listens.
    #[serde(default = "anywhere")]
    pub(crate) admin: SocketAddr,
    /// Threads of its proxy.
    #[serde(default = "one")]
    pub(crate) workers: usize,
    /// The environment of its proxy, for variables that plugins read from it.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

/// What a workload's proxy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It stands beside an application.
    #[default]
    Sidecar,
    /// It stands before the mesh.
    Gateway,
}

/// A port that a workload listens on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Port {
    /// The number that resources speak of.
    pub(crate) port: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// Where the proxy really listens for it.
    #[serde(default = "anywhere")]
    pub(crate) listen: SocketAddr,
    /// A sidecar's application; without one, a server that shows what reached it.
    pub(crate) upstream: Option<SocketAddr>,
    /// A gateway's way into the mesh: which hosts go to which service, as `name.namespace`.
    #[serde(default)]
    pub(crate) routes: BTreeMap<String, String>,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Protocol {
    /// HTTP/1.1, or HTTP/2 from clients that begin with it.
    #[default]
    Http,
    /// HTTP/2 to the application as well.
    Http2,
    /// Bytes.
    Tcp,
}

/// A name for workloads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub(crate) namespace: String,
    /// The port that clients ask for.
    pub(crate) port: u16,
    /// The port of the workloads; the same without a word.
    pub(crate) target_port: Option<u16>,
    /// The workloads: those with these labels, in its namespace.
    pub(crate) selector: BTreeMap<String, String>,
}

/// A server outside of the mesh.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct External {
    /// How plugins name it, such as `outbound|443||idp.example.com`.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Whether it speaks HTTP/2.
    #[serde(default)]
    pub(crate) http2: bool,
}

/// An entry of Envoy's `stats_tags`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) struct Tag {
    /// The label.
    pub(crate) tag_name: String,
    /// What finds it in a metric's name.
    pub(crate) regex: String,
}

fn trust_domain() -> String {
    "cluster.local".to_owned()
}

fn root_namespace() -> String {
    "istio-system".to_owned()
}

fn cluster_id() -> String {
    "Kubernetes".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_name() -> String {
    "default".to_owned()
}

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn one() -> usize {
    1
}

impl Mesh {
    /// Reads the tree of the document; relative paths begin at `folder`.
    pub(crate) fn read(tree: Value, folder: &Path) -> Result<Self> {
        let mut mesh: Self = match serde_path_to_error::deserialize(tree) {
            Ok(mesh) => mesh,
            Err(error) => bail!("`{}`: {}", error.path(), error.inner()),
        };
        for file in mesh.modules.iter_mut().filter_map(|module| module.file.as_mut()) {
            *file = folder.join(&file);
        }
        let istio = &mut mesh.istio;
        for origin in [&mut istio.jwt, &mut istio.rbac, &mut istio.metadata_exchange, &mut istio.stats] {
            if let Some(file) = origin.as_mut().and_then(|origin| origin.file.as_mut()) {
                *file = folder.join(&file);
            }
        }
        mesh.check()?;
        Ok(mesh)
    }

    /// Finds what cannot work.
    fn check(&self) -> Result<()> {
        if self.workloads.is_empty() {
            bail!("`workloads`: there are none, and nothing to run");
        }
        let mut names: Vec<_> = self.workloads.iter().map(|workload| (&workload.namespace, &workload.name)).collect();
        names.sort();
        if let Some([(namespace, name), _]) = names.array_windows().find(|[one, other]| one == other) {
            bail!("`workloads`: `{name}.{namespace}` is there twice");
        }
        for workload in &self.workloads {
            for port in &workload.ports {
                let place = format!("workload `{}`, port `{}`", workload.full_name(), port.port);
                match workload.role {
                    Role::Sidecar if !port.routes.is_empty() => {
                        bail!("{place}: `routes` are for gateways; a sidecar's port has an `upstream`")
                    }
                    Role::Gateway if port.upstream.is_some() => {
                        bail!("{place}: an `upstream` is for sidecars; a gateway's port has `routes`")
                    }
                    Role::Gateway if port.routes.is_empty() => {
                        bail!("{place}: name a service in `routes`, such as `routes: {{\"*\": web.shop}}`")
                    }
                    _ => {}
                }
                for service in port.routes.values() {
                    if self.service(service).is_none() {
                        bail!("{place}: there is no service `{service}`; services are named `name.namespace`");
                    }
                }
            }
        }
        for service in &self.services {
            if self.workloads_of(service).next().is_none() {
                bail!(
                    "service `{}.{}`: no workload of its namespace has the labels of its `selector` and the port `{}`",
                    service.name,
                    service.namespace,
                    service.target_port()
                );
            }
        }
        Ok(())
    }

    /// The service of that name, `name.namespace`.
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| format!("{}.{}", service.name, service.namespace) == name)
    }

    /// The ports of all services.
    pub(crate) fn service_ports(&self) -> BTreeSet<u16> {
        self.services.iter().map(|service| service.port).collect()
    }

    /// The workloads behind a service, each with its port.
    pub(crate) fn workloads_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = (&'a Workload, &'a Port)> {
        let chosen = self.workloads.iter().filter(|workload| {
            workload.namespace == service.namespace
                && service.selector.iter().all(|(name, value)| workload.labels.get(name) == Some(value))
        });
        chosen.filter_map(|workload| {
            let port = workload.ports.iter().find(|port| port.port == service.target_port())?;
            Some((workload, port))
        })
    }
}

impl Service {
    /// The port of the workloads.
    pub(crate) fn target_port(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }

    /// Its full host name.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

impl Workload {
    /// `name.namespace`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// Its identity in the mesh.
    pub(crate) fn spiffe(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/ns/{}/sa/{}", self.namespace, self.service_account)
    }
}

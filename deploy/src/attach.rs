//! Which proxies a plugin is for, and which of their listeners it sees.

use std::collections::BTreeMap;

use crate::resource::{Extension, Selector, TargetRef, TrafficMode, TrafficSelector};

/// A proxy, as far as attachment asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it stands in front of.
    pub kind: ProxyKind,
    /// Its namespace.
    pub namespace: String,
    /// The labels of its pod.
    pub labels: BTreeMap<String, String>,
    /// The namespace whose resources are for the whole mesh.
    pub root_namespace: String,
    /// Istio's `ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY`: whether a gateway of the Gateway API takes plugins that name
    /// no target.
    pub selects_gateways: bool,
}

/// What a proxy stands in front of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// A pod.
    Sidecar,
    /// The mesh, set up by Istio's own Gateway resource.
    Gateway,
    /// The mesh, set up by a Gateway of the Gateway API.
    KubernetesGateway {
        /// The Gateway's name: the pod's label `gateway.networking.k8s.io/gateway-name`.
        name: String,
    },
    /// Services, in ambient mode.
    Waypoint {
        /// The Gateway's name.
        name: String,
        /// The services that it serves.
        services: Vec<Service>,
    },
}

/// A service behind a waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Which kind of object it is.
    pub kind: ServiceKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Which kind of object a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Of Kubernetes.
    Service,
    /// Of Istio.
    ServiceEntry,
}

impl Proxy {
    /// A sidecar without labels, in a mesh whose root namespace is `istio-system`.
    #[must_use]
    pub fn sidecar(namespace: impl Into<String>) -> Self {
        Self {
            kind: ProxyKind::Sidecar,
            namespace: namespace.into(),
            labels: BTreeMap::new(),
            root_namespace: "istio-system".to_owned(),
            selects_gateways: true,
        }
    }

    /// The namespaces whose resources it looks at, in the order that breaks ties: its own, the root, and for a waypoint
    /// those of its services.
    #[must_use]
    pub fn namespaces(&self) -> Vec<&str> {
        let mut namespaces = vec![self.namespace.as_str()];
        let services: &[Service] = match &self.kind {
            ProxyKind::Waypoint { services, .. } => services,
            _ => &[],
        };
        let others = services.iter().map(|service| service.namespace.as_str());
        for namespace in std::iter::once(self.root_namespace.as_str()).chain(others) {
            if !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
        namespaces
    }

    /// Whether a plugin is for this proxy.
    #[must_use]
    pub fn takes(&self, extension: &Extension) -> bool {
        let namespace = extension.metadata.namespace();
        if !self.namespaces().contains(&namespace) {
            return false;
        }
        let targets = extension.targets();
        match &self.kind {
            ProxyKind::Sidecar | ProxyKind::Gateway => targets.is_empty() && self.selected(extension),
            ProxyKind::KubernetesGateway { .. } if targets.is_empty() => {
                self.selects_gateways && self.selected(extension)
            }
            ProxyKind::KubernetesGateway { name } => {
                targets.iter().any(|target| target.is_gateway(name) && namespace == self.namespace)
            }
            ProxyKind::Waypoint { name, services } => {
                targets.iter().any(|target| self.is_waypoint_target(target, namespace, name, services))
            }
        }
    }

    fn is_waypoint_target(&self, target: &TargetRef, namespace: &str, name: &str, services: &[Service]) -> bool {
        let is_class = target.group == GATEWAY_API && target.kind == "GatewayClass" && target.name == "istio-waypoint";
        target.is_gateway(name) && namespace == self.namespace
            || is_class && namespace == self.root_namespace
            || services.iter().any(|service| service.namespace == namespace && target.is_service(service))
    }

    /// Whether a selector holds for this pod, in a namespace where it may.
    fn selected(&self, extension: &Extension) -> bool {
        let namespace = extension.metadata.namespace();
        let here = namespace == self.namespace || namespace == self.root_namespace;
        let holds = |selector: &Selector| {
            selector.match_labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
        };
        here && extension.spec.selector.as_ref().is_none_or(holds)
    }
}

/// The group of the Gateway API.
pub(crate) const GATEWAY_API: &str = "gateway.networking.k8s.io";

impl TargetRef {
    fn is_gateway(&self, name: &str) -> bool {
        self.group == GATEWAY_API && self.kind == "Gateway" && self.name == name
    }

    fn is_service(&self, service: &Service) -> bool {
        let kind = match service.kind {
            ServiceKind::Service => matches!(self.group.as_str(), "" | "core") && self.kind == "Service",
            ServiceKind::ServiceEntry => self.group == "networking.istio.io" && self.kind == "ServiceEntry",
        };
        kind && self.name == service.name
    }
}

/// A listener, as far as `match` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// A sidecar's inbound one, with the port that the pod listens on.
    Inbound(u16),
    /// A sidecar's outbound one, with the port of the service.
    Outbound(u16),
    /// A gateway's, with its own port.
    Gateway(u16),
    /// A waypoint's chain for HTTP. It has no port: a plugin that asks for one never sees it.
    Waypoint,
}

impl Listener {
    /// Whether a plugin with that `match` sees the listener: one entry must hold, in direction and port.
    #[must_use]
    pub fn is_seen(self, traffic: &[TrafficSelector]) -> bool {
        traffic.is_empty() || traffic.iter().any(|selector| self.fits(selector))
    }

    fn fits(self, selector: &TrafficSelector) -> bool {
        let (mode, port) = match self {
            Self::Inbound(port) => (TrafficMode::Server, port),
            Self::Outbound(port) | Self::Gateway(port) => (TrafficMode::Client, port),
            Self::Waypoint => (TrafficMode::Server, 0),
        };
        let direction = selector.mode == TrafficMode::ClientAndServer || selector.mode == mode;
        direction && (selector.ports.is_empty() || selector.ports.iter().any(|wanted| wanted.number == port))
    }
}

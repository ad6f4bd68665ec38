//! What each proxy of a mesh has to do: its listeners with their chains, its clusters, its singletons.
//!
//! Names, chains and ports are those that istiod would hand out.

mod chain;
mod clusters;
mod identities;
mod listeners;
mod planner;
mod ports;
pub(super) mod proxy;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::description::{Role, Workload};
use super::files::Resources;
use planner::Planner;

pub(crate) use identities::Identities;
pub(crate) use planner::Upstreams;
pub(crate) use ports::Ports;
pub(crate) use proxy::{Cluster, Listener, Node, Proxy, Serves, Side, Tls};

/// Decides for every workload.
pub(crate) fn plan(
    resources: &Resources,
    identities: &Identities,
    ports: &Ports,
    upstream: &Upstreams,
) -> Result<Vec<Proxy>> {
    let mesh = &resources.mesh;
    let proxies = mesh.workloads.iter().map(|workload| {
        let planner = Planner { resources, mesh, workload, ports, upstream };
        planner.proxy(identities).with_context(|| format!("workload `{}`", workload.full_name()))
    });
    let proxies = proxies.collect::<Result<Vec<_>>>()?;
    let plugins = proxies.iter().flat_map(Proxy::plugins);
    for name in mesh.limits.idle(plugins.map(|plugin| plugin.name.as_str())) {
        // Who misspells a name believes that the plugin is limited.
        log::warn!("the mesh has `limits` for `{name}`, and no workload a plugin of that name");
    }
    Ok(proxies)
}

impl Planner<'_> {
    fn proxy(&self, identities: &Identities) -> Result<Proxy> {
        let workload = self.workload;
        let inbound = workload.ports.iter().map(|port| self.own_listener(port));
        let mut listeners = inbound.collect::<Result<Vec<_>>>()?;
        if workload.role == Role::Sidecar {
            for port in self.mesh.service_ports() {
                listeners.push(self.outbound(port)?);
            }
        }
        let identity = identities.of(&workload.spiffe(&self.mesh.trust_domain))?;
        let filters = self.envoy_filters();
        let singletons = filters.flat_map(|filter| {
            filter.singletons.iter().map(|config| self.limited(self.configured(config, "singleton", false)))
        });
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
}

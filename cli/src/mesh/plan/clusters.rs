//! Where one proxy sends what comes: its own application, the services of the mesh, and what is outside.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::planner::Planner;
use super::proxy::Cluster;
use crate::mesh::description::{Mtls, Protocol, Role, Service, Workload};

impl Planner<'_> {
    pub(super) fn clusters(&self) -> Result<Vec<Cluster>> {
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
}

/// What Istio calls the cluster of a service.
pub(super) fn outbound_cluster(service: &Service) -> String {
    format!("outbound|{}||{}", service.port, service.host())
}

fn service_metadata(service: &Service) -> Map<String, Value> {
    let Service { name, namespace, .. } = service;
    let services = json!({"services": [{"host": service.host(), "name": name, "namespace": namespace}]});
    Map::from_iter([("istio".to_owned(), services)])
}

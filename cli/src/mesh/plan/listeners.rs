//! The listeners of one proxy: one per port of its application, and one per port of the mesh's services.

use anyhow::Result;

use super::clusters::outbound_cluster;
use super::planner::Planner;
use super::proxy::{Listener, Serves, Side, Tls, VirtualHost};
use crate::mesh::description::{Mtls, Port, Protocol, Role, Service};

impl Planner<'_> {
    /// A port of a sidecar's application, or of a gateway.
    pub(super) fn own_listener(&self, port: &Port) -> Result<Listener> {
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
        Ok(Listener {
            name,
            address,
            stat_prefix,
            side,
            port: port.port,
            tls,
            path_normalization: self.mesh.path_normalization.normalization,
            serves,
            plugins,
        })
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
    pub(super) fn outbound(&self, port: u16) -> Result<Listener> {
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
        Ok(Listener {
            name,
            address,
            stat_prefix,
            side: Side::Outbound,
            port,
            tls: Tls::Plain,
            path_normalization: self.mesh.path_normalization.normalization,
            serves,
            plugins,
        })
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
}

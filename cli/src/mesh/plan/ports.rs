//! Which addresses the proxies of a mesh listen on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, anyhow};
use socket2::{Domain, Socket, Type};

use crate::mesh::description::{Mesh, Role, Workload};

/// Where everything listens: free ports are chosen once, so that proxies find each other and a reload changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// By workload, side and port.
    chosen: BTreeMap<(String, &'static str, u16), SocketAddr>,
    /// What keeps free ports from being given to somebody else before proxies listen there. It does not listen itself, which
    /// on Linux lets those pass that reuse addresses, as proxies do.
    #[cfg(target_os = "linux")]
    held: Vec<Socket>,
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
                wanted.extend(mesh.service_ports().into_iter().map(|port| ((name.clone(), "out", port), listen(port))));
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
                let (found, socket) = free(address).with_context(|| format!("no free port on `{}`", address.ip()))?;
                vacant.insert(found);
                held.push(socket);
            }
        }
        #[cfg(target_os = "linux")]
        self.held.append(&mut held);
        Ok(())
    }

    pub(super) fn of(&self, workload: &Workload, side: &'static str, port: u16) -> Result<SocketAddr> {
        let found = self.chosen.get(&(workload.full_name(), side, port)).copied();
        found.ok_or_else(|| anyhow!("no address was chosen for port `{port}` of `{}`", workload.full_name()))
    }
}

/// A free port, and what holds it.
fn free(address: SocketAddr) -> io::Result<(SocketAddr, Socket)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let found = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("it has no address"))?;
    Ok((found, socket))
}

//! The services that clusters are about, as their metadata says.

use std::rc::Rc;

use hashbrown::HashMap;
use istio_core::stats::facts::Service;
use wasmplugin::observer::Stream;

use crate::sheet::pairs;

/// Where a cluster's metadata has it.
const SERVICE: &str = "xds\0cluster_metadata\0filter_metadata\0istio\0services\x000";

/// Of how many clusters it is remembered.
const MOST_CLUSTERS: usize = 1_000;

/// What was read since the last tick: reading one costs nearly as much as all else of a request.
#[derive(Debug)]
pub(crate) struct Services {
    by_cluster: HashMap<Box<[u8]>, Rc<[u8]>>,
    none: Rc<[u8]>,
    /// There are ticks.
    remembers: bool,
}

impl Services {
    pub(crate) fn new(remembers: bool) -> Self {
        Self { by_cluster: HashMap::new(), none: Rc::from([]), remembers }
    }

    /// The service of the stream's cluster, as a map in the encoding of the ABI; empty if there is none.
    pub(crate) fn of(&mut self, cluster: &[u8], stream: Stream, scratch: &mut Vec<u8>) -> Rc<[u8]> {
        if cluster.is_empty() {
            return Rc::clone(&self.none);
        }
        if let Some(service) = self.by_cluster.get(cluster) {
            return Rc::clone(service);
        }
        stream.property_into(SERVICE, scratch);
        let service: Rc<[u8]> = scratch.as_slice().into();
        if self.remembers && self.by_cluster.len() < MOST_CLUSTERS {
            self.by_cluster.insert(cluster.into(), Rc::clone(&service));
        }
        service
    }

    /// Time has passed, in which clusters may have got other metadata.
    pub(crate) fn forget(&mut self) {
        self.by_cluster.clear();
    }
}

/// Reads such a map.
pub(crate) fn read(map: &[u8]) -> Service<'_> {
    let mut service = Service::default();
    for (name, value) in pairs(map) {
        let value = std::str::from_utf8(value).unwrap_or_default();
        match name {
            b"host" => service.host = value,
            b"name" => service.name = value,
            b"namespace" => service.namespace = value,
            _ => {}
        }
    }
    service
}

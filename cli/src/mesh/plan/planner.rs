//! What the plan of one proxy rests on; each part of the plan is a file beside this one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::ports::Ports;
use crate::mesh::description::{Mesh, Workload};
use crate::mesh::files::Resources;

/// Where the applications are, by workload and port.
pub(crate) type Upstreams = BTreeMap<(String, u16), SocketAddr>;

/// Decides for one workload.
pub(super) struct Planner<'a> {
    pub(super) resources: &'a Resources,
    pub(super) mesh: &'a Mesh,
    pub(super) workload: &'a Workload,
    pub(super) ports: &'a Ports,
    pub(super) upstream: &'a Upstreams,
}

//! The gateways, services and service entries that a policy names as its targets, in place of a selector.

use crate::finding::{At, Finding};
use crate::json::{Json, member, once, unknown};

/// The label by which istiod knows that a workload serves a gateway of the Gateway API.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A gateway, service or service entry that a policy is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetRef {
    /// Its API group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; that of the policy by default.
    pub namespace: String,
}

impl TargetRef {
    /// Reads one as Kubernetes has it.
    pub(crate) fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut group, mut kind, mut own_name, mut namespace) = (None, None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "group" => once(&mut group, json, at, string),
            "kind" => once(&mut kind, json, at, string),
            "name" => once(&mut own_name, json, at, string),
            "namespace" => once(&mut namespace, json, at, string),
            _ => unknown(at),
        })?;
        let needed = |value: Option<String>, name| value.ok_or_else(|| At::Field(&at, name).finding("must be given"));
        Ok(Self {
            group: group.unwrap_or_default(),
            kind: needed(kind, "kind")?,
            name: needed(own_name, "name")?,
            namespace: namespace.unwrap_or_default(),
        })
    }

    /// Whether a workload of this namespace, with these labels, serves the gateway that is named. A policy that names
    /// anything else is not for a workload, but for what a waypoint sends to it.
    pub(crate) fn is_served_by(&self, namespace: &str, labels: &[(String, String)]) -> bool {
        let here = self.namespace.is_empty() || self.namespace == namespace;
        here && self.group == "gateway.networking.k8s.io"
            && self.kind == "Gateway"
            && member(labels, GATEWAY_NAME) == Some(&self.name)
    }
}

fn string(json: &mut Json<'_>, at: At<'_>) -> Result<String, Finding> {
    json.text(at).map(String::from)
}

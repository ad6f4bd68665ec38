//! Istio's own filters and what stands in for them: modules that take Istio's policies and settings word for word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::description::{Mesh, Workload};
use super::files::Resources;
use super::plan::proxy::Side;

/// The name of the module for `RequestAuthentication`.
pub(crate) const JWT: &str = "istio.jwt";
/// The name of the module for `AuthorizationPolicy`.
pub(crate) const RBAC: &str = "istio.rbac";
/// The name of the module for `AuthorizationPolicy` with `action: CUSTOM`, which Istio puts first of all.
pub(crate) const EXTERNAL: &str = "istio.ext-authz";
/// The name of the module for the exchange of peer metadata.
pub(crate) const PEER_METADATA: &str = "istio.metadata-exchange";
/// The name of the module for Istio's metrics.
pub(crate) const STATS: &str = "istio.stats";

/// The configuration of `jwt` for a workload; nothing where no policy is for it.
pub(crate) fn jwt(resources: &Resources, workload: &Workload) -> Option<Value> {
    let policies = chosen(&resources.authentications, &resources.mesh, workload, |_| true);
    let clusters: BTreeMap<_, _> = resources.mesh.clusters.iter().filter_map(|cluster| host(&cluster.name)).collect();
    (!policies.is_empty()).then(|| {
        json!({
            "policies": policies,
            "jwksFetch": {"clusters": clusters},
            "workload": selected(workload),
            "rootNamespace": resources.mesh.root_namespace,
        })
    })
}

/// The host of a cluster that is named as Istio does, `outbound|<port>||<host>`, and the cluster's name.
fn host(cluster: &str) -> Option<(String, String)> {
    let mut parts = cluster.split('|');
    let (direction, port, subset, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (direction == "outbound" && subset.is_empty()).then(|| (format!("{host}:{port}"), cluster.to_owned()))
}

/// The configuration of `rbac` for a workload; nothing where no policy is for it. `custom` asks for the policies that ask
/// somebody else, otherwise for all the others. `protocol` is `http` or `tcp`.
pub(crate) fn rbac(resources: &Resources, workload: &Workload, custom: bool, protocol: &str) -> Option<Value> {
    let mesh = &resources.mesh;
    let is_custom = |policy: &Value| policy.pointer("/spec/action").and_then(Value::as_str) == Some("CUSTOM");
    let policies = chosen(&resources.authorizations, mesh, workload, |policy| is_custom(policy) == custom);
    (!policies.is_empty()).then(|| {
        json!({
            "policies": policies,
            "rootNamespace": mesh.root_namespace,
            "trustDomain": mesh.trust_domain,
            "providers": mesh.extension_providers,
            "sourceIp": "downstream",
            "protocol": protocol,
            "workload": selected(workload),
        })
    })
}

/// The configuration of `stats`: the mesh's, and as istiod has it the host that a client asks for is no name of a service
/// where clients are free to ask for anything.
pub(crate) fn stats(mesh: &Mesh, side: Side) -> Value {
    let mut telemetry = mesh.telemetry.clone();
    if !telemetry.contains_key("disableHostHeaderFallback") {
        telemetry.entry("disable_host_header_fallback").or_insert_with(|| (side != Side::Outbound).into());
    }
    Value::Object(telemetry)
}

fn selected(workload: &Workload) -> Value {
    json!({"namespace": workload.namespace, "labels": workload.labels})
}

/// The policies that may be for a workload; the modules look at their selectors once more.
fn chosen(policies: &[Value], mesh: &Mesh, workload: &Workload, also: impl Fn(&Value) -> bool) -> Vec<Value> {
    let fits = |policy: &&Value| {
        let namespace = policy.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let here = namespace == workload.namespace || namespace == mesh.root_namespace;
        let labels = policy.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        // A label that is no text is the module's to refuse: not to pass the policy on would be to allow.
        let holds = |(name, value): (&String, &Value)| {
            value.as_str().is_none_or(|value| workload.labels.get(name).is_some_and(|label| label == value))
        };
        let selected = labels.is_none_or(|labels| labels.iter().all(holds));
        here && selected && also(policy)
    };
    policies.iter().filter(fits).cloned().collect()
}

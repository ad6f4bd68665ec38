//! A peer in filter state: a `google.protobuf.Struct` with short keys, as Istio's native filters leave it for CEL.

use super::Peer;
use super::kind::WorkloadKind;
use super::structure::Struct;

impl Peer {
    /// What is left in filter state, where CEL finds `upstream_peer.workload` or `upstream_peer.labels['role']`.
    ///
    /// What is empty is left out. `name` is there whenever it is known; Envoy leaves it out together with `cluster`.
    #[must_use]
    pub fn to_state(&self) -> Vec<u8> {
        let mut fields = Struct::default();
        fields.insert_text("type", self.kind.map(WorkloadKind::name).unwrap_or_default());
        let texts = [
            ("workload", &self.workload),
            ("name", &self.name),
            ("cluster", &self.cluster),
            ("namespace", &self.namespace),
            ("service", &self.canonical_service),
            ("revision", &self.canonical_revision),
            ("app", &self.app),
            ("version", &self.version),
            ("identity", &self.identity),
            ("region", &self.region),
            ("availability_zone", &self.availability_zone),
        ];
        for (key, value) in texts {
            fields.insert_text(key, value);
        }
        if !self.labels.is_empty() {
            let labels: Struct = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            fields.insert("labels", labels);
        }
        fields.encode()
    }

    /// Reads what [`to_state`](Self::to_state), or a native filter, has left; `None` for anything else.
    #[must_use]
    pub fn from_state(state: &[u8]) -> Option<Self> {
        let fields = Struct::decode(state)?;
        let text = |key| fields.text(key).unwrap_or_default().to_owned();
        let labels = fields.fields("labels").into_iter().flat_map(Struct::texts);
        Some(Self {
            kind: fields.text("type").and_then(WorkloadKind::named),
            workload: text("workload"),
            name: text("name"),
            cluster: text("cluster"),
            namespace: text("namespace"),
            canonical_service: text("service"),
            canonical_revision: text("revision"),
            app: text("app"),
            version: text("version"),
            identity: text("identity"),
            region: text("region"),
            availability_zone: text("availability_zone"),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }
}

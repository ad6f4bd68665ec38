//! What a proxy's bootstrap says of the workload behind it, under the keys that Istio exchanges.

use std::collections::BTreeMap;

use super::structure::Struct;

/// The key of the labels.
pub(crate) const LABELS: &str = "LABELS";

/// Node metadata, as far as peers tell each other.
///
/// The keys are those of Envoy's native `peer_metadata` filter; those that only older proxies sent (`MESH_ID`,
/// `INSTANCE_IPS` and others) are passed over when read, and never written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `NAME`: of the pod.
    pub name: String,
    /// `NAMESPACE`.
    pub namespace: String,
    /// `WORKLOAD_NAME`: of the deployment, job or the like.
    pub workload_name: String,
    /// `CLUSTER_ID`.
    pub cluster_id: String,
    /// `OWNER`: such as `kubernetes://apis/apps/v1/namespaces/default/deployments/ratings-v1`.
    pub owner: String,
    /// `IDENTITY`: a SPIFFE URI.
    pub identity: String,
    /// `REGION`; a proxy takes its own from its locality.
    pub region: String,
    /// `AVAILABILITY_ZONE`; a proxy takes its own from its locality.
    pub availability_zone: String,
    /// `LABELS`: of the pod.
    pub labels: BTreeMap<String, String>,
}

impl Metadata {
    /// The keys whose values are texts, which is all but `LABELS`.
    pub const TEXTS: [&str; 8] =
        ["NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID", "OWNER", "IDENTITY", "REGION", "AVAILABILITY_ZONE"];

    /// Gives one of [`TEXTS`](Self::TEXTS) its value; other keys are passed over.
    pub fn set(&mut self, key: &str, value: &str) {
        if let Some(field) = self.field(key) {
            value.clone_into(field);
        }
    }

    /// Reads the struct; what is missing is empty.
    pub(crate) fn read(fields: &Struct) -> Self {
        let mut metadata = Self::default();
        for (key, value) in fields.texts() {
            metadata.set(key, value);
        }
        if let Some(labels) = fields.fields(LABELS) {
            metadata.labels = labels.texts().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        }
        metadata
    }

    /// The struct: `LABELS` always, of the others what is not empty.
    pub(crate) fn write(&self) -> Struct {
        let mut fields = Struct::default();
        let texts = [
            ("NAME", &self.name),
            ("NAMESPACE", &self.namespace),
            ("WORKLOAD_NAME", &self.workload_name),
            ("CLUSTER_ID", &self.cluster_id),
            ("OWNER", &self.owner),
            ("IDENTITY", &self.identity),
            ("REGION", &self.region),
            ("AVAILABILITY_ZONE", &self.availability_zone),
        ];
        for (key, value) in texts {
            fields.insert_text(key, value);
        }
        let labels: Struct = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.insert(LABELS, labels);
        fields
    }

    fn field(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "NAME" => &mut self.name,
            "NAMESPACE" => &mut self.namespace,
            "WORKLOAD_NAME" => &mut self.workload_name,
            "CLUSTER_ID" => &mut self.cluster_id,
            "OWNER" => &mut self.owner,
            "IDENTITY" => &mut self.identity,
            "REGION" => &mut self.region,
            "AVAILABILITY_ZONE" => &mut self.availability_zone,
            _ => return None,
        })
    }
}

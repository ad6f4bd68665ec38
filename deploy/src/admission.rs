//! Both validators together: whether an object gets into the cluster, and as what.

use crate::crd;
use crate::document::{Document, Kind};
use crate::finding::Finding;
use crate::istiod;
use crate::resource::{Extension, TrafficExtension, WasmPlugin};

/// What the cluster says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The API server.
    pub crd: crd::Verdict,
    /// istiod.
    pub istiod: istiod::Verdict,
}

/// An object that the cluster would not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(.0))]
pub struct Refused(pub Vec<Finding>);

/// Asks both validators.
#[must_use]
pub fn check(document: &Document, kind: Kind) -> Admission {
    Admission { crd: crd::check(document, kind), istiod: istiod::check(document, kind) }
}

impl Admission {
    /// Whether both admit it.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.crd.refused.is_empty() && self.istiod.refused.is_empty()
    }
}

impl Document {
    /// The plugin in a WasmPlugin or TrafficExtension that the cluster would admit; nothing if it is of another kind.
    pub fn extension(&self) -> Result<Option<Extension>, Refused> {
        let Some(kind @ (Kind::WasmPlugin | Kind::TrafficExtension)) = self.kind() else { return Ok(None) };
        let Admission { crd, istiod } = check(self, kind);
        let refused: Vec<_> = crd.refused.into_iter().chain(istiod.refused).collect();
        if !refused.is_empty() {
            return Err(Refused(refused));
        }
        self.typed(kind).map(Some).map_err(|error| Refused(vec![self.undecodable(&error)]))
    }

    fn typed(&self, kind: Kind) -> Result<Extension, serde_json::Error> {
        let json = self.root.to_json();
        Ok(match kind {
            Kind::TrafficExtension => serde_json::from_value::<TrafficExtension>(json)?.into(),
            _ => serde_json::from_value::<WasmPlugin>(json)?.into(),
        })
    }

    /// Both validators look at `spec` alone; `metadata` may still be of no use.
    fn undecodable(&self, error: &serde_json::Error) -> Finding {
        Finding {
            severity: crate::finding::Severity::Error,
            code: "metadata",
            path: "metadata".to_owned(),
            at: self.at(),
            message: format!("the object cannot be read: {error}"),
            help: String::new(),
        }
    }
}

fn sentence(findings: &[Finding]) -> String {
    let line = |finding: &Finding| format!("{} ({}): {}", finding.path, finding.at, finding.message);
    findings.iter().map(line).collect::<Vec<_>>().join("; ")
}

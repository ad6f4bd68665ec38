//! What the proxy says of itself: the workload behind it, and its version.

use istio_core::peer::{CANONICAL_NAME, CANONICAL_REVISION};
use istio_core::stats::facts::{Local, UNKNOWN};
use wasmplugin::attributes::{Map, NODE_METADATA};
use wasmplugin::metrics::StatsTag;
use wasmplugin::sys::{self, MetricKind};

/// Reads the workload from the proxy's bootstrap.
pub(crate) fn read() -> Local {
    let label = |name: &str| text(&["LABELS", name]);
    Local {
        workload: text(&["WORKLOAD_NAME"]),
        namespace: text(&["NAMESPACE"]),
        cluster: text(&["CLUSTER_ID"]),
        app: label("app"),
        version: label("version"),
        canonical_service: label(CANONICAL_NAME),
        canonical_revision: label(CANONICAL_REVISION),
    }
}

/// Sets the gauge `istio_build`, under the name that Istio's own bootstraps take apart.
pub(crate) fn tell_build() {
    let version = match text(&["ISTIO_VERSION"]).replace(';', "_") {
        version if version.is_empty() => UNKNOWN.to_owned(),
        version => version,
    };
    let name = format!("component.proxy.tag.{version};.istio_build");
    let told = sys::define_metric(MetricKind::Gauge, &name).and_then(|id| sys::record_metric(id, 1));
    if let Err(error) = told {
        log::debug!("`istio_build` is missing: {error}");
    }
}

/// What takes that name apart.
pub(crate) fn build_tags() -> [StatsTag; 2] {
    [
        StatsTag::new("component", r"^wasmcustom\.(component\.(.*?)\.)tag\."),
        StatsTag::new("tag", r"^wasmcustom\.component\.[^.]*\.(tag\.(.*?);\.)istio_build$"),
    ]
}

/// A field of the node's metadata; empty where there is none, or it is no text.
fn text(path: &[&str]) -> String {
    let Some((last, parents)) = path.split_last() else { return String::new() };
    let parent = parents.iter().fold(NODE_METADATA, |attribute, name| attribute.field::<Map>(name));
    parent.field::<String>(last).read().ok().flatten().unwrap_or_default()
}

//! The workload behind this proxy, as its bootstrap tells it.

use std::collections::BTreeSet;

use istio_core::peer::header::MAX_ID_BYTES;
use istio_core::peer::{Metadata, Peer};
use wasmplugin::attributes::{self, Attribute, Map, Value};

/// This proxy's id and workload. What cannot be read is left out, with a warning: a proxy whose metadata is odd still
/// has requests to serve.
pub(crate) fn read(additional_labels: &BTreeSet<String>) -> (String, Peer) {
    let mut metadata = Metadata::default();
    for key in Metadata::TEXTS {
        metadata.set(key, &text(attributes::NODE_METADATA.field(key)));
    }
    metadata.set("REGION", &text(attributes::NODE_REGION));
    metadata.set("AVAILABILITY_ZONE", &text(attributes::NODE_ZONE));
    let labels = attribute(attributes::NODE_METADATA.field::<Map>("LABELS"));
    for (name, value) in labels.iter().flat_map(Map::iter) {
        if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
            metadata.labels.insert(name.to_owned(), value.to_owned());
        }
    }
    let mut id = text(attributes::NODE_ID);
    if id.len() > MAX_ID_BYTES {
        log::warn!("the node's id has more than {MAX_ID_BYTES} bytes, so it is not told");
        id.clear();
    }
    (id, Peer::new(&metadata, additional_labels))
}

fn text(of: Attribute<String>) -> String {
    attribute(of).unwrap_or_default()
}

fn attribute<T: Value>(of: Attribute<T>) -> Option<T> {
    of.read().unwrap_or_else(|error| {
        log::warn!("`{of}` is not told to peers: {error}");
        None
    })
}

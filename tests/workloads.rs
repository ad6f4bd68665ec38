//! The two workloads of the specification of metadata exchange and stats: a client and its server.

use std::collections::BTreeSet;

use istio_core::peer::{Metadata, Peer};
use serde_json::{Value, json};
use wasmplugin_host::test::{Node, TcpEvent, TcpTurn, Tls};

/// `productpage-v1`.
pub(crate) fn client() -> Node {
    node(
        "client",
        json!({
            "NAME": "productpage-v1-84975bc778-pxz2w",
            "WORKLOAD_NAME": "productpage-v1",
            "NAMESPACE": "default",
            "CLUSTER_ID": "client-cluster",
            "LABELS": {
                "app": "productpage",
                "version": "v1",
                "service.istio.io/canonical-name": "productpage-v1",
                "service.istio.io/canonical-revision": "version-1",
                "pod-template-hash": "84975bc778",
            },
            "MESH_ID": "mesh",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1",
            "INSTANCE_IPS": "10.52.0.34,fe80::a075:11ff:fe5e:f1cd",
            "APP_CONTAINERS": "test,bonzai",
            "ISTIO_VERSION": "1.5-dev",
        }),
    )
}

/// `ratings-v1`.
pub(crate) fn server() -> Node {
    node(
        "server",
        json!({
            "NAME": "ratings-v1-84975bc778-pxz2w",
            "WORKLOAD_NAME": "ratings-v1",
            "NAMESPACE": "default",
            "CLUSTER_ID": "server-cluster",
            "LABELS": {
                "app": "ratings",
                "version": "v1",
                "service.istio.io/canonical-name": "ratings",
                "service.istio.io/canonical-revision": "version-1",
                "pod-template-hash": "84975bc778",
            },
            "MESH_ID": "proj-123",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/ratings-v1",
            "ISTIO_VERSION": "1.5-dev",
        }),
    )
}

fn node(id: &str, metadata: Value) -> Node {
    let Value::Object(metadata) = metadata else { return Node::default() };
    Node { id: id.to_owned(), cluster: id.to_owned(), metadata, ..Node::default() }
}

/// What others know of a workload.
pub(crate) fn peer(node: &Node) -> Peer {
    let mut metadata = Metadata::default();
    for key in Metadata::TEXTS {
        metadata.set(key, node.metadata.get(key).and_then(Value::as_str).unwrap_or_default());
    }
    for (name, value) in node.metadata["LABELS"].as_object().into_iter().flatten() {
        metadata.labels.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    Peer::new(&metadata, &BTreeSet::new())
}

/// A server that answers six bytes with twelve.
pub(crate) fn twelve_for_six(event: TcpEvent<'_>, turn: &mut TcpTurn) {
    match event {
        TcpEvent::Connected => {}
        TcpEvent::Data(bytes) => turn.send(bytes.repeat(2)),
        TcpEvent::Finished => turn.finish(),
    }
}

/// The URI in the client's certificate.
pub(crate) const CLIENT_URI: &str = "spiffe://cluster.local/ns/default/sa/client";

/// The URI in the server's.
pub(crate) const SERVER_URI: &str = "spiffe://cluster.local/ns/default/sa/server";

/// Mutual TLS, as seen by the one with the first name.
pub(crate) fn mutual(local: &str, peer: &str) -> Tls {
    Tls { mutual: true, local_uris: vec![local.to_owned()], peer_uris: vec![peer.to_owned()], ..Tls::default() }
}

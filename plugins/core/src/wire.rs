//! Names and encodings under which one module of ours leaves something for another on the same stream.

/// The property (and, outside of Wasm, the filter state `wasm.istio_jwt_claims`) that holds the claims of the token
/// that authenticated the request.
///
/// Its value is the text of one JSON object in UTF-8: the token's payload, with space-delimited claims split into
/// lists, as `jwt_authn` leaves it in its dynamic metadata. No property means: no token, hence no principal.
pub const JWT_CLAIMS: &str = "istio_jwt_claims";

/// The property (filter state `wasm.downstream_peer`) that holds who sent the request or opened the connection.
///
/// Its value is a `google.protobuf.Struct` with the short keys of Istio's native filters; [`Peer::from_state`] reads it,
/// and CEL does, since it is declared as one: `downstream_peer.workload`. No property means that the peer is not known.
///
/// [`Peer::from_state`]: crate::peer::Peer::from_state
pub const DOWNSTREAM_PEER: &str = "downstream_peer";

/// The property (filter state `wasm.upstream_peer`) that holds who got the request or the connection; as
/// [`DOWNSTREAM_PEER`].
pub const UPSTREAM_PEER: &str = "upstream_peer";

/// The property that holds the node id of the downstream peer as it was received, or [`PEER_UNKNOWN`].
pub const DOWNSTREAM_PEER_ID: &str = "downstream_peer_id";

/// The property that holds the node id of the upstream peer as it was received, or [`PEER_UNKNOWN`].
pub const UPSTREAM_PEER_ID: &str = "upstream_peer_id";

/// In place of an id: the peer has been looked for and will not come, so that nobody has to wait for it. Only
/// connections have it; a request's peer is known from its headers on, or never.
pub const PEER_UNKNOWN: &str = "envoy.wasm.metadata_exchange.peer_unknown";

/// What the peers are declared as.
pub const PEER_SCHEMA: &str = "type.googleapis.com/google.protobuf.Struct";

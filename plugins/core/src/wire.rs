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

/// The property that holds how many bytes of a client's connection are [prefaces](crate::peer::preface): those that were
/// taken out of what came and, behind a comma, those that were added to what went back. The proxy, which counts what it
/// reads from the client and writes to it, has them in its sizes. No property means none.
pub const PREFACE_BYTES: &str = "peer_preface_bytes";

/// What the peers are declared as.
pub const PEER_SCHEMA: &str = "type.googleapis.com/google.protobuf.Struct";

/// Reads two numbers with a comma between them, as [`PREFACE_BYTES`] has them, and Envoy's `grpc_stats`.
#[must_use]
pub fn read_two(text: &[u8]) -> Option<[u64; 2]> {
    let (one, other) = std::str::from_utf8(text).ok()?.split_once(',')?;
    Some([one.trim().parse().ok()?, other.trim().parse().ok()?])
}

/// Writes them.
#[must_use]
pub fn write_two([one, other]: [u64; 2]) -> String {
    format!("{one},{other}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_are_read_as_they_are_written() {
        for numbers in [[0, 0], [3, 13], [u64::MAX, 1]] {
            assert_eq!(read_two(write_two(numbers).as_bytes()), Some(numbers));
        }
        for other in ["", "3", "3,", "-1,2", "1,2,3", "1,18446744073709551616", "\u{fffd},1"] {
            assert_eq!(read_two(other.as_bytes()), None, "{other}");
        }
    }
}

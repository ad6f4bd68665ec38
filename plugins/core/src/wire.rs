//! Names and encodings under which one module of ours leaves something for another on the same stream.

/// The property (and, outside of Wasm, the filter state `wasm.istio_jwt_claims`) that holds the claims of the token
/// that authenticated the request.
///
/// Its value is the text of one JSON object in UTF-8: the token's payload, with space-delimited claims split into
/// lists, as `jwt_authn` leaves it in its dynamic metadata. No property means: no token, hence no principal.
pub const JWT_CLAIMS: &str = "istio_jwt_claims";

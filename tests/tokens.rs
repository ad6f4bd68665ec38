//! Tokens, and the key sets that verify them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

/// A token with these claims, signed with the secret of that key id.
pub(crate) fn token(kid: &str, claims: &Value) -> String {
    let header = json!({"alg": "HS256", "kid": kid});
    let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret(kid).as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", base64url(mac.finalize().into_bytes()))
}

/// The set of these keys.
pub(crate) fn keys(kids: &[&str]) -> String {
    let key = |kid: &&str| json!({"kty": "oct", "kid": kid, "k": base64url(secret(kid))});
    json!({"keys": kids.iter().map(key).collect::<Vec<_>>()}).to_string()
}

fn secret(kid: &str) -> String {
    format!("the secret of the key `{kid}`, which is long enough")
}

/// RFC 4648 §5, without padding.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |bytes: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, index| bits << 8 | u32::from(bytes.get(index).copied().unwrap_or(0)));
        let digit = move |index| char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]);
        (0..=bytes.len()).map(digit).collect::<String>()
    };
    bytes.as_ref().chunks(3).map(group).collect()
}

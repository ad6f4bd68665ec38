//! What the tests of several files need: tokens, keys, and a host that verifies.

use super::algorithm::Hash;
use super::base64::encode_standard;
use super::der;
use super::host::Host;
use super::verify::{Curve, EcKey, RsaKey};

/// Base64url without padding.
pub(crate) fn url(bytes: &[u8]) -> String {
    encode_standard(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// A well-formed token that nobody signed.
pub(crate) fn unsigned_token(payload: &str) -> String {
    format!("{}.{}.c2ln", url(br#"{"alg":"HS256"}"#), url(payload.as_bytes()))
}

/// The secret of [`hmac_token`].
pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

/// A key set with [`SECRET`].
pub(crate) fn hmac_keys() -> String {
    format!(r#"{{"keys":[{{"kty":"oct","kid":"k","k":"{}"}}]}}"#, url(SECRET))
}

/// A token that [`hmac_keys`] verify.
pub(crate) fn hmac_token(header: &str, payload: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let signed = format!("{}.{}", url(header.as_bytes()), url(payload.as_bytes()));
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap().chain_update(&signed);
    format!("{signed}.{}", url(&mac.finalize().into_bytes()))
}

/// A host that reads keys and signatures in DER and verifies them.
#[derive(Default)]
pub(crate) struct DerHost {
    pub(crate) asked: std::cell::Cell<usize>,
}

impl Host for DerHost {
    fn verify_signature(&self, public_key: &[u8], hash: Hash, signature: &[u8], text: &[u8]) -> Option<bool> {
        self.asked.set(self.asked.get() + 1);
        if let Some((modulus, exponent)) = der::rsa_key_of_public_key(public_key) {
            return Some(RsaKey::new(modulus, exponent)?.verify_pkcs1(hash, signature, text));
        }
        let (curve, width) = match public_key.len() {
            91 => (Curve::P256, 32),
            120 => (Curve::P384, 48),
            158 => (Curve::P521, 66),
            _ => return None,
        };
        let (x, y) = public_key.split_at_checked(public_key.len() - width)?;
        let key = EcKey::new(curve, &x[x.len() - width..], y)?;
        let raw = der::numbers_of_signature(signature).map(|numbers| {
            let widen = |number: &[u8]| [vec![0; width - number.len()], number.to_vec()].concat();
            numbers.map(widen).concat()
        });
        Some(raw.is_some_and(|raw| key.verify(hash, &raw, text)))
    }
}

//! Ed25519 (RFC 8032), strictly: a canonical `S`, and neither key nor `R` of small order.

use super::Verdict;

/// Verifies a signature; a key that is no point of the curve verifies nothing.
#[cfg(feature = "ed25519")]
pub(super) fn verify(key: &[u8; 32], signature: &[u8], text: &[u8]) -> Verdict {
    let Ok(signature) = <&[u8; 64]>::try_from(signature) else { return Verdict::WrongLength };
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    let key = ed25519_dalek::VerifyingKey::from_bytes(key);
    key.is_ok_and(|key| key.verify_strict(text, &signature).is_ok()).into()
}

/// Verifies nothing: this module was built without Ed25519.
#[cfg(not(feature = "ed25519"))]
pub(super) fn verify(_: &[u8; 32], signature: &[u8], _: &[u8]) -> Verdict {
    if signature.len() == 64 { Verdict::Bad } else { Verdict::WrongLength }
}

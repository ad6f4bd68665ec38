//! HMAC with SHA-2 (RFC 2104), compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, Sha512};

use super::Hash;

/// Whether the code is the text's; a key of any length is taken, a shortened code is not.
pub(super) fn verify(key: &[u8], hash: Hash, code: &[u8], text: &[u8]) -> bool {
    match hash {
        Hash::Sha256 => matches::<Hmac<Sha256>>(key, code, text),
        Hash::Sha384 => matches::<Hmac<Sha384>>(key, code, text),
        Hash::Sha512 => matches::<Hmac<Sha512>>(key, code, text),
    }
}

fn matches<M: Mac + KeyInit>(key: &[u8], code: &[u8], text: &[u8]) -> bool {
    let Ok(mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    mac.chain_update(text).verify_slice(code).is_ok()
}

//! The file that `cosign generate-key-pair` writes: a private key, encrypted with a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use serde::Deserialize;

use super::BadKey;

const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// Above this a file asks for more memory than a key is worth (cosign: 2^16, 64 MiB).
const MAX_LOG_N: u8 = 20;

#[derive(Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Whether a PEM file is such a key.
pub(super) fn is_one(pem: &str) -> bool {
    LABELS.iter().any(|label| pem.contains(&format!("-----BEGIN {label}-----")))
}

/// The key in PKCS#8.
pub(super) fn decrypt(pem: &str, password: &str) -> Result<Vec<u8>, BadKey> {
    const SHAPE: BadKey = BadKey::Encrypted("it is not of the shape that cosign writes");
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| SHAPE);
    let envelope: Envelope = serde_json::from_slice(&bytes(&body)?).map_err(|_| SHAPE)?;
    if envelope.kdf.name != "scrypt" || envelope.cipher.name != "nacl/secretbox" {
        return Err(BadKey::Encrypted("it is encrypted in a way that cosign does not use"));
    }
    let Params { n, r, p } = envelope.kdf.params;
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    if !n.is_power_of_two() || log_n > MAX_LOG_N || r > 8 || p > 1 {
        return Err(BadKey::Encrypted("it asks for more work than a key is worth"));
    }
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| SHAPE)?;
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), &bytes(&envelope.kdf.salt)?, &params, &mut key).map_err(|_| SHAPE)?;
    let nonce: [u8; 24] = bytes(&envelope.cipher.nonce)?.try_into().map_err(|_| SHAPE)?;
    XSalsa20Poly1305::new(&key.into())
        .decrypt(&nonce.into(), bytes(&envelope.ciphertext)?.as_slice())
        .map_err(|_| BadKey::Encrypted("the password is wrong"))
}

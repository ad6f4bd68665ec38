//! Whether a key verifies a signature: by the host where it can be trusted with it, else in the module.

mod ecdsa;
mod ed25519;
mod hmac;
mod rsa;

pub(crate) use self::ecdsa::{Curve, EcKey};
pub(crate) use self::rsa::RsaKey;

use super::algorithm::{Algorithm, Family, Hash};
use super::host::Host;
use super::known_answer::Trusted;

/// The part of a key that verifies.
#[derive(Debug)]
pub(crate) enum Material {
    Rsa(RsaKey),
    Ec(EcKey),
    Ed25519([u8; 32]),
    Hmac(Vec<u8>),
}

/// What became of one signature under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Bad,
    /// An Ed25519 signature that has not 64 bytes; Envoy has a text of its own for it.
    WrongLength,
}

impl From<bool> for Verdict {
    fn from(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

/// What verifies: the host, and how far it is trusted.
#[derive(Clone, Copy)]
pub(crate) struct Verifier<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) trusted: Trusted,
}

impl Verifier<'_> {
    /// Verifies a signature. The key's type must fit the algorithm: a key never serves another family, whatever the
    /// token's header says.
    pub(crate) fn verify(&self, key: &Material, algorithm: Algorithm, signature: &[u8], text: &[u8]) -> Verdict {
        let hash = algorithm.hash;
        match (key, algorithm.family) {
            (Material::Rsa(key), Family::RsaPkcs1) => {
                let asked =
                    self.trusted.rsa.then(|| self.host.verify_signature(key.public_key(), hash, signature, text));
                asked.flatten().unwrap_or_else(|| key.verify_pkcs1(hash, signature, text)).into()
            }
            (Material::Rsa(key), Family::RsaPss) => key.verify_pss(hash, signature, text).into(),
            (Material::Ec(key), Family::Ecdsa) => {
                let asked = self.trusts(key.curve()).then(|| {
                    let signature = key.der_signature(signature)?;
                    self.host.verify_signature(key.public_key(), hash, &signature, text)
                });
                asked.flatten().unwrap_or_else(|| key.verify(hash, signature, text)).into()
            }
            (Material::Ed25519(key), Family::EdDsa) => ed25519::verify(key, signature, text),
            (Material::Hmac(key), Family::Hmac) => hmac::verify(key, hash, signature, text).into(),
            _ => Verdict::Bad,
        }
    }
}

impl Verifier<'_> {
    fn trusts(&self, curve: Curve) -> bool {
        match curve {
            Curve::P256 => self.trusted.p256,
            Curve::P384 => self.trusted.p384,
            Curve::P521 => self.trusted.p521,
        }
    }
}

/// The digest of a text.
pub(crate) fn digest(hash: Hash, text: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    match hash {
        Hash::Sha256 => sha2::Sha256::digest(text).to_vec(),
        Hash::Sha384 => sha2::Sha384::digest(text).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(text).to_vec(),
    }
}

#[cfg(test)]
mod tests;

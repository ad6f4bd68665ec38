//! Whether a key verifies a signature: by the host where it can be trusted with it, else in the module.

mod ecdsa;
mod ed25519;
mod hmac;
mod rsa;

pub(crate) use self::ecdsa::{Curve, EcKey};
pub(crate) use self::rsa::RsaKey;

use super::algorithm::{Algorithm, Family, Hash};
use super::known_answer::Trusted;

/// The proxy's own cryptography, which is 10 to 20 times faster than a module's.
pub trait Host {
    /// Verifies an RSASSA-PKCS1-v1_5 or ECDSA signature as Envoy's foreign function `verify_signature` does.
    ///
    /// `public_key` is a SubjectPublicKeyInfo in DER; an ECDSA `signature` is in DER too. `None` when the host did not
    /// say, for whatever reason; the module then verifies by itself. It is only believed where
    /// [`Trusted::probe`] found it right.
    fn verify_signature(&self, public_key: &[u8], hash: Hash, signature: &[u8], text: &[u8]) -> Option<bool>;
}

/// No host: everything is verified in the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn verify_signature(&self, _: &[u8], _: Hash, _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

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
                let asked = self.trusted.curve(key.curve()).then(|| {
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

//! Keys on the curves of RFC 7518.

use anyhow::{Result, anyhow, bail};

use super::{Algorithm, base64, fill};

/// A key on one of three curves.
pub(super) enum Elliptic {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

/// Calls for the key of whichever curve: the crates have the same names and no trait that is shorter.
macro_rules! whichever {
    ($self:expr, $key:ident => $then:expr) => {
        match $self {
            Elliptic::P256($key) => $then,
            Elliptic::P384($key) => $then,
            Elliptic::P521($key) => $then,
        }
    };
}

impl Elliptic {
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self> {
        let (curve, bytes, top) = match algorithm {
            Algorithm::Es256 => ("P-256", 32, 0xff),
            Algorithm::Es384 => ("P-384", 48, 0xff),
            _ => ("P-521", 66, 0x01),
        };
        let mut secret = vec![0; bytes];
        loop {
            fill(&mut secret)?;
            if let Some(first) = secret.first_mut() {
                *first &= top;
            }
            // Hardly ever is a number too large for the curve.
            if let Ok(key) = Self::read(algorithm, curve, &secret) {
                return Ok(key);
            }
        }
    }

    pub(super) fn read(algorithm: Algorithm, curve: &str, secret: &[u8]) -> Result<Self> {
        const NONE: &str = "`d` is no private key of that curve";
        match (algorithm, curve) {
            (Algorithm::Es256, "P-256") => p256::ecdsa::SigningKey::from_slice(secret).map(Self::P256),
            (Algorithm::Es384, "P-384") => p384::ecdsa::SigningKey::from_slice(secret).map(Self::P384),
            (Algorithm::Es512, "P-521") => p521::ecdsa::SigningKey::from_slice(secret).map(Self::P521),
            _ => bail!("a key of `crv` `{curve}` does not sign with `{}`", algorithm.name()),
        }
        .map_err(|_| anyhow!(NONE))
    }

    pub(super) fn secret(&self) -> Vec<u8> {
        whichever!(self, key => key.to_bytes().to_vec())
    }

    pub(super) fn public(&self) -> Vec<(&'static str, String)> {
        let curve = match self {
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::P521(_) => "P-521",
        };
        // SEC 1: a byte that says "uncompressed", then both coordinates at their full width.
        let point = whichever!(self, key => key.verifying_key().to_sec1_point(false).as_bytes().to_vec());
        let numbers = point.get(1..).unwrap_or_default();
        let (x, y) = numbers.split_at_checked(numbers.len() / 2).unwrap_or_default();
        vec![("kty", "EC".to_owned()), ("crv", curve.to_owned()), ("x", base64(x)), ("y", base64(y))]
    }

    pub(super) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>> {
        use p256::ecdsa::signature::hazmat::PrehashSigner as _;
        match self {
            Self::P256(key) => key.sign_prehash(digest).map(|signature: p256::ecdsa::Signature| signature.to_vec()),
            Self::P384(key) => key.sign_prehash(digest).map(|signature: p384::ecdsa::Signature| signature.to_vec()),
            Self::P521(key) => key.sign_prehash(digest).map(|signature: p521::ecdsa::Signature| signature.to_vec()),
        }
        .map_err(|error| anyhow!("it cannot be signed: {error}"))
    }
}

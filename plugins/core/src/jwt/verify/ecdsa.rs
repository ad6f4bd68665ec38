//! ECDSA keys and signatures (FIPS 186-5) on the curves of RFC 7518.

use super::super::der::{self, oid};
use super::Hash;

/// A curve of RFC 7518.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Bytes of a coordinate.
    const fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    const fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => oid::P256,
            Self::P384 => oid::P384,
            Self::P521 => oid::P521,
        }
    }
}

/// A point of a curve.
#[derive(Debug)]
pub(crate) struct EcKey {
    curve: Curve,
    /// The uncompressed form of SEC 1.
    #[cfg_attr(
        not(any(feature = "p256", feature = "p384", feature = "p521")),
        expect(dead_code, reason = "a module without curves verifies by the host, which takes the other form")
    )]
    point: Vec<u8>,
    public_key: Vec<u8>,
}

impl EcKey {
    /// Takes big-endian coordinates; `None` if they are no point of the curve.
    ///
    /// A module that was built without the curve cannot tell; its host then refuses to verify.
    pub(crate) fn new(curve: Curve, x: &[u8], y: &[u8]) -> Option<Self> {
        let mut point = vec![4];
        point.extend(padded(x, curve.width())?);
        point.extend(padded(y, curve.width())?);
        let on_curve = match curve {
            #[cfg(feature = "p256")]
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).is_ok(),
            #[cfg(feature = "p384")]
            Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).is_ok(),
            #[cfg(feature = "p521")]
            Curve::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).is_ok(),
            #[cfg(not(all(feature = "p256", feature = "p384", feature = "p521")))]
            _ => true,
        };
        let public_key = der::ec_public_key(curve.oid(), &point);
        on_curve.then_some(Self { curve, point, public_key })
    }

    pub(crate) fn curve(&self) -> Curve {
        self.curve
    }

    /// The SubjectPublicKeyInfo in DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// A token's signature in the form that hosts take; `None` if it cannot be one of this curve.
    pub(crate) fn der_signature(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let (r, s) = halves(signature, self.curve.width())?;
        Some(der::ecdsa_signature(&r, &s))
    }

    /// Verifies a signature, of any digest: the token's `alg` names it, not the curve.
    pub(crate) fn verify(&self, hash: Hash, signature: &[u8], text: &[u8]) -> bool {
        let width = self.curve.width();
        let Some((r, s)) = halves(signature, width) else { return false };
        // A digest is a number; the curves' crate wants it as long as a coordinate if it is shorter.
        let digest = super::digest(hash, text);
        let prehash = padded(&digest, width).unwrap_or(digest);
        match self.curve {
            #[cfg(feature = "p256")]
            Curve::P256 => p256_verify(&self.point, &r, &s, &prehash),
            #[cfg(feature = "p384")]
            Curve::P384 => p384_verify(&self.point, &r, &s, &prehash),
            #[cfg(feature = "p521")]
            Curve::P521 => p521_verify(&self.point, &r, &s, &prehash),
            #[cfg(not(all(feature = "p256", feature = "p384", feature = "p521")))]
            _ => {
                let _ = (r, s, prehash);
                false
            }
        }
    }
}

/// One verifier per curve: the crates have the same names and no trait that is shorter.
macro_rules! verifier {
    ($feature:literal, $name:ident, $curve:ident) => {
        #[cfg(feature = $feature)]
        fn $name(point: &[u8], r: &[u8], s: &[u8], prehash: &[u8]) -> bool {
            use $curve::ecdsa::signature::hazmat::PrehashVerifier as _;
            let Ok(key) = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point) else { return false };
            let Ok(signature) = $curve::ecdsa::Signature::from_slice(&[r, s].concat()) else { return false };
            key.verify_prehash(prehash, &signature).is_ok()
        }
    };
}

verifier!("p256", p256_verify, p256);
verifier!("p384", p384_verify, p384);
verifier!("p521", p521_verify, p521);

/// The numbers `r` and `s`, which Envoy finds by cutting a signature in the middle, whatever its length.
fn halves(signature: &[u8], width: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let (r, s) = signature.split_at_checked(signature.len() / 2)?;
    Some((padded(r, width)?, padded(s, width)?))
}

/// A big-endian number of so many bytes; `None` if it is larger.
fn padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let number = der::trim_zeros(number);
    let mut out = vec![0; width.checked_sub(number.len())?];
    out.extend_from_slice(number);
    Some(out)
}

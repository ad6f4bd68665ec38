//! RSA keys and their two signature schemes (RFC 8017).

use std::ops::RangeInclusive;

use super::super::der;
use super::Hash;

/// Sizes of a modulus that are taken, in bits. Envoy takes 512 to 16384; below 1024 anybody can find the private key,
/// above 8192 one token costs a worker milliseconds.
const MODULUS_BITS: RangeInclusive<usize> = 1024..=8192;

/// An RSA key of a size that can be trusted, with an exponent of 3 or 65537.
#[derive(Debug)]
pub(crate) struct RsaKey {
    public_key: Vec<u8>,
    #[cfg(feature = "rsa")]
    key: Box<rsa::RsaPublicKey>,
}

impl RsaKey {
    /// Takes big-endian numbers; `None` if they are no key that is taken.
    pub(crate) fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (der::trim_zeros(modulus), der::trim_zeros(exponent));
        let top = modulus.first()?.leading_zeros() as usize;
        let bits = modulus.len().checked_mul(8)?.checked_sub(top)?;
        let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        if !MODULUS_BITS.contains(&bits) || !odd || !matches!(exponent, [3] | [1, 0, 1]) {
            return None;
        }
        Some(Self {
            public_key: der::rsa_public_key(modulus, exponent),
            #[cfg(feature = "rsa")]
            key: Box::new(in_module::key(modulus, exponent)?),
        })
    }

    /// The SubjectPublicKeyInfo in DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

#[cfg(feature = "rsa")]
mod in_module {
    //! Verification in the module.

    use rsa::{BoxedUint, Pkcs1v15Sign, Pss, RsaPublicKey};
    use sha2::{Sha256, Sha384, Sha512};

    use super::super::digest;
    use super::{Hash, RsaKey};

    pub(super) fn key(modulus: &[u8], exponent: &[u8]) -> Option<RsaPublicKey> {
        let number = BoxedUint::from_be_slice_vartime;
        RsaPublicKey::new(number(modulus), number(exponent)).ok()
    }

    impl RsaKey {
        /// Verifies RSASSA-PKCS1-v1_5: the one encoding that the digest has, compared as a whole.
        pub(crate) fn verify_pkcs1(&self, hash: Hash, signature: &[u8], text: &[u8]) -> bool {
            let scheme = match hash {
                Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
            };
            self.key.verify(scheme, &digest(hash, text), signature).is_ok()
        }

        /// Verifies RSASSA-PSS with a salt as long as the digest, which RFC 7518 demands.
        pub(crate) fn verify_pss(&self, hash: Hash, signature: &[u8], text: &[u8]) -> bool {
            let digest = digest(hash, text);
            let outcome = match hash {
                Hash::Sha256 => self.key.verify(Pss::<Sha256>::new(), &digest, signature),
                Hash::Sha384 => self.key.verify(Pss::<Sha384>::new(), &digest, signature),
                Hash::Sha512 => self.key.verify(Pss::<Sha512>::new(), &digest, signature),
            };
            outcome.is_ok()
        }
    }
}

/// A module that was built without RSA verifies nothing by itself.
#[cfg(not(feature = "rsa"))]
impl RsaKey {
    pub(crate) fn verify_pkcs1(&self, _: Hash, _: &[u8], _: &[u8]) -> bool {
        false
    }

    pub(crate) fn verify_pss(&self, _: Hash, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

//! RSA keys.

use anyhow::{Context, Result};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, RsaPrivateKey};
use sha2::{Sha256, Sha384, Sha512};

use super::{Hash, base64};

/// An RSA key.
pub(super) struct Rivest(RsaPrivateKey);

impl Rivest {
    pub(super) fn generate(bits: usize) -> Result<Self> {
        RsaPrivateKey::new(&mut UnwrapErr(SysRng), bits).map(Self).context("no RSA key can be made")
    }

    /// Reads the members of a JSON Web Key.
    pub(super) fn read(member: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let number = |name| Ok::<_, anyhow::Error>(BoxedUint::from_be_slice_vartime(&member(name)?));
        let primes = vec![number("p")?, number("q")?];
        RsaPrivateKey::from_components(number("n")?, number("e")?, number("d")?, primes)
            .map(Self)
            .context("its numbers make no RSA key")
    }

    pub(super) fn public(&self) -> Vec<(&'static str, String)> {
        vec![("kty", "RSA".to_owned()), ("n", base64(&self.0.n_bytes())), ("e", base64(&self.0.e_bytes()))]
    }

    pub(super) fn private(&self) -> Vec<(&'static str, String)> {
        let number = |number: &BoxedUint| base64(&number.to_be_bytes_trimmed_vartime());
        let primes = ["p", "q"].into_iter().zip(self.0.primes()).map(|(name, prime)| (name, number(prime)));
        primes.chain([("d", number(self.0.d()))]).collect()
    }

    pub(super) fn sign_pkcs1(&self, hash: Hash, digest: &[u8]) -> Result<Vec<u8>> {
        let scheme = match hash {
            Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        };
        self.0.sign_with_rng(&mut UnwrapErr(SysRng), scheme, digest).context("it cannot be signed")
    }

    /// Signs with a salt as long as the digest, as RFC 7518 demands; a small key has no room for a large one.
    pub(super) fn sign_pss(&self, hash: Hash, digest: &[u8]) -> Result<Vec<u8>> {
        let rng = &mut UnwrapErr(SysRng);
        match hash {
            Hash::Sha256 => self.0.sign_with_rng(rng, Pss::<Sha256>::new(), digest),
            Hash::Sha384 => self.0.sign_with_rng(rng, Pss::<Sha384>::new(), digest),
            Hash::Sha512 => self.0.sign_with_rng(rng, Pss::<Sha512>::new(), digest),
        }
        .context("it cannot be signed; a larger key may help")
    }
}

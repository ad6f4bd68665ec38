//! The proxy's own cryptography, as the shell hands it in.

use super::algorithm::Hash;

/// The proxy's own cryptography, which is 10 to 20 times faster than a module's.
pub trait Host {
    /// Verifies an RSASSA-PKCS1-v1_5 or ECDSA signature as Envoy's foreign function `verify_signature` does.
    ///
    /// `public_key` is a SubjectPublicKeyInfo in DER; an ECDSA `signature` is in DER too. `None` when the host did not
    /// say, for whatever reason; the module then verifies by itself. It is only believed where
    /// [`Trusted::probe`](super::Trusted::probe) found it right.
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

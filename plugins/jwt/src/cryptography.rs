//! The proxy's own cryptography, as far as it has any.

use istio_core::jwt::{self, Host};
use wasmplugin::signature::{Hash, Verifier};

/// What the proxy verifies signatures with; `None` where it cannot be trusted to.
#[derive(Debug)]
pub(crate) struct Cryptography {
    verifier: Option<Verifier>,
}

impl Cryptography {
    /// Asks the host what it can.
    pub(crate) fn of_the_host() -> Self {
        let verifier =
            Verifier::probe().inspect_err(|error| log::info!("signatures are verified in the module: {error}"));
        Self { verifier: verifier.ok() }
    }
}

impl Host for Cryptography {
    fn verify_signature(&self, public_key: &[u8], hash: jwt::Hash, signature: &[u8], text: &[u8]) -> Option<bool> {
        let hash = match hash {
            jwt::Hash::Sha256 => Hash::Sha256,
            jwt::Hash::Sha384 => Hash::Sha384,
            jwt::Hash::Sha512 => Hash::Sha512,
        };
        self.verifier?.verify(hash, public_key, text, signature).ok()
    }
}

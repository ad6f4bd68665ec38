//! Which signatures a host may verify: those of which it knows a right one from a wrong one at start-up.

use super::algorithm::Hash;
use super::host::Host;

/// For which keys the host's answers are believed; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trusted {
    /// RSA keys, RSASSA-PKCS1-v1_5.
    pub rsa: bool,
    /// Keys on P-256.
    pub p256: bool,
    /// Keys on P-384.
    pub p384: bool,
    /// Keys on P-521.
    pub p521: bool,
}

impl Trusted {
    /// Asks the host about signatures whose truth is known: for each kind of key and each digest a good one, and the
    /// same with a bit of the text, of the signature and of the digest's name changed. One wrong answer, or none, and
    /// that kind of key is verified in the module. To be called once, at start-up: it costs 48 verifications.
    pub fn probe(host: &dyn Host) -> Self {
        Self {
            rsa: answers(host, &RSA),
            p256: answers(host, &P256),
            p384: answers(host, &P384),
            p521: answers(host, &P521),
        }
    }
}

/// What was signed.
const TEXT: &[u8] = b"wasmplugin";

/// A key, and its signatures of [`TEXT`] with each digest.
struct Known {
    key: &'static [u8],
    signatures: [(Hash, &'static [u8]); 3],
}

macro_rules! known {
    ($name:literal) => {
        Known {
            key: include_bytes!(concat!("known_answer/", $name, ".key")),
            signatures: [
                (Hash::Sha256, include_bytes!(concat!("known_answer/", $name, ".sha256"))),
                (Hash::Sha384, include_bytes!(concat!("known_answer/", $name, ".sha384"))),
                (Hash::Sha512, include_bytes!(concat!("known_answer/", $name, ".sha512"))),
            ],
        }
    };
}

const RSA: Known = known!("rsa");
const P256: Known = known!("p256");
const P384: Known = known!("p384");
const P521: Known = known!("p521");

fn answers(host: &dyn Host, known: &Known) -> bool {
    known.signatures.iter().all(|(hash, signature)| {
        let other = if *hash == Hash::Sha256 { Hash::Sha512 } else { Hash::Sha256 };
        let mut changed = signature.to_vec();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        let says = |hash, signature: &[u8], text: &[u8]| host.verify_signature(known.key, hash, signature, text);
        says(*hash, signature, TEXT) == Some(true)
            && says(*hash, signature, b"wasmplugim") == Some(false)
            && says(*hash, &changed, TEXT) == Some(false)
            && says(other, signature, TEXT) == Some(false)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::DerHost;
    use super::super::host::NoHost;
    use super::*;

    /// A host that answers the same to everything.
    struct Always(Option<bool>);

    impl Host for Always {
        fn verify_signature(&self, _: &[u8], _: Hash, _: &[u8], _: &[u8]) -> Option<bool> {
            self.0
        }
    }

    #[test]
    fn a_host_that_verifies_is_trusted() {
        let all = Trusted { rsa: true, p256: true, p384: true, p521: true };
        assert_eq!(Trusted::probe(&DerHost::default()), all);
    }

    #[test]
    fn a_host_that_does_not_tell_right_from_wrong_is_not() {
        for host in [Always(Some(true)), Always(Some(false)), Always(None)] {
            assert_eq!(Trusted::probe(&host), Trusted::default());
        }
        assert_eq!(Trusted::probe(&NoHost), Trusted::default());
    }
}

//! Signatures that the host checks, ten to fifty times as fast as a module can.
//!
//! Envoy's `verify_signature` knows RSA with the padding of PKCS #1 v1.5 and ECDSA on P-256, P-384 and P-521. It does not
//! know RSA-PSS, Ed25519 and secp256k1. Whether a host has it, and answers right, is asked once, with a known signature
//! and a forged one: a [`Verifier`] is the proof.

use crate::error::{Error, Result};
use crate::foreign;

/// How a message was hashed before it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// A host that checks signatures, and has shown that it does it right.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Verifier {}

impl Verifier {
    /// Has the host check signatures whose answers are known; make one of these per plugin, when it is configured.
    ///
    /// An error says that the host lacks the function, or that it must not be trusted with it.
    pub fn probe() -> Result<Self> {
        let verifier = Self {};
        for known in [&KNOWN_RSA, &KNOWN_ECDSA] {
            let right = verifier.verify(Hash::Sha256, known.key, MESSAGE, known.signature)?;
            let forged = verifier.verify(Hash::Sha256, known.key, b"wasmplugon", known.signature)?;
            if !right || forged {
                return Err(Error::app("the host does not check signatures as it should"));
            }
        }
        Ok(verifier)
    }

    /// Whether this signature of this message was made with the key.
    ///
    /// `key` is a `SubjectPublicKeyInfo` in DER (RFC 5280). The signature of an RSA key is as long as its modulus; that
    /// of an elliptic curve is the DER form of RFC 3279, not the fixed-length form of JWS.
    /// A key or a signature that is not well-formed is as good as a wrong one. What goes wrong otherwise is an error,
    /// and no answer.
    pub fn verify(&self, hash: Hash, key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool> {
        if key.is_empty() {
            return Ok(false);
        }
        let name = hash.name().as_bytes();
        let mut argument = Vec::with_capacity(name.len() + key.len() + message.len() + signature.len() + 24);
        for (field, bytes) in [(1, name), (2, key), (3, signature), (4, message)] {
            append(field, bytes, &mut argument);
        }
        // The result is a message of its own: `result` is field 1, and left out when it is false.
        Ok(foreign::call("verify_signature", &argument)?.starts_with(&[0x08, 0x01]))
    }
}

/// Appends a field of bytes to a Protocol Buffers message.
fn append(field: u8, bytes: &[u8], message: &mut Vec<u8>) {
    message.push(field << 3 | 2);
    let mut len = bytes.len();
    while len > 0x7f {
        message.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend_from_slice(bytes);
}

/// What the known signatures sign.
const MESSAGE: &[u8] = b"wasmplugin";

struct Known {
    key: &'static [u8],
    signature: &'static [u8],
}

const KNOWN_RSA: Known =
    Known { key: include_bytes!("signature/rsa.der"), signature: include_bytes!("signature/rsa.sha256") };

const KNOWN_ECDSA: Known =
    Known { key: include_bytes!("signature/p256.der"), signature: include_bytes!("signature/p256.sha256") };

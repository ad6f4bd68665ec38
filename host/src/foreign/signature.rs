//! `verify_signature` and `sign`: RSA (PKCS #1 v1.5) and ECDSA, with the words that Envoy 1.40 answers.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey};
use prost::Message;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::Outcome;
use crate::abi::Status;

/// What `verify_signature` takes; exactly one of the two keys has to be there.
#[derive(Clone, PartialEq, Message)]
struct Verification {
    #[prost(string, tag = "1")]
    hash_function: String,
    /// A `SubjectPublicKeyInfo`, in DER.
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    #[prost(string, tag = "5")]
    public_key_pem: String,
}

#[derive(Clone, PartialEq, Message)]
struct Verified {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// What `sign` takes; exactly one of the two keys has to be there.
#[derive(Clone, PartialEq, Message)]
struct Signing {
    #[prost(string, tag = "1")]
    hash_function: String,
    /// A PKCS #8 key, in DER.
    #[prost(bytes = "vec", tag = "2")]
    private_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    text: Vec<u8>,
    #[prost(string, tag = "4")]
    private_key_pem: String,
}

#[derive(Clone, PartialEq, Message)]
struct Signed {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
    #[prost(string, tag = "3")]
    error: String,
}

pub(super) fn verify(argument: &[u8]) -> Outcome {
    let asked = Verification::decode(argument).map_err(|_| Status::BadArgument)?;
    if asked.public_key.is_empty() == asked.public_key_pem.is_empty() {
        return Err(Status::BadArgument);
    }
    let error = match (Hashed::of(&asked.hash_function, &asked.text), PublicKey::read(&asked)) {
        (None, _) => format!("{} is not supported.", asked.hash_function),
        (Some(_), None) => "Failed to initialize digest verify.".to_owned(),
        (Some(hashed), Some(key)) if key.verifies(&hashed, &asked.signature) => String::new(),
        (Some(_), Some(_)) => "Failed to verify digest. Error code: 0".to_owned(),
    };
    Ok(Verified { result: error.is_empty(), error }.encode_to_vec())
}

pub(super) fn sign(argument: &[u8]) -> Outcome {
    let asked = Signing::decode(argument).map_err(|_| Status::BadArgument)?;
    if asked.private_key.is_empty() == asked.private_key_pem.is_empty() {
        return Err(Status::BadArgument);
    }
    let signed = match (Hashed::of(&asked.hash_function, &asked.text), PrivateKey::read(&asked)) {
        (None, _) => Err(format!("{} is not supported.", asked.hash_function)),
        (Some(_), None) => Err("Invalid key type: private key required for signing operation.".to_owned()),
        (Some(hashed), Some(key)) => key.sign(&hashed).ok_or_else(|| "Failed to create signature.".to_owned()),
    };
    Ok(match signed {
        Ok(signature) => Signed { result: true, signature, error: String::new() },
        Err(error) => Signed { error, ..Signed::default() },
    }
    .encode_to_vec())
}

/// A text, hashed.
struct Hashed {
    digest: Vec<u8>,
    /// How PKCS #1 v1.5 wraps this hash.
    padding: Pkcs1v15Sign,
}

impl Hashed {
    /// `None` for a function that Envoy does not have either; case does not matter.
    fn of(function: &str, text: &[u8]) -> Option<Self> {
        fn hashed<D: Digest + sha1::digest::const_oid::AssociatedOid>(text: &[u8]) -> Hashed {
            Hashed { digest: D::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<D>() }
        }
        Some(match function.to_ascii_lowercase().as_str() {
            "sha1" => hashed::<Sha1>(text),
            "sha224" => hashed::<Sha224>(text),
            "sha256" => hashed::<Sha256>(text),
            "sha384" => hashed::<Sha384>(text),
            "sha512" => hashed::<Sha512>(text),
            _ => return None,
        })
    }
}

/// The key in these bytes, of the first kind that they are.
macro_rules! first_key {
    ($rsa:ident or $kind:ident, $read:ident($bytes:expr)) => {
        match $rsa::$read($bytes) {
            Ok(key) => Some(Self::Rsa(Box::new(key))),
            Err(_) => (p256::ecdsa::$kind::$read($bytes).map(Self::P256).ok())
                .or_else(|| p384::ecdsa::$kind::$read($bytes).map(Self::P384).ok())
                .or_else(|| p521::ecdsa::$kind::$read($bytes).map(Self::P521).ok()),
        }
    };
}

enum PublicKey {
    Rsa(Box<RsaPublicKey>),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

impl PublicKey {
    fn read(asked: &Verification) -> Option<Self> {
        match asked.public_key_pem.as_str() {
            "" => first_key!(RsaPublicKey or VerifyingKey, from_public_key_der(&asked.public_key)),
            pem => first_key!(RsaPublicKey or VerifyingKey, from_public_key_pem(pem)),
        }
    }

    fn verifies(&self, hashed: &Hashed, signature: &[u8]) -> bool {
        macro_rules! ecdsa {
            ($key:ident, $curve:ident) => {
                $curve::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| $key.verify_prehash(&hashed.digest, &signature).is_ok())
            };
        }
        match self {
            Self::Rsa(key) => key.verify(hashed.padding.clone(), &hashed.digest, signature).is_ok(),
            Self::P256(key) => ecdsa!(key, p256),
            Self::P384(key) => ecdsa!(key, p384),
            Self::P521(key) => ecdsa!(key, p521),
        }
    }
}

enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

impl PrivateKey {
    fn read(asked: &Signing) -> Option<Self> {
        match asked.private_key_pem.as_str() {
            "" => first_key!(RsaPrivateKey or SigningKey, from_pkcs8_der(&asked.private_key)),
            pem => first_key!(RsaPrivateKey or SigningKey, from_pkcs8_pem(pem)),
        }
    }

    fn sign(&self, hashed: &Hashed) -> Option<Vec<u8>> {
        macro_rules! ecdsa {
            ($key:ident, $curve:ident) => {{
                let signature: $curve::ecdsa::Signature = $key.sign_prehash(&hashed.digest).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }};
        }
        match self {
            Self::Rsa(key) => key.sign(hashed.padding.clone(), &hashed.digest).ok(),
            Self::P256(key) => ecdsa!(key, p256),
            Self::P384(key) => ecdsa!(key, p384),
            Self::P521(key) => ecdsa!(key, p521),
        }
    }
}

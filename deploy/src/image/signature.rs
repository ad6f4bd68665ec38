//! Signatures of images as cosign makes them with a key: a signed statement about the digest of a manifest, kept beside
//! the image under the tag `sha256-<digest>.sig`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use serde::Deserialize;
use serde_json::json;

use super::build::Image;
use super::digest::Digest;
use super::manifest::{Descriptor, Manifest, media_type};

mod cosign_key;

/// What a signature's layer is.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of a layer that holds its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

const STATEMENT: &str = "cosign container image signature";

/// The most that a statement may have.
pub const MAX_STATEMENT: u64 = 1 << 20;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// Not such a key.
    #[error(
        "it is no {0} of the curve P-256 in PEM, as `cosign generate-key-pair` or `openssl ecparam -name prime256v1` makes them"
    )]
    Unknown(&'static str),
    /// An encrypted key with another password.
    #[error("it cannot be decrypted: {0}; give its password in `COSIGN_PASSWORD`")]
    Encrypted(&'static str),
}

/// A key that signs.
pub struct PrivateKey(SigningKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// Reads a key in PEM: PKCS#8, SEC1, or cosign's own, which is encrypted with the password.
    ///
    /// # Errors
    ///
    /// If it is another kind of key, or the password is wrong.
    pub fn from_pem(pem: &str, password: &str) -> Result<Self, BadKey> {
        let unknown = || BadKey::Unknown("private key");
        let key = if cosign_key::is_one(pem) {
            SecretKey::from_pkcs8_der(&cosign_key::decrypt(pem, password)?).map_err(|_| unknown())?
        } else {
            SecretKey::from_pkcs8_pem(pem).or_else(|_| SecretKey::from_sec1_pem(pem)).map_err(|_| unknown())?
        };
        Ok(Self(key.into()))
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key in PEM, such as `cosign.pub`.
    ///
    /// # Errors
    ///
    /// If it is another kind of key.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        VerifyingKey::from_public_key_pem(pem).map(Self).map_err(|_| BadKey::Unknown("public key"))
    }
}

/// The tag under which the signatures of an image are.
#[must_use]
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The layer of the signature's image.
    pub layer: Descriptor,
    /// What was signed.
    pub statement: Bytes,
}

/// Signs the digest of an image that is known by `name`, its registry and repository.
#[must_use]
pub fn sign(name: &str, digest: &Digest, key: &PrivateKey) -> Signature {
    let statement: Bytes = json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest.to_string() },
            "type": STATEMENT,
        },
        "optional": null,
    })
    .to_string()
    .into();
    let signature: DerSignature = key.0.sign(&statement);
    let mut layer = Descriptor::of(SIMPLE_SIGNING, &statement);
    layer.annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(signature.as_bytes()));
    Signature { layer, statement }
}

/// The image that holds a signature, and those that were there before.
///
/// # Errors
///
/// If it cannot be written as JSON.
pub fn image(signature: &Signature, before: Option<&Manifest>) -> Result<Image, serde_json::Error> {
    let known = before.into_iter().flat_map(|manifest| &manifest.layers);
    let mut layers: Vec<Descriptor> =
        known.filter(|layer| layer.annotations != signature.layer.annotations).cloned().collect();
    layers.push(signature.layer.clone());
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = json!({
        "architecture": "",
        "config": {},
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config: Bytes = config.to_string().into();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        config: Descriptor::of(media_type::OCI_CONFIG, &config),
        layers,
        annotations: BTreeMap::new(),
    };
    Ok(Image {
        manifest: serde_json::to_vec(&manifest)?.into(),
        media_type: media_type::OCI_MANIFEST.to_owned(),
        // The statements of the earlier ones are there already.
        blobs: vec![(manifest.config, config), (signature.layer.clone(), signature.statement.clone())],
    })
}

/// Why a signature says nothing about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// No signature in it.
    #[error("it holds no signature that can be read")]
    Unreadable,
    /// Another key's, or another statement's.
    #[error("it was made with another key, or the statement was changed")]
    Invalid,
    /// About something else.
    #[error("it is about another image")]
    OtherImage,
}

/// Checks that the key has signed the digest.
///
/// # Errors
///
/// If it has not, as far as this signature tells.
pub fn verify(signature: &Signature, digest: &Digest, key: &PublicKey) -> Result<(), BadSignature> {
    let encoded = signature.layer.annotations.get(SIGNATURE).ok_or(BadSignature::Unreadable)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| BadSignature::Unreadable)?;
    let der = DerSignature::from_bytes(&bytes).map_err(|_| BadSignature::Unreadable)?;
    key.0.verify(&signature.statement, &der).map_err(|_| BadSignature::Invalid)?;
    // Only what was verified is read.
    let statement: Statement = serde_json::from_slice(&signature.statement).map_err(|_| BadSignature::Unreadable)?;
    let about = statement.critical.image.digest == digest.to_string() && statement.critical.kind == STATEMENT;
    if about { Ok(()) } else { Err(BadSignature::OtherImage) }
}

#[derive(Deserialize)]
struct Statement {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: About,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct About {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

//! A private key that signs tokens, and its two forms as JSON Web Key (RFC 7517, RFC 7518, RFC 8037).
//!
//! RustCrypto's crates make the signatures: they are in the workspace anyway and know all thirteen algorithms.

mod elliptic;
mod rivest;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use elliptic::Elliptic;
use rivest::Rivest;

/// An algorithm that Istio's request authentication knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    #[default]
    #[value(name = "ES256")]
    Es256,
    #[value(name = "ES384")]
    Es384,
    #[value(name = "ES512")]
    Es512,
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "RS384")]
    Rs384,
    #[value(name = "RS512")]
    Rs512,
    #[value(name = "PS256")]
    Ps256,
    #[value(name = "PS384")]
    Ps384,
    #[value(name = "PS512")]
    Ps512,
    #[value(name = "HS256")]
    Hs256,
    #[value(name = "HS384")]
    Hs384,
    #[value(name = "HS512")]
    Hs512,
}

/// What an algorithm signs: a digest of this size, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// Its name in `alg`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|algorithm| algorithm.name() == name)
    }

    fn hash(self) -> Hash {
        match self {
            Self::Es256 | Self::Rs256 | Self::Ps256 | Self::Hs256 => Hash::Sha256,
            Self::Es384 | Self::Rs384 | Self::Ps384 | Self::Hs384 => Hash::Sha384,
            Self::Es512 | Self::Rs512 | Self::Ps512 | Self::Hs512 | Self::EdDsa => Hash::Sha512,
        }
    }
}

impl Hash {
    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha384 => Sha384::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }
}

/// A private key.
pub(crate) struct Key {
    id: String,
    algorithm: Algorithm,
    secret: Secret,
}

enum Secret {
    Elliptic(Box<Elliptic>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Rsa(Box<Rivest>),
    Hmac(Vec<u8>),
}

impl Key {
    /// Draws a key by lot. `bits` is the size of an RSA modulus.
    pub(crate) fn generate(algorithm: Algorithm, id: Option<String>, bits: usize) -> Result<Self> {
        let id = match id {
            Some(id) => id,
            None => BASE64_URL_SAFE_NO_PAD.encode(random::<9>()?),
        };
        let secret = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
                Secret::Elliptic(Box::new(Elliptic::generate(algorithm)?))
            }
            Algorithm::EdDsa => Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&random()?))),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                let mut secret = vec![0; algorithm.hash().bytes()];
                fill(&mut secret)?;
                Secret::Hmac(secret)
            }
            _ => Secret::Rsa(Box::new(Rivest::generate(bits)?)),
        };
        Ok(Self { id, algorithm, secret })
    }

    /// Reads what [`private_jwk`](Self::private_jwk) wrote.
    pub(crate) fn read(text: &[u8]) -> Result<Self> {
        let jwk: Map<String, Value> = serde_json::from_slice(text).context("it is not a JSON object")?;
        let name = member(&jwk, "alg")?;
        let algorithm = Algorithm::from_name(name).ok_or_else(|| anyhow!("`alg`: `{name}` is not known"))?;
        let (kind, curve) = (member(&jwk, "kty")?, member(&jwk, "crv").unwrap_or_default());
        let secret = match (algorithm, kind) {
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512, "EC") => {
                Secret::Elliptic(Box::new(Elliptic::read(algorithm, curve, &bytes(&jwk, "d")?)?))
            }
            (Algorithm::EdDsa, "OKP") if curve == "Ed25519" => {
                let seed = <[u8; 32]>::try_from(bytes(&jwk, "d")?).map_err(|_| anyhow!("`d` has not 32 bytes"))?;
                Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed)))
            }
            (Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512, "oct") => Secret::Hmac(bytes(&jwk, "k")?),
            (_, "RSA") if name.starts_with("RS") || name.starts_with("PS") => {
                Secret::Rsa(Box::new(Rivest::read(|name| bytes(&jwk, name))?))
            }
            _ => bail!("a key of `kty` `{kind}` and `crv` `{curve}` does not sign with `{name}`"),
        };
        Ok(Self { id: member(&jwk, "kid").unwrap_or_default().to_owned(), algorithm, secret })
    }

    /// `kid`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// `alg`.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The half that verifies; of an HMAC key the only one.
    pub(crate) fn public_jwk(&self) -> Value {
        let own = match &self.secret {
            Secret::Elliptic(key) => key.public(),
            Secret::Ed25519(key) => {
                vec![
                    ("kty", "OKP".to_owned()),
                    ("crv", "Ed25519".to_owned()),
                    ("x", base64(key.verifying_key().as_bytes())),
                ]
            }
            Secret::Rsa(key) => key.public(),
            Secret::Hmac(secret) => vec![("kty", "oct".to_owned()), ("k", base64(secret))],
        };
        let named = [("alg", self.algorithm.name().to_owned()), ("kid", self.id.clone()), ("use", "sig".to_owned())];
        object(own.into_iter().chain(named))
    }

    /// The whole key, for its owner.
    pub(crate) fn private_jwk(&self) -> Value {
        let secret = match &self.secret {
            Secret::Elliptic(key) => vec![("d", base64(&key.secret()))],
            Secret::Ed25519(key) => vec![("d", base64(key.as_bytes()))],
            Secret::Rsa(key) => key.private(),
            Secret::Hmac(_) => Vec::new(),
        };
        let mut jwk = self.public_jwk();
        if let (Value::Object(jwk), Value::Object(secret)) = (&mut jwk, object(secret)) {
            jwk.extend(secret);
        }
        jwk
    }

    /// A token in the compact serialisation of RFC 7515.
    pub(crate) fn token(&self, header: &Map<String, Value>, claims: &Map<String, Value>) -> Result<String> {
        let section = |members: &Map<String, Value>| base64(json!(members).to_string().as_bytes());
        let signed = format!("{}.{}", section(header), section(claims));
        Ok(format!("{signed}.{}", base64(&self.sign(signed.as_bytes())?)))
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let hash = self.algorithm.hash();
        match &self.secret {
            Secret::Elliptic(key) => key.sign(&hash.digest(text)),
            Secret::Ed25519(key) => Ok(ed25519_dalek::Signer::sign(&**key, text).to_bytes().to_vec()),
            Secret::Rsa(key) if self.algorithm.name().starts_with("PS") => key.sign_pss(hash, &hash.digest(text)),
            Secret::Rsa(key) => key.sign_pkcs1(hash, &hash.digest(text)),
            Secret::Hmac(secret) => hmac(hash, secret, text),
        }
    }
}

fn hmac(hash: Hash, secret: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    const REFUSED: &str = "the secret is refused";
    Ok(match hash {
        Hash::Sha256 => {
            Hmac::<Sha256>::new_from_slice(secret).context(REFUSED)?.chain_update(text).finalize().into_bytes().to_vec()
        }
        Hash::Sha384 => {
            Hmac::<Sha384>::new_from_slice(secret).context(REFUSED)?.chain_update(text).finalize().into_bytes().to_vec()
        }
        Hash::Sha512 => {
            Hmac::<Sha512>::new_from_slice(secret).context(REFUSED)?.chain_update(text).finalize().into_bytes().to_vec()
        }
    })
}

fn object(members: impl IntoIterator<Item = (&'static str, String)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str> {
    jwk.get(name).and_then(Value::as_str).ok_or_else(|| anyhow!("it has no `{name}`"))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(member(jwk, name)?).map_err(|_| anyhow!("`{name}` is not base64url without padding"))
}

fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))
}

#[cfg(test)]
mod tests;

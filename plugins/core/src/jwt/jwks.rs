//! Key sets: RFC 7517, and the map from key id to certificate that Google hands out; read as Envoy reads them.

use std::fmt;

use super::base64;
use super::der;
use super::json::{Json, Object};
use super::verify::{Curve, EcKey, Material, RsaKey};

/// Sets with more usable keys are refused: a token without a key id has all of them tried.
const MAX_KEYS: usize = 1024;
const TOO_MANY: KeySetError = KeySetError("Jwks has more than 1024 keys");

/// A set with at least one usable key.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

/// One usable key.
#[derive(Debug)]
pub(crate) struct Key {
    /// `kid`; empty when absent.
    id: String,
    /// `alg`; empty when absent.
    algorithm: String,
    pub(crate) material: Material,
}

impl KeySet {
    /// Reads a set. Unusable keys among usable ones are skipped; without a usable one, the first reason is told.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let Some(set) = Json::parse(text) else { return Err(KeySetError("Jwks is an invalid JSON")) };
        let members = match set {
            Json::Object(members) => members,
            Json::Null => Object::new(),
            _ => return Err(KeySetError("Jwks is an invalid JSON")),
        };
        match members.get("keys") {
            None => certificates(&members),
            Some(Json::List(list)) => Self::from_list(list),
            Some(_) => Err(KeySetError("[keys] in Jwks is not an array")),
        }
    }

    fn from_list(list: &[Json]) -> Result<Self, KeySetError> {
        let mut keys = Vec::new();
        let mut first_error = None;
        for key in list {
            let Json::Object(members) = key else { continue };
            match Key::parse(members) {
                Ok(_) if keys.len() == MAX_KEYS => return Err(TOO_MANY),
                Ok(key) => keys.push(key),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        if keys.is_empty() {
            return Err(first_error.unwrap_or(KeySetError("Jwks doesn't have any valid public key")));
        }
        Ok(Self { keys })
    }

    /// The keys that may verify a token: `kid` and `alg` are equal where both sides name one.
    pub(crate) fn fitting<'a>(&'a self, key_id: &'a str, algorithm: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| {
            (key_id.is_empty() || key.id.is_empty() || key.id == key_id)
                && (key.algorithm.is_empty() || key.algorithm == algorithm)
        })
    }

    /// Whether a key of this id may be in the set; if not, the issuer may have a newer set.
    pub(crate) fn knows(&self, key_id: &str) -> bool {
        key_id.is_empty() || self.keys.iter().any(|key| key.id.is_empty() || key.id == key_id)
    }
}

/// Why a set is unusable, in Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeySetError(&'static str);

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for KeySetError {}

impl Key {
    fn parse(members: &Object) -> Result<Self, KeySetError> {
        let missing = KeySetError("[kty] is missing in [keys]");
        let kind = text(members, "kty", missing, KeySetError("[kty] is bad in [keys]"))?;
        let algorithm = optional(members, "alg");
        let material = match kind {
            "RSA" => rsa(members, algorithm),
            "EC" => ec(members, algorithm),
            "OKP" => okp(members, algorithm),
            "oct" => oct(members, algorithm),
            _ => Err(KeySetError("[kty] is not supported in [keys]")),
        }?;
        Ok(Self { id: optional(members, "kid").to_owned(), algorithm: algorithm.to_owned(), material })
    }
}

fn rsa(members: &Object, algorithm: &str) -> Result<Material, KeySetError> {
    const PARSE: KeySetError = KeySetError("Jwks RSA [n] or [e] field is missing or has a parse error");
    if !algorithm.is_empty() && !algorithm.starts_with("RS") && !algorithm.starts_with("PS") {
        return Err(KeySetError("[alg] is not started with [RS] or [PS] for an RSA key"));
    }
    let n = text(
        members,
        "n",
        KeySetError("[n] field is missing for a RSA key"),
        KeySetError("[n] field is not string for a RSA key"),
    )?;
    let e = text(
        members,
        "e",
        KeySetError("[e] field is missing for a RSA key"),
        KeySetError("[e] field is not string for a RSA key"),
    )?;
    RsaKey::new(&decoded(n, PARSE)?, &decoded(e, PARSE)?).map(Material::Rsa).ok_or(PARSE)
}

fn ec(members: &Object, algorithm: &str) -> Result<Material, KeySetError> {
    const BASE64: KeySetError = KeySetError("Jwks EC [x] or [y] field is an invalid Base64.");
    if !algorithm.is_empty() && !algorithm.starts_with("ES") {
        return Err(KeySetError("[alg] is not started with [ES] for an EC key"));
    }
    let name = match members.get("crv") {
        None => "",
        Some(Json::String(name)) => name,
        Some(_) => return Err(KeySetError("[crv] field is not string for an EC key")),
    };
    let curve = curve(name, algorithm)?;
    let x = text(
        members,
        "x",
        KeySetError("[x] field is missing for an EC key"),
        KeySetError("[x] field is not string for an EC key"),
    )?;
    let y = text(
        members,
        "y",
        KeySetError("[y] field is missing for an EC key"),
        KeySetError("[y] field is not string for an EC key"),
    )?;
    let key = EcKey::new(curve, &decoded(x, BASE64)?, &decoded(y, BASE64)?);
    key.map(Material::Ec).ok_or(KeySetError("Jwks EC [x] and [y] fields have a parse error."))
}

/// The curve that `crv` and `alg` agree on; neither means P-256.
fn curve(name: &str, algorithm: &str) -> Result<Curve, KeySetError> {
    const UNSUPPORTED: KeySetError = KeySetError("[crv] or [alg] field is not supported for an EC key");
    const INCOMPATIBLE: KeySetError = KeySetError("[crv] field specified is not compatible with [alg] for an EC key");
    let named = match name {
        "" => None,
        "P-256" => Some(Curve::P256),
        "P-384" => Some(Curve::P384),
        "P-521" => Some(Curve::P521),
        _ if algorithm.is_empty() => return Err(UNSUPPORTED),
        _ => return Err(INCOMPATIBLE),
    };
    let implied = match algorithm {
        "" => return Ok(named.unwrap_or(Curve::P256)),
        "ES256" => Curve::P256,
        "ES384" => Curve::P384,
        "ES512" => Curve::P521,
        _ => return Err(if named.is_some() { INCOMPATIBLE } else { UNSUPPORTED }),
    };
    match named {
        Some(named) if named != implied => Err(INCOMPATIBLE),
        _ => Ok(implied),
    }
}

fn okp(members: &Object, algorithm: &str) -> Result<Material, KeySetError> {
    if !algorithm.is_empty() && algorithm != "EdDSA" {
        return Err(KeySetError("[alg] is not [EdDSA] for an OKP key"));
    }
    let curve = text(
        members,
        "crv",
        KeySetError("[crv] field is missing for an OKP key"),
        KeySetError("[crv] field is not string for an OKP key"),
    )?;
    if curve != "Ed25519" {
        return Err(KeySetError("[crv] field is not supported for an OKP key"));
    }
    let x = text(
        members,
        "x",
        KeySetError("[x] field is missing for an OKP key"),
        KeySetError("[x] field is not string for an OKP key"),
    )?;
    let x = decoded(x, KeySetError("Jwks OKP [x] field is an invalid Base64."))?;
    let x = <[u8; 32]>::try_from(x).map_err(|_| KeySetError("Jwks OKP [x] field is wrong length."))?;
    Ok(Material::Ed25519(x))
}

fn oct(members: &Object, algorithm: &str) -> Result<Material, KeySetError> {
    const BASE64: KeySetError = KeySetError("Jwks Oct key is an invalid Base64");
    if !matches!(algorithm, "" | "HS256" | "HS384" | "HS512") {
        return Err(KeySetError("[alg] does not start with [HS] for an HMAC key"));
    }
    let k = text(
        members,
        "k",
        KeySetError("[k] field is missing for an HMAC key"),
        KeySetError("[k] field is not string for an HMAC key"),
    )?;
    let k = decoded(k, BASE64)?;
    if k.is_empty() { Err(BASE64) } else { Ok(Material::Hmac(k)) }
}

/// A map from key id to certificate: all of it or nothing, RSA only, each for any `RS*` or `PS*`.
fn certificates(members: &Object) -> Result<KeySet, KeySetError> {
    const NO_KEYS: KeySetError = KeySetError("Jwks does not have [keys] field");
    let mut bodies = Vec::new();
    for (id, certificate) in members {
        let text = certificate.as_str().ok_or(NO_KEYS)?;
        let rest = text.strip_prefix("-----BEGIN CERTIFICATE-----\n").ok_or(NO_KEYS)?;
        rest.strip_suffix("\n-----END CERTIFICATE-----\n").ok_or(NO_KEYS)?;
        // Of several certificates in one text, the first counts.
        let (body, _) = rest.split_once("-----END").ok_or(NO_KEYS)?;
        bodies.push((id, body));
    }
    if bodies.is_empty() {
        return Err(NO_KEYS);
    }
    if bodies.len() > MAX_KEYS {
        return Err(TOO_MANY);
    }
    let keys = bodies.into_iter().map(|(id, body)| {
        let certificate = base64::decode_pem(body).ok_or(KeySetError("X509 parse pubkey fails"))?;
        let key = der::rsa_key_of_certificate(&certificate).and_then(|(n, e)| RsaKey::new(n, e));
        let key = key.ok_or(KeySetError("X509 parse pubkey internal fails: get pubkey"))?;
        Ok(Key { id: id.clone(), algorithm: String::new(), material: Material::Rsa(key) })
    });
    Ok(KeySet { keys: keys.collect::<Result<_, _>>()? })
}

fn text<'a>(members: &'a Object, name: &str, missing: KeySetError, bad: KeySetError) -> Result<&'a str, KeySetError> {
    members.get(name).ok_or(missing)?.as_str().ok_or(bad)
}

/// A string, or nothing: Envoy reads a `kid` or `alg` of another type as absent.
fn optional<'a>(members: &'a Object, name: &str) -> &'a str {
    members.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// The bytes of a member of a key. Sets come from whom we trust, so white space and padding do no harm here.
fn decoded(text: &str, failure: KeySetError) -> Result<Vec<u8>, KeySetError> {
    base64::decode_url(text.as_bytes()).map(|decoded| decoded.bytes).ok_or(failure)
}

#[cfg(test)]
mod tests;

//! The signature algorithms of RFC 7518 and RFC 8037 that Envoy knows.

/// A family of algorithms, which is what a key's type decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// RSASSA-PKCS1-v1_5: `RS256`, `RS384`, `RS512`.
    RsaPkcs1,
    /// RSASSA-PSS: `PS256`, `PS384`, `PS512`.
    RsaPss,
    /// ECDSA: `ES256`, `ES384`, `ES512`.
    Ecdsa,
    /// Ed25519: `EdDSA`.
    EdDsa,
    /// HMAC: `HS256`, `HS384`, `HS512`.
    Hmac,
}

/// A digest of the SHA-2 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The name that Envoy's `verify_signature` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// A signature algorithm: the `alg` of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithm {
    /// What kind of key it takes.
    pub(crate) family: Family,
    /// What is signed; without a meaning for `EdDSA`, which has no choice.
    pub(crate) hash: Hash,
}

impl Algorithm {
    /// Reads an `alg`, whose case counts; `none` and everything unknown is `None`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self { family: Family::EdDsa, hash: Hash::Sha512 });
        }
        let (family, hash) = name.split_at_checked(2)?;
        let family = match family {
            "RS" => Family::RsaPkcs1,
            "PS" => Family::RsaPss,
            "ES" => Family::Ecdsa,
            "HS" => Family::Hmac,
            _ => return None,
        };
        let hash = match hash {
            "256" => Hash::Sha256,
            "384" => Hash::Sha384,
            "512" => Hash::Sha512,
            _ => return None,
        };
        Some(Self { family, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirteen_names_are_known_and_their_neighbours_are_not() {
        let known = ["RS", "PS", "ES", "HS"].iter().flat_map(|f| ["256", "384", "512"].map(|h| format!("{f}{h}")));
        assert!(known.chain(["EdDSA".to_owned()]).all(|name| Algorithm::from_name(&name).is_some()));
        for name in ["", "none", "None", "rs256", "RS", "RS1", "RS2566", "ES256K", "EDDSA", "Ed25519", "HS256 ", "é256"]
        {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }
}

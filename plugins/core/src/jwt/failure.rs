//! Why a token is refused, in Envoy's words.

/// A way of writing that Envoy accepts and the standards do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Irregular;

/// Why a token is refused; each has exactly the text that Envoy's `jwt_authn` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Not three sections; or larger than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES).
    Form,
    /// The header section is not base64url.
    HeaderBase64,
    /// The header is not a JSON object.
    HeaderJson,
    /// `alg` is absent, or not a string.
    HeaderAlg,
    /// `alg` is none that Envoy knows; `none` is one of these.
    AlgUnsupported,
    /// `kid` is not a string.
    HeaderKid,
    /// The payload section is not base64url.
    PayloadBase64,
    /// The payload is not a JSON object.
    PayloadJson,
    /// `iss` is not a string.
    Iss,
    /// `sub` is not a string.
    Sub,
    /// `iat` is not a number.
    Iat,
    /// `iat` is negative, or 2^64 or more.
    IatRange,
    /// `nbf` is not a number.
    Nbf,
    /// `nbf` is negative, or 2^64 or more.
    NbfRange,
    /// `exp` is not a number.
    Exp,
    /// `exp` is negative, or 2^64 or more.
    ExpRange,
    /// `jti` is not a string.
    Jti,
    /// `aud` is neither a string nor a list of strings.
    Aud,
    /// The signature section is not base64url.
    SignatureBase64,
    /// The rule names another issuer.
    UnknownIssuer,
    /// `nbf` lies more than the clock skew ahead.
    NotYetValid,
    /// `exp` lies more than the clock skew behind.
    Expired,
    /// `aud` names none of the rule's audiences; the only refusal with status 403.
    Audience,
    /// The keys could not be fetched.
    KeysFetch,
    /// No key has a fitting `kid` and `alg`.
    NoKey,
    /// No fitting key verifies the signature.
    Signature,
    /// As `Signature`, where an Ed25519 key was among them and the signature has not 64 bytes.
    Ed25519Length,
}

impl Failure {
    /// The body of the answer.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Form => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            Self::HeaderBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::HeaderAlg => "Jwt header [alg] field is required and must be a string",
            Self::AlgUnsupported => "Jwt header [alg] is not supported",
            Self::HeaderKid => "Jwt header [kid] field is not a string",
            Self::PayloadBase64 => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::Iss => "Jwt payload [iss] field is not a string",
            Self::Sub => "Jwt payload [sub] field is not a string",
            Self::Iat => "Jwt payload [iat] field is not an integer",
            Self::IatRange => "Jwt payload [iat] field is not a positive 64 bit integer",
            Self::Nbf => "Jwt payload [nbf] field is not an integer",
            Self::NbfRange => "Jwt payload [nbf] field is not a positive 64 bit integer",
            Self::Exp => "Jwt payload [exp] field is not an integer",
            Self::ExpRange => "Jwt payload [exp] field is not a positive 64 bit integer",
            Self::Jti => "Jwt payload [jti] field is not a string",
            Self::Aud => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBase64 => "Jwt signature is an invalid Base64url encoded",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::KeysFetch => "Jwks remote fetch is failed",
            Self::NoKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::Signature => "Jwt verification fails",
            Self::Ed25519Length => "Jwt ED25519 signature is wrong length",
        }
    }
}

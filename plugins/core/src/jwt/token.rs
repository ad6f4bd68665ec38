//! A token: the compact serialisation of RFC 7515, taken apart and checked for form, not yet for truth.

use super::algorithm::Algorithm;
use super::base64::{self, Decoded};
use super::claims::Claims;
use super::failure::{Failure, Irregular};
use super::json::{self, Json};

/// Larger tokens are refused as malformed, so that no peer decides how much memory is used; in bytes.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// A well-formed token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) algorithm: Algorithm,
    /// `alg` as written, which a key's `alg` must equal.
    pub(crate) algorithm_name: String,
    /// `kid`; empty when absent.
    pub(crate) key_id: String,
    pub(crate) claims: Claims,
    /// The payload section as it was sent.
    pub(crate) payload_section: String,
    /// The text under the signature: header section, dot, payload section.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// What a strict reader says against the way it was written, though Envoy would take it. Such a token is checked
    /// to the end all the same, so that the answer names what Envoy names, and refused at the end.
    pub(crate) irregular: Option<Failure>,
}

impl Token {
    /// Takes a token apart; checks in Envoy's order. `typ`, `crit`, `jwk`, `jku` and `x5u` have no effect: keys only
    /// ever come from the configuration.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Failure> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Failure::Form);
        }
        let mut sections = text.split(|byte| *byte == b'.').filter(|section| !section.is_empty());
        let (Some(header), Some(payload), Some(signature), None) =
            (sections.next(), sections.next(), sections.next(), sections.next())
        else {
            return Err(Failure::Form);
        };
        // Envoy drops empty sections, so that `a..b.c` is a token to it.
        let mut irregular = (header.len() + payload.len() + signature.len() + 2 != text.len()).then_some(Failure::Form);
        let mut section = |section: &[u8], failure: Failure| {
            let Decoded { bytes, irregular: way } = base64::decode_url(section).ok_or(failure)?;
            if let (Some(Irregular), None) = (way, irregular) {
                irregular = Some(failure);
            }
            Ok(bytes)
        };
        let Header { algorithm, algorithm_name, key_id } = Header::parse(&section(header, Failure::HeaderBase64)?)?;
        let claims = Claims::parse(&section(payload, Failure::PayloadBase64)?)?;
        let signature = section(signature, Failure::SignatureBase64)?;
        let payload_section = str::from_utf8(payload).map_err(|_| Failure::PayloadBase64)?.to_owned();
        let signed = [header, payload].join(&b'.');
        Ok(Self { algorithm, algorithm_name, key_id, claims, payload_section, signed, signature, irregular })
    }
}

/// What counts of a token's header.
struct Header {
    algorithm: Algorithm,
    algorithm_name: String,
    key_id: String,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let mut members = json::parse_object(text).ok_or(Failure::HeaderJson)?;
        let Some(Json::String(algorithm_name)) = members.remove("alg") else {
            return Err(Failure::HeaderAlg);
        };
        let algorithm = Algorithm::from_name(&algorithm_name).ok_or(Failure::AlgUnsupported)?;
        let key_id = match members.remove("kid") {
            None => String::new(),
            Some(Json::String(key_id)) => key_id,
            Some(_) => return Err(Failure::HeaderKid),
        };
        Ok(Self { algorithm, algorithm_name, key_id })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::url;
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", url(header.as_bytes()), url(payload.as_bytes()))
    }

    fn failure(text: &str) -> Option<Failure> {
        Token::parse(text.as_bytes()).err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"typ":1,"alg":"ES256","kid":"k","crit":["x"]}"#, r#"{"iss":"me"}"#);
        let token = Token::parse(text.as_bytes()).unwrap();
        assert_eq!((token.key_id.as_str(), token.claims.issuer.as_str()), ("k", "me"));
        assert_eq!(token.signature, b"sig");
        assert_eq!(Some(token.signed.as_slice()), text.as_bytes().strip_suffix(b".c2ln"));
        assert_eq!(token.irregular, None);
    }

    #[test]
    fn a_token_has_three_sections() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        for text in ["", ".", "..", "a.b", "...", "a.b.", ".a.b", &format!("{good}.x"), &format!("{good}.{good}")] {
            assert_eq!(failure(text), Some(Failure::Form), "{text}");
        }
        assert_eq!(failure(&format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES))), Some(Failure::Form));
    }

    #[test]
    fn what_only_envoy_reads_is_marked() {
        let good = token(r#"{"alg":"ES256"}"#, "{ }");
        let (head, signature) = good.rsplit_once('.').unwrap();
        for (text, marked) in [
            (format!("{good}."), Failure::Form),
            (format!(".{good}"), Failure::Form),
            (good.replace('.', ".."), Failure::Form),
            (format!("{head}.YQ=="), Failure::SignatureBase64),
            (format!("{head}.YR"), Failure::SignatureBase64),
            (format!("{head}. {signature}"), Failure::SignatureBase64),
            (format!("\t{head}.{signature}"), Failure::HeaderBase64),
            (format!("{head} .{signature}"), Failure::PayloadBase64),
        ] {
            assert_eq!(Token::parse(text.as_bytes()).unwrap().irregular, Some(marked), "{text}");
        }
    }

    #[test]
    fn headers_are_checked_in_envoys_order() {
        for (header, expected) in [
            ("x", Failure::HeaderJson),
            ("[]", Failure::HeaderJson),
            ("null", Failure::HeaderAlg),
            ("{}", Failure::HeaderAlg),
            (r#"{"alg":null}"#, Failure::HeaderAlg),
            (r#"{"alg":"none"}"#, Failure::AlgUnsupported),
            (r#"{"alg":"NONE"}"#, Failure::AlgUnsupported),
            (r#"{"alg":""}"#, Failure::AlgUnsupported),
            (r#"{"alg":"HS256","alg":"HS256"}"#, Failure::HeaderJson),
            (r#"{"alg":"HS256","kid":7}"#, Failure::HeaderKid),
            (r#"{"alg":"HS256","kid":null}"#, Failure::HeaderKid),
        ] {
            assert_eq!(failure(&token(header, "junk")), Some(expected), "{header}");
        }
        assert_eq!(failure("!.a.b"), Some(Failure::HeaderBase64));
        assert_eq!(failure("e30=x.a.b"), Some(Failure::HeaderBase64));
        assert_eq!(failure(&token(r#"{"alg":"HS256"}"#, "junk")), Some(Failure::PayloadJson));
        assert_eq!(failure(&token(r#"{"alg":"HS256"}"#, "{}").replace("e30", "e3!")), Some(Failure::PayloadBase64));
        assert_eq!(failure(&token(r#"{"alg":"HS256"}"#, "{}").replace("c2ln", "+")), Some(Failure::SignatureBase64));
    }

    /// RFC 7519 section 6.1, and a token in a token (section A.2): nothing unsigned, nothing encrypted.
    #[test]
    fn unsecured_and_nested_tokens_are_refused() {
        let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
        assert_eq!(failure(unsecured), Some(Failure::Form));
        assert_eq!(failure(&format!("{unsecured}eA")), Some(Failure::AlgUnsupported));
        let inner = token(r#"{"alg":"HS256"}"#, "{}");
        assert_eq!(failure(&token(r#"{"alg":"HS256","cty":"JWT"}"#, &inner)), Some(Failure::PayloadJson));
        assert_eq!(failure(&format!("{inner}.{inner}")), Some(Failure::Form));
    }
}

//! What a rule tells the upstream and other filters about a token that it accepted.

use std::borrow::Cow;
use std::sync::Arc;

use super::base64;
use super::claims::unsigned;
use super::config::ClaimToHeader;
use super::json::{self, Json, Object};
use super::token::Token;

/// The outputs of one rule.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Lower case.
    payload: Option<String>,
    claims: Vec<ClaimHeader>,
    /// Claims whose text is a list with blanks between.
    lists: Vec<String>,
}

#[derive(Debug)]
struct ClaimHeader {
    /// Lower case.
    header: String,
    claim: String,
}

/// What accepting a token brings about.
#[derive(Debug)]
pub(crate) struct Effects {
    /// Header lines to add, in Envoy's order.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) identity: Identity,
}

/// Who made a request, as far as its token says; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `iss`, a slash, `sub`; `None` when one of them is empty or absent, which no principal of a policy matches.
    pub principal: Option<Arc<str>>,
    /// The payload as one JSON object, its space-delimited claims split: the value of
    /// [`wire::JWT_CLAIMS`](crate::wire::JWT_CLAIMS).
    pub claims: Arc<str>,
}

impl Outputs {
    pub(crate) fn new(payload: Option<&str>, claims: &[ClaimToHeader], lists: &[String]) -> Self {
        let claims = claims
            .iter()
            .map(|output| ClaimHeader { header: output.header.to_ascii_lowercase(), claim: output.claim.clone() });
        Self {
            payload: payload.map(str::to_ascii_lowercase),
            claims: claims.collect(),
            lists: ["permission", "scope"].into_iter().map(str::to_owned).chain(lists.iter().cloned()).collect(),
        }
    }

    /// The headers that this rule may write, and that nobody else may have written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.payload.iter().chain(self.claims.iter().map(|output| &output.header)).map(String::as_str)
    }

    /// What accepting this token brings about.
    pub(crate) fn effects(&self, token: &Token) -> Effects {
        let claims = &token.claims;
        let payload = self.payload.iter().map(|name| (name.clone(), token.payload_section.clone().into_bytes()));
        let outputs = self
            .claims
            .iter()
            .filter_map(|output| Some((output.header.clone(), header_value(find(&claims.members, &output.claim)?)?)));
        let named = !claims.issuer.is_empty() && !claims.subject.is_empty();
        let principal = named.then(|| format!("{}/{}", claims.issuer, claims.subject).into());
        Effects {
            headers: payload.chain(outputs).collect(),
            identity: Identity { principal, claims: self.claims_text(&claims.members).into() },
        }
    }

    fn claims_text(&self, members: &Object) -> String {
        let mut members = Cow::Borrowed(members);
        for name in &self.lists {
            if let Some(Json::String(text)) = members.get(name) {
                let pieces = text.split(' ').filter(|piece| !piece.is_empty());
                let pieces: Vec<_> = pieces.map(|piece| Json::String(piece.to_owned())).collect();
                // Envoy leaves a text alone that has nothing but blanks.
                if !pieces.is_empty() {
                    members.to_mut().insert(name.clone(), Json::List(pieces));
                }
            }
        }
        let mut text = String::new();
        json::write_object(&members, &mut text);
        text
    }
}

/// The claim at a path; dots lead into objects, so that a name with a dot is out of reach.
fn find<'a>(members: &'a Object, path: &str) -> Option<&'a Json> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (members.get(first)?, rest) {
        (value, None) => Some(value),
        (Json::Object(members), Some(rest)) => find(members, rest),
        _ => None,
    }
}

/// The text of a claim in a header; `None` for one that gets no header: null, empty text, and text that would break
/// out of its line.
fn header_value(value: &Json) -> Option<Vec<u8>> {
    let text = match value {
        Json::Null => return None,
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => match unsigned(*number).filter(|_| number.fract() == 0.0) {
            Some(whole) => whole.to_string(),
            None => format!("{number:.6}"),
        },
        Json::String(text) => text.clone(),
        Json::List(_) | Json::Object(_) => {
            let mut text = String::new();
            json::write(value, &mut text);
            base64::encode_standard(text.as_bytes())
        }
    };
    let breaks = text.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f);
    (!text.is_empty() && !breaks).then(|| text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::unsigned_token;
    use super::*;

    fn effects(outputs: &Outputs, payload: &str) -> Effects {
        outputs.effects(&Token::parse(unsigned_token(payload).as_bytes()).unwrap())
    }

    fn written(claim: &str, payload: &str) -> Option<String> {
        let output = ClaimToHeader { header: "X-C".to_owned(), claim: claim.to_owned() };
        let effects = effects(&Outputs::new(None, &[output], &[]), payload);
        effects.headers.into_iter().next().map(|(name, value)| {
            assert_eq!(name, "x-c");
            String::from_utf8(value).unwrap()
        })
    }

    #[test]
    fn claims_are_written_as_envoy_writes_them() {
        for (value, expected) in [
            ("\"text\"", Some("text")),
            ("\"read write\"", Some("read write")),
            ("\"\"", None),
            ("null", None),
            ("true", Some("true")),
            ("false", Some("false")),
            ("42", Some("42")),
            ("0", Some("0")),
            ("-7", Some("-7.000000")),
            ("1.5", Some("1.500000")),
            ("1e3", Some("1000")),
            ("12345678901234567", Some("12345678901234568")),
            ("1e20", Some("100000000000000000000.000000")),
            ("[\"a\",\"<b>\"]", Some("WyJhIiwiXHUwMDNjYlx1MDAzZSJd")),
            ("{\"k\":1}", Some("eyJrIjoxfQ==")),
            ("[]", Some("W10=")),
        ] {
            assert_eq!(written("scope", &format!("{{\"scope\":{value}}}")).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn paths_lead_into_objects() {
        let payload = r#"{"a":{"b":{"c":"deep"},"d.e":"x"},"f.g":"y","h":"z"}"#;
        for (path, expected) in
            [("a.b.c", Some("deep")), ("a.d.e", None), ("f.g", None), ("h.i", None), ("a.", None), (".", None)]
        {
            assert_eq!(written(path, payload).as_deref(), expected, "{path}");
        }
        assert_eq!(written("i", payload), None);
    }

    #[test]
    fn a_claim_cannot_break_out_of_its_line() {
        for value in ["a\\r\\nx-admin: 1", "a\\u0000", "a\\n", "\\u007f"] {
            assert_eq!(written("a", &format!("{{\"a\":\"{value}\"}}")), None, "{value}");
        }
    }

    #[test]
    fn space_delimited_claims_become_lists() {
        let outputs = Outputs::new(None, &[], &["roles".to_owned()]);
        let claims = |payload| effects(&outputs, payload).identity.claims;
        assert_eq!(
            &*claims(r#"{"scope":" a  b ","permission":"c","roles":"d\te","x":"f g","n":{"scope":"h i"}}"#),
            r#"{"n":{"scope":"h i"},"permission":["c"],"roles":["d\te"],"scope":["a","b"],"x":"f g"}"#
        );
        assert_eq!(
            &*claims(r#"{"scope":["a b"],"roles":1,"permission":""}"#),
            r#"{"permission":"","roles":1,"scope":["a b"]}"#
        );
    }

    #[test]
    fn a_principal_has_both_parts() {
        let outputs = Outputs::new(Some("X-P"), &[], &[]);
        let principal = |payload| effects(&outputs, payload).identity.principal;
        assert_eq!(principal(r#"{"iss":"i","sub":"s"}"#).as_deref(), Some("i/s"));
        for payload in [r#"{"iss":"i"}"#, r#"{"sub":"s"}"#, r#"{"iss":"i","sub":""}"#] {
            assert_eq!(principal(payload), None, "{payload}");
        }
        assert_eq!(effects(&outputs, "{ }").headers, [("x-p".to_owned(), b"eyB9".to_vec())]);
    }
}

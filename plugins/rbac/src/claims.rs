//! The claims of the token that was verified: as our own plugin for tokens has left them, or as Envoy's `jwt_authn` has.
//!
//! No header is ever looked at, which a client could have written. `jwt_authn` leaves its claims in dynamic metadata, from
//! where a plugin gets their bytes without their types:
//!
//! | bytes | read as |
//! |---|---|
//! | UTF-8 without NUL | a text |
//! | a list whose elements are such texts | a list |
//! | eight bytes that could be a text, and just as well a number between 1e-9 and 2e19 | refused |
//! | anything else: numbers, true and false, objects, texts with NUL | refused |
//!
//! Refused is the request, and only where a policy looks at that claim: taken for missing, it would pass every `notX` and
//! every `DENY`. Issuer, subject and audience are always texts, which `jwt_authn` makes sure of.

use istio_core::rbac::claims::Claim;
use istio_core::wire;
use wasmplugin::attributes::{Attribute, Map, Phases, Value};
use wasmplugin::{Error, Result};

use crate::source::Source;

/// What our own plugin for tokens has left.
const OURS: Attribute<Map> = Attribute::named("filter_state", Phases::EXCHANGE);

/// What Envoy's own filter for tokens has left.
const NATIVE: Attribute<Vec<u8>> =
    Attribute::named("metadata\0filter_metadata\0envoy.filters.http.jwt_authn", Phases::EXCHANGE);

/// Longer lists in metadata are refused: each element costs a host call.
const MOST_ELEMENTS: usize = 256;

/// Claims that `jwt_authn` is known to check: they are texts, or lists of texts.
const CHECKED: [&str; 4] = ["iss", "sub", "jti", "aud"];

/// Claims, or none where there was no token.
#[derive(Debug, Default)]
pub(crate) enum Claims {
    /// No token was verified.
    #[default]
    None,
    /// The text of a JSON object.
    Json(Vec<u8>),
    /// Those that were asked for.
    Read(Claim<'static>),
}

impl Claims {
    /// Asks the proxy for the claims at these paths.
    pub(crate) fn read(source: Source<'_>, paths: &[Vec<String>]) -> Result<Self> {
        let ours = OURS.field::<Vec<u8>>(&["wasm.", wire::JWT_CLAIMS].concat());
        if let Some(json) = source.attribute(ours)? {
            return Ok(Self::Json(json));
        }
        // What is there and cannot be read as a whole is there: a null in it is enough for an error.
        if let Ok(None) = source.attribute(NATIVE) {
            return Ok(Self::None);
        }
        let payload = NATIVE.field::<Vec<u8>>("payload");
        if let Ok(None) = source.attribute(payload.clone()) {
            return Err(
                "`jwt_authn` has left no `payload`: set `payload_in_metadata` to that name, as Istio does".into()
            );
        }
        let mut claims = Claim::Other;
        for path in paths {
            let place = path.iter().fold(payload.clone(), |place, name| place.field(name));
            if let Some(claim) =
                native(source, &place, matches!(path.as_slice(), [name] if CHECKED.contains(&&**name)))?
            {
                claims.put(path, claim);
            }
        }
        Ok(Self::Read(claims))
    }

    /// The claims, ready to be looked at.
    pub(crate) fn parse(&self) -> Result<Option<Claim<'_>>> {
        match self {
            Self::None => Ok(None),
            Self::Json(text) => Claim::parse(text)
                .map(Some)
                .map_err(|finding| Error::app(format!("the claims cannot be read: {finding}"))),
            Self::Read(claims) => Ok(Some(claims.clone())),
        }
    }
}

/// One claim of `jwt_authn`; `checked` is whether it cannot be a number.
fn native(source: Source<'_>, place: &Attribute<Vec<u8>>, checked: bool) -> Result<Option<Claim<'static>>> {
    let Some(bytes) = source.attribute(place.clone())? else { return Ok(None) };
    if let Some(text) = text(&bytes, checked) {
        return Ok(Some(Claim::Text(text.into())));
    }
    let mut list = Vec::new();
    // An empty list, or an empty object: nothing fits either.
    if bytes != [0; 4] {
        while list.len() <= MOST_ELEMENTS {
            match source.attribute(place.clone().field::<Vec<u8>>(&list.len().to_string())) {
                Ok(Some(element)) => match text(&element, checked) {
                    Some(text) => list.push(Claim::Text(text.into())),
                    None => return Err(unclear(place)),
                },
                Ok(None) if is_list_of(&bytes, &list) => return Ok(Some(Claim::List(list))),
                Ok(None) | Err(_) => return Err(unclear(place)),
            }
        }
        return Err(unclear(place));
    }
    Ok(Some(Claim::List(list)))
}

/// Whether the bytes are those of the list with these elements: they come as names without values. An object whose members
/// are called `0`, `1` and so on answers like a list, but has values.
fn is_list_of(bytes: &[u8], elements: &[Claim<'_>]) -> bool {
    let texts = elements.iter().map(|element| element.text().unwrap_or_default());
    Map::decode(bytes.to_vec()).is_some_and(|map| map.iter().eq(texts.map(|text| (text.as_bytes(), &b""[..]))))
}

/// The text that these bytes are, if they can be nothing else; `checked` is whether they cannot be a number or a flag.
pub(crate) fn text(bytes: &[u8], checked: bool) -> Option<String> {
    if bytes.contains(&0) || (!checked && (is_flag(bytes) || may_be_number(bytes))) {
        return None;
    }
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn is_flag(bytes: &[u8]) -> bool {
    matches!(bytes, [0 | 1])
}

/// Whether the bytes are those of a number that somebody may have put into a token.
fn may_be_number(bytes: &[u8]) -> bool {
    let number = bytes.try_into().map(f64::from_le_bytes);
    number.is_ok_and(|number| (1e-9..2e19).contains(&number.abs()))
}

fn unclear(place: &Attribute<Vec<u8>>) -> Error {
    Error::app(format!("`{place}` is neither surely a text nor a list of texts, so it is not compared"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_nothing_else_is_a_text() {
        for bytes in [&b"admin"[..], b"", b"engineer", b"12345678", "gr\u{fc}n".as_bytes()] {
            assert!(text(bytes, false).is_some(), "{bytes:?}");
        }
        let snowflake = 4_611_686_018_427_387_f64.to_le_bytes();
        for bytes in [&2.0_f64.to_le_bytes()[..], &snowflake, &[1], &[0], b"a\0b", b"\xff", b"abcdef0C"] {
            assert_eq!(text(bytes, false), None, "{bytes:?}");
        }
        assert_eq!(text(b"abcdef0C", true).as_deref(), Some("abcdef0C"));
    }
}

//! The claims of a token: RFC 7519's registered ones with their types checked, the others as they came.

use super::failure::Failure;
use super::json::{self, Json, Object};

/// A payload whose registered claims have the types that Envoy demands.
#[derive(Debug)]
pub(crate) struct Claims {
    /// `iss`; empty when absent.
    pub(crate) issuer: String,
    /// `sub`; empty when absent.
    pub(crate) subject: String,
    /// `aud`, one or many.
    pub(crate) audiences: Vec<String>,
    /// `nbf` in whole seconds since 1970; 0 when absent.
    pub(crate) not_before: u64,
    /// `exp` in whole seconds since 1970; 0 when absent, which means never.
    pub(crate) expires: u64,
    /// All members of the payload.
    pub(crate) members: Object,
}

impl Claims {
    /// Reads a payload; checks in Envoy's order.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Failure> {
        let members = json::parse_object(payload).ok_or(Failure::PayloadJson)?;
        let issuer = text(&members, "iss", Failure::Iss)?;
        let subject = text(&members, "sub", Failure::Sub)?;
        seconds(&members, "iat", Failure::Iat, Failure::IatRange)?;
        let not_before = seconds(&members, "nbf", Failure::Nbf, Failure::NbfRange)?;
        let expires = seconds(&members, "exp", Failure::Exp, Failure::ExpRange)?;
        text(&members, "jti", Failure::Jti)?;
        let audiences = audiences(&members)?;
        Ok(Self { issuer, subject, audiences, not_before, expires, members })
    }
}

fn text(members: &Object, name: &str, failure: Failure) -> Result<String, Failure> {
    match members.get(name) {
        None => Ok(String::new()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(_) => Err(failure),
    }
}

/// Whole seconds; a fraction is cut off, so that an `exp` below 1 means never, as it does to Envoy.
fn seconds(members: &Object, name: &str, kind: Failure, range: Failure) -> Result<u64, Failure> {
    match members.get(name) {
        None => Ok(0),
        Some(Json::Number(number)) => unsigned(*number).ok_or(range),
        Some(_) => Err(kind),
    }
}

/// A number from 0 to below 2^64, without its fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
pub(crate) fn unsigned(number: f64) -> Option<u64> {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    (0.0..TWO_TO_64).contains(&number).then_some(number as u64)
}

fn audiences(members: &Object) -> Result<Vec<String>, Failure> {
    match members.get("aud") {
        None => Ok(Vec::new()),
        Some(Json::String(audience)) => Ok(vec![audience.clone()]),
        Some(Json::List(list)) => {
            let list = list.iter().map(|audience| audience.as_str().map(str::to_owned).ok_or(Failure::Aud));
            list.collect()
        }
        Some(_) => Err(Failure::Aud),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(payload: &str) -> Option<&'static str> {
        Claims::parse(payload.as_bytes()).err().map(Failure::text)
    }

    #[test]
    fn the_claims_set_of_rfc_7519_section_3_1_is_read() {
        let claims =
            Claims::parse(b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}")
                .unwrap();
        assert_eq!((claims.issuer.as_str(), claims.expires, claims.not_before), ("joe", 1_300_819_380, 0));
        assert_eq!(claims.members.get("http://example.com/is_root"), Some(&Json::Bool(true)));
    }

    #[test]
    fn times_are_numbers_from_zero_to_below_two_to_the_64th() {
        for (exp, expected) in [
            ("0", Ok(0)),
            ("-0.0", Ok(0)),
            ("0.9", Ok(0)),
            ("1.9", Ok(1)),
            ("1e3", Ok(1000)),
            ("18446744073709549568", Ok(18_446_744_073_709_549_568)),
            ("18446744073709551615", Err(Failure::ExpRange)),
            ("1e30", Err(Failure::ExpRange)),
            ("-1", Err(Failure::ExpRange)),
            ("-0.1", Err(Failure::ExpRange)),
            ("\"1\"", Err(Failure::Exp)),
            ("null", Err(Failure::Exp)),
            ("true", Err(Failure::Exp)),
            ("[1]", Err(Failure::Exp)),
        ] {
            let claims = Claims::parse(format!("{{\"exp\":{exp}}}").as_bytes());
            assert_eq!(claims.map(|claims| claims.expires), expected, "{exp}");
        }
    }

    #[test]
    fn types_are_checked_in_envoys_order() {
        let mut payload =
            "{\"aud\":1,\"jti\":1,\"exp\":-1,\"nbf\":null,\"iat\":\"x\",\"sub\":null,\"iss\":1}".to_owned();
        for (wrong, text) in [
            ("\"iss\":1", "Jwt payload [iss] field is not a string"),
            ("\"sub\":null,", "Jwt payload [sub] field is not a string"),
            ("\"iat\":\"x\",", "Jwt payload [iat] field is not an integer"),
            ("\"nbf\":null,", "Jwt payload [nbf] field is not an integer"),
            ("\"exp\":-1,", "Jwt payload [exp] field is not a positive 64 bit integer"),
            ("\"jti\":1,", "Jwt payload [jti] field is not a string"),
            ("\"aud\":1,", "Jwt payload [aud] field is not a string or string list"),
        ] {
            assert_eq!(failure(&payload), Some(text));
            payload = payload.replace(wrong, if wrong.ends_with(',') { "" } else { "\"x\":1" });
        }
        assert_eq!(failure(&payload), None);
        assert_eq!(failure("{\"aud\":[\"a\",1]}"), Some(Failure::Aud.text()));
        assert_eq!(failure("{\"aud\":null}"), Some(Failure::Aud.text()));
        assert_eq!(failure("{\"aud\":[]}"), None);
        assert_eq!(failure("[]"), Some(Failure::PayloadJson.text()));
        assert_eq!(failure("null"), None);
    }
}

//! A token as a stranger sends it, and a token whose two first sections a stranger chose and we signed.

#![no_main]

use std::cell::RefCell;

use istio_core::jwt::{Authenticator, Outcome};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

thread_local! {
    static RULES: RefCell<Authenticator> = RefCell::new(fuzz::authenticator(&json!([{
        "issuer": "i", "jwks": fuzz::keys(), "fromHeaders": [{"name": "t"}], "outputPayloadToHeader": "p",
        "outputClaimToHeaders": [{"header": "a", "claim": "sub"}, {"header": "b", "claim": "x.y"}, {"header": "c", "claim": "scope"}],
    }])));
    static GOOD: String = fuzz::token(br#"{"alg":"HS256","kid":"k"}"#, br#"{"iss":"i","sub":"s"}"#);
}

fuzz_target!(|data: &[u8]| {
    RULES.with_borrow_mut(|rules| {
        let raw = fuzz::check(rules, &[(b":path", b"/"), (b"t", data)]);
        let accepted = matches!(raw, Outcome::Allow(_));
        assert!(!accepted || GOOD.with(|good| good.as_bytes() == data), "nobody else can sign");

        let (header, payload) = match data.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&data[..end], &data[end + 1..]),
            None => (&br#"{"alg":"HS256"}"#[..], data),
        };
        let signed = fuzz::token(header, payload);
        let first = fuzz::check(rules, &[(b":path", b"/"), (b"t", signed.as_bytes())]);
        let again = fuzz::check(rules, &[(b":path", b"/"), (b"t", signed.as_bytes())]);
        assert_eq!(first, again, "a remembered verdict is the verdict");
    });
});

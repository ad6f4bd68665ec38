//! A request, line by line, whose tokens lie in all kinds of places.

#![no_main]

use std::cell::RefCell;

use istio_core::jwt::{Authenticator, Outcome};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

thread_local! {
    static RULES: RefCell<Authenticator> = RefCell::new(fuzz::authenticator(&json!([
        {"issuer": "i", "jwks": fuzz::keys()},
        {"issuer": "i", "jwks": fuzz::keys(), "audiences": ["a"], "outputPayloadToHeader": "x-p",
         "fromHeaders": [{"name": "x-t", "prefix": "JWT "}, {"name": "x-t"}], "fromParams": ["t", "u"], "fromCookies": ["c"]},
        {"issuer": "j", "jwks": fuzz::keys(), "fromParams": ["t"], "forwardOriginalToken": true},
    ])));
}

fuzz_target!(|data: &[u8]| {
    // `@` stands for a good token, which no input would ever hold by chance.
    let token = fuzz::token(br#"{"alg":"HS256"}"#, br#"{"iss":"i","sub":"s","aud":"a"}"#);
    let names: [&[u8]; 6] = [b":path", b"authorization", b"x-t", b"cookie", b":method", b"x-p"];
    let lines: Vec<(&[u8], Vec<u8>)> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let (first, value) = line.split_first()?;
            let mut text = Vec::new();
            value.iter().for_each(|byte| match byte {
                b'@' => text.extend_from_slice(token.as_bytes()),
                other => text.push(*other),
            });
            Some((names[usize::from(*first) % names.len()], text))
        })
        .collect();
    let lines: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let outcome = RULES.with_borrow_mut(|rules| fuzz::check(rules, &lines));
    if let Outcome::Allow(allow) = outcome
        && let Some(path) = allow.changes.path
    {
        let before = lines.iter().find(|(name, _)| *name == b":path").unwrap().1;
        let parameters = |path: &[u8]| path.iter().filter(|byte| matches!(byte, b'&' | b'?')).count();
        assert!(parameters(&path) <= parameters(before) + 1, "taking a token out adds no parameter");
        let control = |path: &[u8]| path.iter().filter(|byte| **byte <= b' ').count();
        assert!(control(&path) <= control(before), "nothing is decoded that could end a line");
    }
});

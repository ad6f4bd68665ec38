//! A key set as a provider hands it out, and tokens of every algorithm that meet it.

#![no_main]

use istio_core::jwt::{Authenticator, Config, Outcome};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    let rule = json!({"issuer": "i", "jwksUri": "http://idp/keys", "fromHeaders": [{"name": "t"}]});
    let config = json!({"policies": [{"metadata": {}, "spec": {"jwtRules": [rule]}}]}).to_string();
    let mut rules = Authenticator::new(&Config::from_json(config.as_bytes()).unwrap()).unwrap();
    let set = rules.due(fuzz::NOW).next().unwrap();
    let fetch = rules.begin_fetch(set, fuzz::NOW).unwrap();
    rules.finish_fetch(&fetch, Some((200, data)), fuzz::NOW);
    let secret = data.windows(10).any(|window| window == b"YSBzZWNyZX");
    for alg in ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS512"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"k"}}"#);
        let token = fuzz::token(header.as_bytes(), br#"{"iss":"i"}"#);
        let outcome = fuzz::check(&mut rules, &[(b":path", b"/"), (b"t", token.as_bytes())]);
        assert!(secret || !matches!(outcome, Outcome::Allow(_)), "our secret is not in the set");
    }
});

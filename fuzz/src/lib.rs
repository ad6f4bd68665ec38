//! What the targets share: a secret, tokens signed with it, and rules that accept them.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use istio_core::jwt::{Authenticator, Config, NoHost, Outcome};
use serde_json::{Value, json};
use sha2::Sha256;

/// When requests are made.
pub const NOW: Duration = Duration::from_secs(1_790_000_000);

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

/// A token with these two sections, signed.
pub fn token(header: &[u8], payload: &[u8]) -> String {
    let (header, payload) = (BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signed = format!("{header}.{payload}");
    let code = Hmac::<Sha256>::new_from_slice(SECRET).unwrap().chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(&code))
}

/// The key set with the secret.
pub fn keys() -> String {
    json!({"keys": [{"kty": "oct", "kid": "k", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET)}]}).to_string()
}

/// Rules of one policy.
pub fn authenticator(rules: &Value) -> Authenticator {
    let config = json!({"policies": [{"metadata": {}, "spec": {"jwtRules": rules}}]});
    Authenticator::new(&Config::from_json(config.to_string().as_bytes()).unwrap()).unwrap()
}

/// Decides, and holds what must be true of every decision.
pub fn check(authenticator: &mut Authenticator, lines: &[(&[u8], &[u8])]) -> Outcome {
    let outcome = authenticator.check(lines, NOW, &NoHost);
    match &outcome {
        Outcome::Allow(allow) => {
            for (name, value) in &allow.changes.add {
                let breaks = value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f);
                assert!(!breaks, "`{name}` would break out of its line");
            }
            if let Some(identity) = &allow.identity {
                let claims: Value = serde_json::from_str(&identity.claims).expect("claims are JSON");
                if let Some(principal) = &identity.principal {
                    let (issuer, subject) = (claims["iss"].as_str().unwrap(), claims["sub"].as_str().unwrap());
                    assert_eq!(&**principal, format!("{issuer}/{subject}"));
                }
            }
        }
        Outcome::Deny(denial) => assert!(matches!(denial.status, 401 | 403) && !denial.body.is_empty()),
        Outcome::NeedKeys(sets) => assert!(!sets.is_empty()),
    }
    outcome
}

//! The configuration of the `jwt` plugin: refused with a reason, or one that decides.

#![no_main]

use istio_core::jwt::{Authenticator, Config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let made = Config::from_json(data).and_then(|config| Authenticator::new(&config));
    match made {
        Ok(mut rules) => {
            let token = fuzz::token(br#"{"alg":"HS256"}"#, br#"{"iss":"i","sub":"s"}"#);
            let bearer = format!("Bearer {token}");
            fuzz::check(&mut rules, &[(b":path", b"/?access_token=a.b.c&x=1"), (b"authorization", bearer.as_bytes())]);
        }
        Err(error) => assert!(!error.reason().is_empty()),
    }
});

//! The configuration of the `rbac` plugin: refused with a reason, or policies that decide as the plain evaluator does.

#![no_main]

use istio_core::rbac::{Engine, config::Config, facts::Facts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match Config::read(data).and_then(|config| Engine::new(&config)) {
        Ok(engine) => {
            let facts = Facts {
                method: Some(b"GET"),
                path: Some(b"/a/b?c"),
                authority: Some(b"h:80"),
                identities: &[b"spiffe://cluster.local/ns/a/sa/b"],
                ..Facts::default()
            };
            assert_eq!(engine.decide(&facts), engine.decide_plainly(&facts));
            assert_eq!(engine.custom(&facts), engine.custom_plainly(&facts));
        }
        Err(finding) => assert!(!finding.to_string().is_empty()),
    }
});

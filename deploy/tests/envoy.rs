//! The Envoy configuration of a plugin, over the table `ecds`.

use serde_json::Value;
use wasmplugin_deploy::envoy;
use wasmplugin_deploy::resource::FailStrategy;
use wasmplugin_deploy::version::IstioVersion;

use crate::cases;

#[test]
fn istiod_sends_what_the_table_says() {
    for case in cases::table("ecds") {
        let id = &case["id"];
        let extension = cases::document(&case).extension().unwrap().unwrap();
        let sent = envoy::configuration(&extension, IstioVersion::LATEST, secret(&case)).unwrap();
        assert_eq!(sent.filter, case["expect"]["listener_filter"], "{id}");
        assert_eq!(sent.resource.unwrap_or_default(), case["expect"]["ecds"], "{id}");
    }
}

#[test]
fn envoy_sees_what_the_agent_leaves() {
    for case in cases::table("ecds") {
        let id = &case["id"];
        let after = &case["expect"]["after_agent"];
        let extension = cases::document(&case).extension().unwrap().unwrap();
        let Some(wasm) = extension.wasm() else { continue };
        let sent = envoy::configuration(&extension, IstioVersion::LATEST, secret(&case)).unwrap().resource.unwrap();
        if let Some(fallback) = after["fallback"].as_str() {
            let put = envoy::fallback(sent["name"].as_str().unwrap(), wasm.kind, wasm.fail_strategy);
            assert_eq!(put["name"], sent["name"]);
            assert!(put["typed_config"]["@type"].as_str().unwrap().ends_with("rbac.v3.RBAC"));
            let denies = put["typed_config"].get("rules").is_some();
            assert_eq!(if denies { "rbac deny" } else { "rbac allow" }, fallback, "{id}");
            assert_eq!(denies, wasm.fail_strategy != FailStrategy::FailOpen, "{id}");
            continue;
        }
        let seen = envoy::fetched(&sent, "<cache dir>/<sha256 of module name>/<checksum>.wasm");
        if after["unchanged"] == true {
            assert_eq!(seen, sent, "{id}");
            continue;
        }
        let vm = &seen["typed_config"]["config"]["vm_config"];
        assert_eq!(vm["code"], after["code"], "{id}");
        assert_eq!(vm.get("environment_variables").unwrap_or(&Value::Null), &after["environment_variables"], "{id}");
    }
}

/// The Docker configuration in the Secret that a case names, if there is one.
fn secret(case: &Value) -> Option<&str> {
    case["secret"].as_str()
}

//! What each rule finds, and where.

use serde_json::json;

use super::*;
use crate::document;

/// Code and place of everything that rules (not validators) find in a text.
fn found_with(text: &str, surroundings: &Surroundings) -> Vec<String> {
    let documents: Vec<_> = document::read(text).into_iter().map(Result::unwrap).collect();
    let documents: Vec<_> = documents.iter().collect();
    let reports = lint(&documents, surroundings);
    let findings = reports.iter().flatten().flat_map(|report| &report.findings);
    findings
        .filter(|finding| rule::RULES.iter().any(|rule| rule.code == finding.code))
        .map(|finding| format!("{} {} {}", finding.code, finding.path, finding.at))
        .collect()
}

/// What is found in a WasmPlugin whose priority is set.
fn found(spec: &str) -> Vec<String> {
    found_with(&plugin("p", &format!("priority: 0, {spec}")), &Surroundings::default())
}

fn plugin(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}, namespace: \
            apps}}\nspec: {{{spec}}}\n"
    )
}

fn codes(found: &[String]) -> Vec<&str> {
    found.iter().map(|line| line.split(' ').next().unwrap()).collect()
}

const PINNED: &str = "url: 'oci://r.example/a@sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b'";

#[test]
fn a_pinned_plugin_is_clean() {
    assert_eq!(found(PINNED), [""; 0]);
}

#[test]
fn sources_are_judged() {
    for (spec, expected) in [
        ("url: 'oci://r.example/a:1'", &["tag-mutable"][..]),
        ("url: 'oci://r.example/a:latest'", &["tag-latest"]),
        ("url: 'oci://r.example:5000/a'", &["tag-missing"]),
        ("url: 'localhost:5000/a:1'", &["url-port"]),
        ("url: 'foo:latest'", &["url-port"]),
        ("url: 's3://bucket/a'", &[]),
        ("url: '192.168.0.1:5000/a'", &["url-dropped"]),
        ("url: /opt/x.wasm", &["url-path"]),
        ("url: ./x.wasm", &["url-path"]),
        ("url: 'oci://'", &["url-unfetchable"]),
        ("url: 'oci:ghcr.io/a'", &["url-unfetchable"]),
        ("url: 'file:///opt/x.wasm'", &[]),
        ("url: 'file://x.wasm'", &["url-file-relative"]),
        ("url: 'file:/x.wasm'", &["url-file-prefix"]),
        ("url: 'oci://r.example/a:1?x=1'", &["url-ignored-part", "tag-mutable"]),
        ("url: 'oci://u:p@r.example/a:1'", &["url-ignored-part", "tag-mutable"]),
        ("url: 'https://h.example/x.wasm'", &["http-unpinned"]),
    ] {
        assert_eq!(codes(&found(spec)), expected, "{spec}");
    }
}

#[test]
fn credentials_go_only_to_registries() {
    assert_eq!(
        found("url: 'file:///x.wasm', imagePullSecret: s"),
        ["secret-file spec.imagePullSecret 5:61", "secret-missing spec.imagePullSecret 5:61"]
    );
    assert!(
        found("url: 'http://h/x', imagePullSecret: s").contains(&"secret-http spec.imagePullSecret 5:57".to_owned())
    );
}

#[test]
fn digests_and_checksums_must_fit() {
    let other = "0".repeat(64);
    assert_eq!(codes(&found(&format!("{PINNED}, sha256: '{other}'"))), ["sha256-conflict"]);
    assert_eq!(codes(&found(&format!("{PINNED}, imagePullPolicy: Always"))), ["policy-ignored"]);
    assert_eq!(codes(&found(&format!("url: 'file:///x.wasm', sha256: '{other}'"))), ["sha256-file"]);
}

#[test]
fn order_and_failure_are_judged() {
    assert_eq!(found_with(&plugin("p", PINNED), &Surroundings::default()), ["priority-unset spec.priority 5:7"]);
    assert_eq!(codes(&found(&format!("{PINNED}, phase: AUTHZ, failStrategy: FAIL_OPEN"))), ["fail-open-security"]);
    assert_eq!(codes(&found(&format!("{PINNED}, phase: STATS, failStrategy: FAIL_OPEN"))), [""; 0]);
}

#[test]
fn versions_are_judged() {
    let at = |minor, spec: &str| {
        let surroundings = Surroundings { istio: IstioVersion::one(minor), ..Surroundings::default() };
        codes(&found_with(&plugin("p", &format!("priority: 0, {PINNED}, {spec}")), &surroundings)).join(" ")
    };
    assert_eq!(at(26, "failStrategy: FAIL_RELOAD"), "field-too-new");
    assert_eq!(at(27, "failStrategy: FAIL_RELOAD"), "");
    assert_eq!(at(19, "type: NETWORK"), "field-too-new");
    let text =
        "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nspec: {priority: 0, lua: {inlineCode: x}}";
    let old = Surroundings { istio: IstioVersion::one(29), ..Surroundings::default() };
    assert_eq!(found_with(text, &old), ["field-too-new kind 1:1"]);
    assert_eq!(found_with(text, &Surroundings::default()), [""; 0]);
}

#[test]
fn waypoints_are_judged() {
    let service = "targetRefs: [{kind: Service, name: a}]";
    assert_eq!(
        codes(&found(&format!("{PINNED}, {service}, match: [{{ports: [{{number: 80}}]}}]"))),
        ["ports-waypoint"]
    );
    assert_eq!(codes(&found(&format!("{PINNED}, {service}, match: [{{mode: CLIENT}}]"))), ["client-waypoint"]);
    assert_eq!(
        codes(&found(&format!("{PINNED}, {service}, match: [{{ports: [{{number: 80}}]}}, {{mode: SERVER}}]"))),
        [""; 0]
    );
    let gateway = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: \
        apps}\nspec: {gatewayClassName: istio-waypoint}\n";
    let by_name = format!(
        "priority: 0, {PINNED}, targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: w}}], match: \
            [{{ports: [{{number: 80}}]}}]"
    );
    assert_eq!(
        codes(&found_with(&format!("{}{gateway}", plugin("p", &by_name)), &Surroundings::default())),
        ["ports-waypoint"]
    );
    let label = "selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: w}}";
    let selected = format!("{}{gateway}", plugin("p", &format!("priority: 0, {PINNED}, {label}")));
    assert_eq!(codes(&found_with(&selected, &Surroundings::default())), ["selector-waypoint", "selector-gateway"]);
    let class = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]";
    assert_eq!(codes(&found(&format!("{PINNED}, {class}"))), ["class-namespace"]);
}

#[test]
fn the_environment_is_judged() {
    let env = |name: &str| found(&format!("{PINNED}, vmConfig: {{env: [{{name: '{name}', value: x}}]}}"));
    assert_eq!(codes(&env("1-bad name")), ["env-name"]);
    assert_eq!(codes(&env("ISTIO_META_FOO")), ["env-reserved"]);
    assert_eq!(codes(&env("FINE_1")), [""; 0]);
    let two =
        |value: &str| plugin("p", &format!("priority: 0, {PINNED}, vmConfig: {{env: [{{name: A, value: {value}}}]}}"));
    let old = Surroundings { istio: IstioVersion::one(29), ..Surroundings::default() };
    assert_eq!(codes(&found_with(&format!("{}{}", two("x"), two("y")), &old)), ["env-shared"]);
    assert_eq!(codes(&found_with(&format!("{}{}", two("x"), two("x")), &old)), [""; 0]);
    assert_eq!(codes(&found_with(&format!("{}{}", two("x"), two("y")), &Surroundings::default())), [""; 0]);
}

#[test]
fn a_single_target_in_a_traffic_extension_is_an_error_of_its_own() {
    let text = "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nspec: {priority: 0, targetRef: \
        {kind: Service, name: a}, lua: {inlineCode: x}}";
    assert_eq!(found_with(text, &Surroundings::default()), ["singular-target-ref spec.targetRef 3:21"]);
}

#[test]
fn secrets_are_looked_at() {
    let secret = |namespace: &str, kind: &str| {
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\ntype: {kind}\n")
    };
    let plugin = plugin("p", &format!("priority: 0, {PINNED}, imagePullSecret: s"));
    let with = |secret: String| codes(&found_with(&format!("{plugin}{secret}"), &Surroundings::default())).join(" ");
    assert_eq!(with(secret("apps", "kubernetes.io/dockerconfigjson")), "");
    assert_eq!(with(secret("apps", "Opaque")), "secret-type");
    assert_eq!(with(secret("other", "kubernetes.io/dockerconfigjson")), "secret-missing");
    assert_eq!(with(String::new()), "secret-missing");
}

#[test]
fn plugins_for_connections_need_ports_of_their_own() {
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {selector: \
        {istio: ingress}, servers: [{port: {number: 443, protocol: TLS}}, {port: {number: 443, protocol: HTTPS}}]}\n";
    let plugin = |selector: &str| plugin("p", &format!("priority: 0, {PINNED}, type: NETWORK, {selector}"));
    let codes_of = |selector: &str| {
        codes(&found_with(&format!("{}{gateway}", plugin(selector)), &Surroundings::default())).join(" ")
    };
    assert_eq!(codes_of("selector: {matchLabels: {istio: ingress}}"), "network-tls");
    assert_eq!(codes_of("selector: {matchLabels: {app: other}}"), "");
}

#[test]
fn configurations_are_held_against_the_schema_of_the_module() {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["limit"],
        "properties": {"limit": {"type": "integer"}, "window": {"$ref": "#/$defs/window"}},
        "$defs": {"window": {"type": "object", "additionalProperties": false, "properties": {"seconds": {"type": "integer"}}}},
    });
    let surroundings = Surroundings {
        modules: vec![KnownModule { schema: Some(schema), ..KnownModule::default() }],
        ..Surroundings::default()
    };
    let text =
        plugin("p", &format!("priority: 0, {PINNED}, pluginConfig: {{limit: '5', windw: 1, window: {{secnds: 3}}}}"));
    let documents = document::read(&text);
    let report = lint(&[documents[0].as_ref().unwrap()], &surroundings).remove(0).unwrap();
    let told: Vec<_> = report.findings.iter().map(|finding| format!("{} {}", finding.path, finding.help)).collect();
    assert_eq!(
        told,
        [
            "spec.pluginConfig.limit ",
            "spec.pluginConfig.windw did you mean `window`?",
            "spec.pluginConfig.window.secnds did you mean `seconds`?",
        ]
    );
    let missing = found_with(&plugin("p", &format!("priority: 0, {PINNED}")), &surroundings);
    assert_eq!(codes(&missing), ["config-schema"]);
}

#[test]
fn what_the_registry_said_is_told_at_the_url() {
    let url = PINNED.split('\'').nth(1).unwrap().to_owned();
    let told = |flaw: Option<ImageFlaw>| {
        let images = vec![KnownImage { url: url.clone(), flaw }];
        let surroundings = Surroundings { images, ..Surroundings::default() };
        let found = found_with(&plugin("p", &format!("priority: 0, {PINNED}")), &surroundings);
        found.into_iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let said = "no".to_owned();
    for (flaw, code) in [
        (ImageFlaw::Missing(said.clone()), "image-missing spec.url"),
        (ImageFlaw::Refused(said.clone()), "image-form spec.url"),
        (ImageFlaw::Unreachable(said), "image-unreachable spec.url"),
        (ImageFlaw::IndexPinned(crate::image::digest::Digest::of(b"")), "image-index spec.url"),
    ] {
        assert_eq!(told(Some(flaw)), [code]);
    }
    assert_eq!(told(None), [""; 0]);
}

#[test]
fn each_plugin_of_a_module_has_its_own_schema() {
    let closed = |field: &str| json!({"type": "object", "additionalProperties": false, "properties": {field: {}}});
    let schema = json!({"x-root-ids": {"one": closed("a"), "two": closed("b")}});
    let module = KnownModule { schema: Some(schema), ..KnownModule::default() };
    let surroundings = Surroundings { modules: vec![module], ..Surroundings::default() };
    let told = |name: &str| {
        let text = plugin("p", &format!("priority: 0, {PINNED}, pluginName: {name}, pluginConfig: {{a: 1}}"));
        codes(&found_with(&text, &surroundings)).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((told("one"), told("two")), (vec![], vec!["config-schema".to_owned()]));
}

#[test]
fn numbers_beyond_doubles_and_modules_beyond_limits_are_told() {
    assert_eq!(codes(&found(&format!("{PINNED}, pluginConfig: {{a: [9007199254740993]}}"))), ["config-integer"]);
    assert_eq!(codes(&found(&format!("{PINNED}, pluginConfig: {{a: 9007199254740991, b: 1e300}}"))), [""; 0]);
    let module = KnownModule { size: LARGEST_PLUS_ONE, is_component: true, ..KnownModule::default() };
    let surroundings = Surroundings { modules: vec![module], ..Surroundings::default() };
    assert_eq!(
        codes(&found_with(&plugin("p", &format!("priority: 0, {PINNED}")), &surroundings)),
        ["module-size", "module-component"]
    );
}

const LARGEST_PLUS_ONE: u64 = module::LARGEST + 1;

#[test]
fn envoy_filters_are_judged() {
    let filter = |patch: &str| {
        format!("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nspec: {{configPatches: [{patch}]}}")
    };
    let found = |patch: &str| codes(&found_with(&filter(patch), &Surroundings::default())).join(" ");
    assert_eq!(found("{applyTo: BOOTSTRAP, patch: {value: {}}}"), "filter-bootstrap");
    assert_eq!(
        found("{applyTo: HTTP_FILTER, patch: {value: {typed_config: {config: {vm_config: {code: {remote: {}}}}}}}}"),
        "filter-remote"
    );
    assert_eq!(
        found(
            "{applyTo: HTTP_FILTER, patch: {value: {config_discovery: {type_urls: \
                [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]}}}}"
        ),
        "filter-fallback"
    );
}

#[test]
fn a_field_given_twice_is_told_once() {
    assert_eq!(found(&format!("{PINNED}, phase: AUTHN, phase: STATS")).len(), 1);
}

//! What istiod would answer where the API server answers otherwise.

use crate::document::{self, Kind};
use crate::istiod::check;

fn refused(spec: &str) -> Vec<String> {
    let text = format!("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec: {spec}");
    let verdict = check(&document::read(&text)[0].clone().unwrap(), Kind::WasmPlugin);
    verdict.refused.into_iter().map(|finding| format!("{} {}", finding.code, finding.path)).collect()
}

#[test]
fn protobuf_is_lax_with_numbers_and_null() {
    for spec in [
        "{url: a/b, priority: '10'}",
        "{url: a/b, priority: null, selector: null, match: null}",
        "{url: a/b, match: [{ports: [{number: '80'}]}]}",
        "{url: a/b, phase: 1, type: 2}",
        "{url: a/b, unknown: 1}",
        "{url: a/b, match: [{ports: [{number: 80.0}]}]}",
    ] {
        assert_eq!(refused(spec), [""; 0], "{spec}");
    }
}

#[test]
fn protobuf_is_strict_with_types_and_words() {
    for (spec, path) in [
        ("{url: 5}", "spec.url"),
        ("{url: a/b, phase: authn}", "spec.phase"),
        ("{url: a/b, match: [null]}", "spec.match[0]"),
        ("{url: a/b, pluginConfig: text}", "spec.pluginConfig"),
        ("{url: a/b, priority: 1.5}", "spec.priority"),
        ("{url: a/b, match: [{ports: [{number: -1}]}]}", "spec.match[0].ports[0].number"),
        ("{url: a/b, selector: {matchLabels: {app: 1}}}", "spec.selector.matchLabels.app"),
    ] {
        assert_eq!(refused(spec), [format!("istiod-decode {path}")], "{spec}");
    }
}

#[test]
fn lengths_count_bytes() {
    assert_eq!(
        refused(&format!("{{url: a/b, pluginName: {}}}", "\u{e9}".repeat(129))),
        ["istiod-length spec.pluginName"]
    );
}

#[test]
fn every_fault_is_told() {
    let spec = "{url: 's3://b', sha256: x, targetRefs: [{kind: Pod, name: ''}], vmConfig: {env: [{name: A, valueFrom: \
        1, value: x}]}}";
    assert_eq!(
        refused(spec),
        [
            "istiod-target spec.targetRefs[0]",
            "istiod-target spec.targetRefs[0]",
            "istiod-url spec.url",
            "istiod-sha256 spec.sha256",
            "istiod-env spec.vmConfig.env[0]",
        ]
    );
}

//! What the API server would answer, and how it is told.

use crate::crd::{Verdict, check};
use crate::document::{self, Kind};

fn verdict(spec: &str) -> Verdict {
    let text = format!("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n{spec}");
    check(&document::read(&text)[0].clone().unwrap(), Kind::WasmPlugin)
}

/// Code, path and place of each refusal.
fn refused(spec: &str) -> Vec<String> {
    verdict(spec).refused.iter().map(|finding| format!("{} {} {}", finding.code, finding.path, finding.at)).collect()
}

#[test]
fn every_refusal_says_where() {
    assert_eq!(refused("  url: a/b\n  sha256: xyz\n"), ["crd-pattern spec.sha256 5:11"]);
    assert_eq!(refused("  phase: AUTHN\n"), ["crd-required spec 4:3"]);
    assert_eq!(
        refused("  url: a/b\n  match:\n  - ports:\n    - number: 0\n"),
        ["crd-range spec.match[0].ports[0].number 7:15"]
    );
    assert_eq!(
        refused("  url: a/b\n  vmConfig: {env: [{name: A}, {name: A}]}\n"),
        ["crd-duplicate spec.vmConfig.env 5:38"]
    );
}

#[test]
fn types_are_strict_and_say_how_to_mend() {
    let verdict = verdict(
        "  url: a/b\n  pluginName: 5\n  priority: '5'\n  match: {}\n  selector: null\n  imagePullSecret: yes\n",
    );
    let told: Vec<_> = verdict
        .refused
        .iter()
        .map(|finding| format!("{}: {} ({})", finding.path, finding.message, finding.help))
        .collect();
    assert_eq!(
        told,
        [
            "spec.pluginName: the API server refuses it: `5` is not a text (put it in quotes)",
            "spec.priority: the API server refuses it: `5` is not a whole number (leave the quotes out)",
            "spec.match: the API server refuses it: a mapping is not a list ()",
            "spec.selector: the API server refuses it: nothing is not a mapping ()",
            "spec.imagePullSecret: the API server refuses it: `true` is not a text (put it in quotes)",
        ]
    );
}

#[test]
fn words_and_fields_are_guessed() {
    let found = verdict("  url: a/b\n  phase: AUTHZZ\n  pluginNmae: x\n");
    assert_eq!(found.refused[0].help, "did you mean `AUTHZ`?");
    assert_eq!(found.pruned[0].help, "did you mean `pluginName`?");
    assert_eq!(found.pruned[0].at.to_string(), "6:3");
    assert_eq!(verdict("  url: a/b\n  phase: UNSPECIFIED\n").refused[0].help, "did you mean `UNSPECIFIED_PHASE`?");
}

#[test]
fn lengths_count_characters() {
    assert_eq!(refused(&format!("  url: a/b\n  pluginName: {}\n", "\u{e9}".repeat(256))), [""; 0]);
    assert_eq!(refused(&format!("  url: a/b\n  pluginName: {}\n", "\u{e9}".repeat(257))).len(), 1);
}

#[test]
fn an_object_needs_a_spec() {
    let document = document::read("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\n").remove(0).unwrap();
    assert_eq!(check(&document, Kind::WasmPlugin).refused[0].code, "crd-required");
}

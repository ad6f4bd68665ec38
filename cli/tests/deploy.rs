//! `cargo wasmplugin deploy`.

use serde_json::json;
use wasmplugin_deploy::document::{self, Document};

use crate::command::{Run, Scratch, wasmplugin};
use crate::lint::module_with;

const DIGEST: &str = "sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b";

fn deploy(more: &[&str]) -> Run {
    wasmplugin(&[&["deploy", "r.example/team/hello:1.0.0", "--digest", DIGEST], more].concat())
}

fn documents(run: &Run) -> Vec<Document> {
    assert_eq!(run.code, Some(0), "{run:#?}");
    document::read(&run.out).into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_module_is_pinned_and_ordered() {
    let run = deploy(&["--namespace", "apps", "--label", "app=web", "--phase", "authn", "--match", "server:8080"]);
    assert_eq!(
        documents(&run)[0].root.to_json(),
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "TrafficExtension",
            "metadata": {"name": "hello", "namespace": "apps"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "phase": "AUTHN",
                "priority": 0,
                "match": [{"mode": "SERVER", "ports": [{"number": 8080}]}],
                "wasm": {"url": format!("oci://r.example/team/hello@{DIGEST}")},
            },
        })
    );
    assert_eq!(run.err, "");
}

#[test]
fn the_kind_follows_the_version() {
    let kind = |more: &[&str]| documents(&deploy(more))[0].kind_name().to_owned();
    assert_eq!(kind(&["--istio", "1.29"]), "WasmPlugin");
    assert_eq!(kind(&["--istio", "1.30"]), "TrafficExtension");
    assert_eq!(kind(&["--capability", "proxy_log", "--capability", "proxy_on_request_headers"]), "EnvoyFilter");
    let run = deploy(&["--capability", "proxy_log"]);
    assert!(run.code == Some(2) && run.err.contains("requests would pass without it"), "{run:#?}");
    let run = deploy(&["--istio", "1.26", "--fail-strategy", "fail-reload"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("field-too-new"), "{run:#?}");
}

#[test]
fn a_misspelt_field_is_refused_with_its_place() {
    let schema =
        json!({"type": "object", "additionalProperties": false, "properties": {"greeting": {"type": "string"}}});
    let module = Scratch::new("hello.wasm", module_with(&schema));
    let config = Scratch::new("config.yaml", "# what it says\ngreting: hi\n");
    let run = deploy(&["--module", module.path(), "--config", config.path()]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    let place = format!("{}:2:1: error[config-schema]: pluginConfig.greting: ", config.path());
    assert!(run.err.contains(&place) && run.err.contains("did you mean `greeting`?"), "{run:#?}");
    let fine = deploy(&["--module", module.path(), "--config", "{\"greeting\": \"hi\"}"]);
    assert_eq!(documents(&fine)[0].root.to_json()["spec"]["wasm"]["pluginConfig"], json!({"greeting": "hi"}));
}

#[test]
fn settings_come_from_a_resource_and_options_override_them() {
    let file = Scratch::new(
        "deploy.yaml",
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: own, resourceVersion: '5'}\n\
            spec: {url: 'oci://r.example/app:1', priority: 7, pluginConfig: {a: 1}}\n",
    );
    let run = wasmplugin(&["deploy", "--from", file.path(), "--digest", DIGEST, "--priority", "-3", "--istio", "1.20"]);
    let rendered = documents(&run)[0].root.to_json();
    assert_eq!(rendered["metadata"], json!({"name": "own"}));
    assert_eq!(rendered["spec"]["priority"], -3);
    assert_eq!(rendered["spec"]["pluginConfig"], json!({"a": 1}));
    assert_eq!(rendered["spec"]["url"], format!("oci://r.example/app@{DIGEST}"));
}

#[test]
fn credentials_become_a_secret_of_this_registry_alone() {
    let logins =
        Scratch::new("config.json", r#"{"auths": {"r.example": {"auth": "YTpi"}, "other": {"auth": "c2VjcmV0"}}}"#);
    let run = deploy(&["--pull-secret-name", "regcred", "--with-secret", logins.path(), "-n", "apps"]);
    let documents = documents(&run);
    let secret = documents[0].root.to_json();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(secret["metadata"], json!({"name": "regcred", "namespace": "apps"}));
    assert!(secret["stringData"][".dockerconfigjson"].as_str().unwrap().contains("YTpi"));
    assert!(!run.out.contains("c2VjcmV0"));
    assert_eq!(documents[1].root.to_json()["spec"]["wasm"]["imagePullSecret"], "regcred");
    let missing = wasmplugin(&[
        "deploy",
        "elsewhere.example/app:1",
        "--digest",
        DIGEST,
        "--pull-secret-name",
        "s",
        "--with-secret",
        logins.path(),
    ]);
    assert!(missing.message().contains("docker login elsewhere.example"), "{missing:#?}");
}

#[test]
fn a_singleton_changes_the_bootstrap_and_brings_its_module() {
    let module = Scratch::new("bg.wasm", module_with(&json!({})));
    let run = wasmplugin(&[
        "deploy",
        "--singleton",
        "--name",
        "bg",
        "--module",
        module.path(),
        "--workload",
        "deployment/web",
    ]);
    let documents = documents(&run);
    assert_eq!(documents.iter().map(Document::kind_name).collect::<Vec<_>>(), ["ConfigMap", "EnvoyFilter"]);
    assert!(run.out.contains("singleton: true") && run.out.contains("/var/local/wasm/bg/plugin.wasm"), "{run:#?}");
    assert!(run.err.contains("kubectl patch deployment/web") && run.err.contains("userVolumeMount"), "{run:#?}");
}

#[test]
fn what_cannot_be_deployed_is_said() {
    let offline = wasmplugin(&["deploy", "r.example/app:1", "--offline"]);
    assert!(offline.message().contains("--digest"), "{offline:#?}");
    assert_eq!(wasmplugin(&["deploy"]).code, Some(2));
    assert_eq!(deploy(&["--target", "Pod/a"]).code, Some(2));
    let http = wasmplugin(&["deploy", "https://h.example/a.wasm"]);
    assert!(http.message().contains("--module FILE"), "{http:#?}");
}

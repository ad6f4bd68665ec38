//! `cargo wasmplugin lint`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{Scratch, wasmplugin};
use crate::registry::{Kind, PASSWORD, RealRegistry, USER};

const CLEAN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: hello, namespace: apps}
spec:
  url: oci://r.example/hello@sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b
  priority: 0
";

fn lint(text: &str, more: &[&str]) -> (Option<i32>, Value) {
    let file = Scratch::new("plugin.yaml", text);
    let run = wasmplugin(&[&["lint", file.path(), "--output", "json"], more].concat());
    assert_eq!(run.err, "", "{run:#?}");
    (run.code, serde_json::from_str(&run.out).unwrap())
}

#[test]
fn nothing_to_tell_is_told_shortly() {
    let file =
        Scratch::new("plugin.yaml", format!("{CLEAN}---\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n"));
    let run = wasmplugin(&["lint", file.path()]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(run.out, "1 document: 0 errors, 0 warnings, 0 notes; 1 document of other kinds skipped\n");
}

#[test]
fn scripts_get_one_object_per_document() {
    let text =
        format!("{CLEAN}---\n{}", CLEAN.replace("hello", "second").replace("  priority: 0\n", "  phase: AUTH\n"));
    let (code, found) = lint(&text, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(found[0]["findings"], json!([]));
    assert_eq!(
        (&found[0]["crd"], &found[0]["istiod"], &found[0]["admitted"]),
        (&json!("valid"), &json!("valid"), &json!(true))
    );
    let second = &found[1];
    assert_eq!(
        (second["name"].as_str(), second["line"].as_u64(), second["kind"].as_str()),
        (Some("second"), Some(8), Some("WasmPlugin"))
    );
    assert_eq!(
        (&second["crd"], &second["istiod"], &second["admitted"]),
        (&json!("invalid"), &json!("invalid"), &json!(false))
    );
    let phase = second["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "crd-enum").unwrap();
    assert_eq!((&phase["line"], &phase["column"], &phase["path"]), (&json!(13), &json!(10), &json!("spec.phase")));
    assert_eq!(phase["help"], "did you mean `AUTHN`?");
}

#[test]
fn people_get_a_line_and_what_to_do() {
    let file = Scratch::new("plugin.yaml", CLEAN.replace("  priority: 0\n", ""));
    let run = wasmplugin(&["lint", file.path()]);
    assert_eq!(run.code, Some(0), "a warning is no failure: {run:#?}");
    let line = format!("{}:5:3: warning[priority-unset]: WasmPlugin `hello`: spec.priority: ", file.path());
    assert!(run.out.starts_with(&line), "{}", run.out);
    assert!(run.out.contains("\n  help: write `priority: 0`"), "{}", run.out);
    assert_eq!(wasmplugin(&["lint", file.path(), "--strict"]).code, Some(1));
}

#[test]
fn a_text_that_is_not_yaml_costs_one_document() {
    let (code, found) = lint(&format!("a: [1\n---\n{CLEAN}"), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(found[0]["findings"][0]["code"], "syntax");
    assert_eq!(found[1]["admitted"], true);
}

#[test]
fn a_misspelt_field_of_the_configuration_is_found_by_the_modules_schema() {
    let schema =
        json!({"type": "object", "additionalProperties": false, "properties": {"greeting": {"type": "string"}}});
    let module = Scratch::new("hello.wasm", module_with(&schema));
    let text = format!("{CLEAN}  pluginConfig:\n    greting: hi\n");
    let (code, found) = lint(&text, &["--module", module.path()]);
    assert_eq!(code, Some(1));
    let finding = &found[0]["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["line"], &finding["column"]),
        (&json!("config-schema"), &json!(8), &json!(5))
    );
    assert_eq!(finding["help"], "did you mean `greeting`?");
}

/// A module that carries that schema.
pub(crate) fn module_with(schema: &Value) -> Vec<u8> {
    let text = "(module (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\"))
        (func (export \"malloc\") (param i32) (result i32) i32.const 64))";
    wasmplugin_host::module::with_section(
        &wat::parse_str(text).unwrap(),
        wasmplugin_host::module::SCHEMA,
        schema.to_string().as_bytes(),
    )
}

#[test]
fn the_standard_input_and_folders_are_read() {
    let file = Scratch::new("plugin.yaml", CLEAN);
    let folder = std::path::Path::new(file.path()).parent().unwrap().to_str().unwrap().to_owned();
    assert_eq!(wasmplugin(&["lint", &folder]).out, "1 document: 0 errors, 0 warnings, 0 notes\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_cargo-wasmplugin"))
        .args(["lint", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(CLEAN.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 document: 0 errors, 0 warnings, 0 notes\n");
}

#[test]
fn what_cannot_be_read_is_said() {
    assert_eq!(wasmplugin(&["lint", "/nowhere"]).message(), "there is no file or folder `/nowhere`\n");
    assert_eq!(wasmplugin(&["lint"]).code, Some(2));
    let run = wasmplugin(&["lint", "--rules"]);
    assert!(run.code == Some(0) && run.out.contains("fail-open-security"), "{run:#?}");
}

/// Puts an index with one image for linux/amd64 beside the image, and returns its digest.
fn index(host: &str, child: &str, size: usize) -> String {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": child,
            "size": size,
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    })
    .to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "PUT /v2/me/a/manifests/all HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/vnd.oci.image.index.v1+json\r\ncontent-length: {}\r\n\r\n{manifest}",
        manifest.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    wasmplugin_deploy::image::digest::Digest::of(manifest.as_bytes()).to_string()
}

#[test]
fn registries_are_asked_for_images_and_schemas() {
    let registry = RealRegistry::start(Kind::default());
    let host = registry.host();
    let schema =
        json!({"type": "object", "additionalProperties": false, "properties": {"greeting": {"type": "string"}}});
    let module = Scratch::new("hello.wasm", module_with(&schema));
    let push = |image: &str, more: &[&str]| -> Value {
        let run =
            wasmplugin(&[&["push", module.path(), &format!("{host}/me/{image}"), "--output", "json"], more].concat());
        assert_eq!(run.code, Some(0), "{run:#?}");
        serde_json::from_str(&run.out).unwrap()
    };
    let image = push("a:1", &[]);
    let foreign = push("a:cncf", &["--format", "cncf"]);
    let told = |url: &str, config: &str| -> Vec<String> {
        let text = format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: a, namespace: apps}}\n\
             spec:\n  url: {url}\n  priority: 0\n  pluginConfig: {{{config}: hi}}\n"
        );
        let file = Scratch::new("plugin.yaml", text);
        let run = wasmplugin(&["lint", file.path(), "--online", "--output", "json"]);
        let found: Value = serde_json::from_str(&run.out).unwrap();
        let findings = found[0]["findings"].as_array().unwrap().iter();
        let finding =
            |finding: &Value| format!("{} {} {}", finding["code"], finding["line"], finding["help"]).replace('"', "");
        findings.map(finding).filter(|finding| !finding.starts_with("url-")).collect()
    };
    let url = image["url"].as_str().unwrap();
    assert_eq!(told(url, "greeting"), [""; 0]);
    assert_eq!(told(url, "greting"), ["config-schema 7 did you mean `greeting`?"]);
    assert!(told(&format!("oci://{host}/me/a:2"), "x")[0].starts_with("image-missing 5 push it"));
    assert!(told(foreign["url"].as_str().unwrap(), "x")[0].starts_with("image-form 5 "));
    let digest = image["digest"].as_str().unwrap();
    let answer = index(&host, digest, manifest_size(&host, digest));
    assert!(told(&format!("oci://{host}/me/a@{answer}"), "greeting")[0].starts_with("image-index 5 "));
}

#[test]
fn an_image_is_asked_for_with_the_secret_beside_its_plugin() {
    let registry = RealRegistry::start(Kind { password: true, ..Kind::default() });
    let logins = json!({"auths": {(registry.host()): {"username": USER, "password": PASSWORD}}}).to_string();
    let (module, file) = (Scratch::new("a.wasm", module_with(&json!({}))), Scratch::new("config.json", &logins));
    let image = format!("{}/me/a:1", registry.host());
    let run = wasmplugin(&["push", module.path(), &image, "--pull-secret", file.path(), "--output", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let pushed: Value = serde_json::from_str(&run.out).unwrap();
    let url = pushed["url"].as_str().unwrap();
    let plugin =
        format!("{CLEAN}  imagePullSecret: login\n").replace(CLEAN.lines().nth(4).unwrap(), &format!("  url: {url}"));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": "apps"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": logins},
    });
    let (code, found) = lint(&format!("{plugin}---\n{secret}\n"), &["--online"]);
    assert_eq!((code, &found[0]["findings"]), (Some(0), &json!([])), "{found:#}");
    let (code, found) = lint(&plugin.replace("  imagePullSecret: login\n", ""), &["--online"]);
    assert_eq!((code, &found[0]["findings"][0]["code"]), (Some(0), &json!("image-unreachable")), "{found:#}");
    assert!(!found.to_string().contains(PASSWORD));
}

fn manifest_size(host: &str, digest: &str) -> usize {
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "HEAD /v2/me/a/manifests/{digest} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         accept: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let length = answer.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[test]
fn a_thousand_documents_take_no_time() {
    let one = CLEAN.replace(
        "  priority: 0\n",
        "  pluginConfig: {a: [1, 2, {b: c}], d: text}\n  match: [{mode: \
        SERVER, ports: [{number: 80}]}]\n  vmConfig: {env: [{name: A, value: x}]}\n",
    );
    let file = Scratch::new("plugins.yaml", format!("---\n{one}").repeat(1000));
    let begun = Instant::now();
    let run = wasmplugin(&["lint", file.path()]);
    let took = begun.elapsed();
    println!("1000 documents: {took:?}");
    assert_eq!(run.code, Some(0), "{}", run.err);
    // A second is the aim; other tests, and other builds, run beside this one.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

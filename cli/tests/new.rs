//! `cargo wasmplugin new`, and `build`, `check` and `test` of what it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use wasmplugin_host::module::{Module, SBOM};

use crate::command::{Run, command, finish, target, wasmplugin, wasmplugin_in, workspace};

/// A new package that takes the crates from this repository; below a folder that stays the same from run to run, so that
/// what it depends on is compiled once.
fn package(below: &str, name: &str, template: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(below).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    let repository = workspace().to_str().unwrap();
    let run = wasmplugin(&["new", path.to_str().unwrap(), "--template", template, "--repository", repository]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.out.starts_with(&format!("made `{name}`; next: cd ")), "{run:#?}");
    // The versions that this repository has, so that nothing has to be fetched.
    fs::copy(workspace().join("Cargo.lock"), path.join("Cargo.lock")).unwrap();
    path
}

/// Compiled quickly instead of for speed: these tests run little.
fn unoptimised(package: &Path) {
    rewrite(&package.join("Cargo.toml"), |manifest| manifest.replace("opt-level = 2", "opt-level = 0"));
}

/// Leaves the tests that link the plugin in: for the others Wasmtime is compiled once more, which takes eight minutes of CPU.
fn natively(package: &Path) {
    rewrite(&package.join("Cargo.toml"), |manifest| {
        manifest.replace(r#"["native", "wasm", "envoy"]"#, r#"["native"]"#)
    });
    rewrite(&package.join("tests/engines.rs"), |tests| {
        let (native, others) = tests.split_once("#[test]\nfn wasm()").unwrap();
        assert!(others.contains("fn envoy()"));
        native.replace("use std::path::PathBuf;\n", "").replace("use wasmplugin_host::module::build;\n", "")
    });
}

fn rewrite(file: &Path, how: impl FnOnce(&str) -> String) {
    let before = fs::read_to_string(file).unwrap();
    let after = how(&before);
    assert_ne!(before, after);
    fs::write(file, after).unwrap();
}

fn test(package: &Path, arguments: &[&str]) -> Run {
    let mut test = command(&[&["test"], arguments].concat());
    test.current_dir(package).env("CARGO_PROFILE_DEV_DEBUG", "false");
    finish(test.env("CARGO_TARGET_DIR", target().join("packages")))
}

/// A package for HTTP and the module that it was built into, once for all tests.
pub(crate) fn built() -> &'static (PathBuf, Vec<u8>, Value) {
    static BUILT: OnceLock<(PathBuf, Vec<u8>, Value)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let package = package("one", "require-header", "http");
        let (bytes, told) = module(&package);
        (package, bytes, told)
    })
}

/// The module of a package, and what was told about it.
fn module(package: &Path) -> (Vec<u8>, Value) {
    let out = package.join("made/out.wasm");
    let run = wasmplugin_in(package, &["build", "--out", out.to_str().unwrap(), "--output", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    (fs::read(out).unwrap(), serde_json::from_str(&run.out).unwrap())
}

/// With `ENGINES=all` in the environment on all three engines, as the packages are made.
#[test]
fn every_new_package_passes_its_own_tests() {
    let all = std::env::var("ENGINES").is_ok_and(|engines| engines == "all");
    for (template, own) in [
        ("http", "tests::a_wrong_status_refuses_the_configuration"),
        ("tcp", "tests::an_empty_preface_refuses_the_configuration"),
        ("singleton", "tests::a_cluster_needs_a_name"),
    ] {
        let package = package("tests", &format!("new-{template}"), template);
        unoptimised(&package);
        if !all {
            natively(&package);
        }
        let run = test(&package, &["--output", "json"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        let tests: &[&str] = if all { &["envoy", "native", own, "wasm"] } else { &["native", own] };
        assert_eq!(passed(&run), tests, "{run:#?}");
        let run = test(&package, &["--engine", "native", "--output", "json", "tests::"]);
        assert_eq!((run.code, passed(&run)), (Some(0), vec![own.to_owned()]), "{run:#?}");
        let run = test(&package, &["--engine", "wasm,envoy", "tests::"]);
        assert!(run.code == Some(1) && run.err.contains("has no such test for `wasm` or `envoy`"), "{run:#?}");
    }
}

/// The names of the tests that have passed, where none has failed.
fn passed(run: &Run) -> Vec<String> {
    let told: Value = serde_json::from_str(&run.out).unwrap();
    let count = |what: &str| told.get(what).and_then(Value::as_u64);
    assert_eq!((count("failed"), count("ignored")), (Some(0), Some(0)), "{told}");
    let tests = told.get("tests").and_then(Value::as_array).unwrap();
    let mut names: Vec<_> = tests.iter().filter_map(|test| test.get("name")?.as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_package_becomes_the_same_module_in_every_folder() {
    let (one, first, told) = built();
    let (second, again) = module(&package("another/place", "require-header", "http"));
    assert!(*first == second, "{} and {} bytes", first.len(), second.len());
    assert_eq!(told["sizes"], again["sizes"]);
    assert_eq!(told["size"], first.len());
    let callbacks = told["callbacks"].as_array().unwrap();
    assert!(callbacks.iter().any(|callback| callback == "proxy_on_request_headers"), "{told}");
    assert!(!callbacks.iter().any(|callback| callback == "proxy_on_response_body"), "{told}");

    let module = Module::from_bytes("built", first.clone()).unwrap();
    let info = module.info();
    let schema = info.schema.clone().unwrap();
    assert_eq!(schema["properties"]["status"]["description"], "The status of a refusal, from 400 to 599.");
    assert_eq!(info.metadata.clone().unwrap()["name"], "require-header");
    let sections: Vec<_> = info.custom_sections.iter().map(|(name, _)| name.as_str()).collect();
    assert!(sections.contains(&SBOM), "{sections:?}");

    // Another salt, other bytes; the plugin is the same.
    let salted = one.join("made/salted.wasm");
    let run = wasmplugin_in(one, &["build", "--out", salted.to_str().unwrap(), "--salt", "blue"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.out.contains("ABI 0.2.1, called for ") && fs::read(&salted).unwrap().starts_with(first), "{run:#?}");
    assert_ne!(fs::read(&salted).unwrap(), *first);

    // The package in the folder, with the configuration that its README's resource has, and with a wrong one.
    let run = wasmplugin_in(one, &["check", "--config", r#"{"requiredHeader": "x-user"}"#]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(!run.out.contains("[panic]: src/"), "{run:#?}");
    let run = wasmplugin_in(one, &["check", "--config", r#"{"requiredHeader": "x-user", "status": 200}"#]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.out.contains("error[configuration]: "), "{run:#?}");
    assert!(run.out.contains("at `status`: `200` is not from 400 to 599"), "{run:#?}");
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = wasmplugin(&["new", &path("Bad_Name")]);
    assert!(run.message().starts_with("`Bad_Name` cannot be a plugin's name"), "{run:#?}");
    fs::create_dir(folder.path().join("taken")).unwrap();
    let run = wasmplugin(&["new", &path("taken")]);
    assert!(run.message().contains("is there already"), "{run:#?}");
    let run = wasmplugin(&["new", &path("good"), "--repository", &path("taken")]);
    assert!(run.message().contains("is no copy of wasmplugin's repository"), "{run:#?}");
    assert!(!folder.path().join("good").exists());
    let run = wasmplugin(&["new", &path("good"), "--output", "json"]);
    let told: Value = serde_json::from_str(&run.out).unwrap();
    assert!(told["files"].as_array().unwrap().contains(&"src/lib.rs".into()), "{told}");
    assert!(fs::read_to_string(path("good/Cargo.toml")).unwrap().contains(r#"wasmplugin = { version = ""#));
    let run = wasmplugin(&["lint", &path("good/deploy.yaml")]);
    assert!(run.code == Some(0) && run.out.contains(" 0 errors"), "{run:#?}");
    assert_eq!(fs::read_dir(folder.path().join("taken")).unwrap().count(), 0);
}

#[test]
fn a_misspelt_field_is_refused_with_its_place() {
    let (package, ..) = built();
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "# who may come in\nrequiredHeadr: x-user\n").unwrap();
    let run = wasmplugin_in(package, &["check", "made/out.wasm", "--config", config.to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let place = format!("  {}:2:1: error[configuration]: `requiredHeadr`: ", config.display());
    assert!(run.out.contains(&place) && run.out.contains("help: did you mean `requiredHeader`?"), "{run:#?}");
}

#[test]
fn what_cannot_be_built_is_told_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let run = wasmplugin_in(folder.path(), &["build"]);
    assert!(run.message().contains("could not find `Cargo.toml`"), "{run:#?}");
    let run = wasmplugin(&["build", "--package", "hallo"]);
    assert!(run.message().contains("there is no package `hallo` in the workspace"), "{run:#?}");
    let run = wasmplugin(&["build", "--package", "wasmplugin-host"]);
    assert!(run.message().contains("makes no module: add `[lib] crate-type"), "{run:#?}");
}

//! `cargo wasmplugin check`.

use serde_json::Value;

use crate::command::{Scratch, wasmplugin};

/// A module that Envoy loads if it finds this import.
fn importing(import: &str) -> Scratch {
    let text = format!(
        r#"(module {import} (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 0))"#
    );
    Scratch::new("module.wasm", wat::parse_str(text).unwrap())
}

/// The one finding with that code.
fn finding(out: &str, code: &str) -> Value {
    let told: Value = serde_json::from_str(out).unwrap();
    let findings = told.get("findings").and_then(Value::as_array).unwrap().iter();
    let mut found = findings.filter(|finding| finding.get("code").is_some_and(|known| known == code));
    let (Some(one), None) = (found.next(), found.next()) else { panic!("one `{code}` is expected: {told}") };
    one.clone()
}

#[test]
fn an_import_that_no_proxy_has_is_an_error() {
    let module = importing(r#"(import "env" "proxy_make_coffee" (func))"#);
    let run = wasmplugin(&["check", module.path(), "--output", "json"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let found = finding(&run.out, "module");
    assert_eq!(found["severity"], "error");
    assert!(found["message"].as_str().unwrap().contains("`env.proxy_make_coffee`"), "{found}");
    let run = wasmplugin(&["check", module.path()]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.out.contains("  error[module]: "), "{run:#?}");
}

#[test]
fn an_import_that_older_proxies_lack_is_a_warning() {
    let module = importing(r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#);
    let run = wasmplugin(&["check", module.path(), "--output", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let found = finding(&run.out, "old-envoy");
    assert_eq!(found["severity"], "warning");
    assert!(found["message"].as_str().unwrap().contains("`sched_yield`"), "{found}");
    let fine = importing(r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#);
    let run = wasmplugin(&["check", fine.path()]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.out.contains("nothing was found"), "{run:#?}");
}

#[test]
fn a_configuration_is_tried() {
    let run = wasmplugin(&["modules", "rate-limit", "--output", "json"]);
    let built: Value = serde_json::from_str(&run.out).unwrap();
    let path = built[0]["path"].as_str().unwrap();
    let good = r#"{"header": "x-user", "limit": {"per_second": 1, "burst": 2}}"#;
    let run = wasmplugin(&["check", path, "--config", good]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    // What the schema knows is told with its place, before anything is started.
    let misspelt = Scratch::new("config.yaml", "header: x-user\nlimit:\n  per_secnd: 1\n  per_second: 1\n  burst: 2\n");
    let run = wasmplugin(&["check", path, "--config", misspelt.path(), "--output", "json"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let found = finding(&run.out, "configuration");
    assert_eq!((&found["file"], &found["line"], &found["column"]), (&misspelt.path().into(), &3.into(), &3.into()));
    assert_eq!(found["help"], "did you mean `per_second`?", "{found}");
    let run = wasmplugin(&["check", path, "--config", misspelt.path()]);
    assert!(
        run.out.contains(&format!("  {}:3:3: error[configuration]: `limit.per_secnd`: ", misspelt.path())),
        "{run:#?}"
    );
    let run = wasmplugin(&["check", path, "--config", "missing.json"]);
    assert!(run.message().starts_with("cannot read the configuration `missing.json`"), "{run:#?}");
}

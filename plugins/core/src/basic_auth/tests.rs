//! Who gets in, by host, path, method and credentials.

use serde_json::{Value, json};

use super::*;

fn compile(rules: Value) -> Result<BasicAuth, Finding> {
    BasicAuth::new(&serde_json::from_value(json!({"basic_auth_rules": rules})).unwrap())
}

fn rule() -> Value {
    json!({"prefix": "/admin", "request_methods": ["GET", "POST"], "credentials": ["ok:test", "YWRtaW46YWRtaW4="]})
}

/// The old extension's own table, and the spellings that it let through.
fn check(rules: Value, authority: &str, path: &str, method: &str, authorization: Option<&str>) -> Result<(), Refusal> {
    let facts = Facts {
        authority: authority.as_bytes(),
        path: path.as_bytes(),
        method: method.as_bytes(),
        authorization: authorization.map(str::as_bytes),
    };
    compile(rules).unwrap().check(&facts)
}

fn with(change: Value) -> Value {
    let mut rule = rule();
    for (key, value) in change.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!([rule])
}

const GOOD: &str = "Basic b2s6dGVzdA==";

#[test]
fn good_credentials_pass_in_both_forms() {
    for authorization in [GOOD, "Basic YWRtaW46YWRtaW4="] {
        assert_eq!(check(json!([rule()]), "a", "/admin", "GET", Some(authorization)), Ok(()));
    }
}

#[test]
fn others_are_refused_and_told_apart() {
    for (authorization, refusal) in [
        (None, Refusal::Missing),
        (Some(""), Refusal::Missing),
        (Some("Bearer b2s6dGVzdA=="), Refusal::Missing),
        (Some("basic b2s6dGVzdA=="), Refusal::Missing),
        (Some("Basic"), Refusal::Missing),
        (Some("Basic "), Refusal::Wrong),
        (Some("Basic b2s6dGVzdA"), Refusal::Wrong),
        (Some("Basic b2s6dGVzdB=="), Refusal::Wrong),
        (Some("Basic b2s6dGVzdA== "), Refusal::Wrong),
        (Some("Basic ok:test"), Refusal::Wrong),
    ] {
        assert_eq!(check(json!([rule()]), "a", "/admin", "GET", authorization), Err(refusal), "{authorization:?}");
    }
}

#[test]
fn what_no_rule_matches_passes() {
    for (path, method) in [("/", "GET"), ("/adm", "GET"), ("/admin", "PUT"), ("/x/admin", "GET")] {
        assert_eq!(check(json!([rule()]), "a", path, method, None), Ok(()), "{method} {path}");
    }
    assert_eq!(check(json!([]), "a", "/admin", "GET", None), Ok(()));
}

#[test]
fn no_other_spelling_gets_around_a_rule() {
    for path in ["/admin", "/administration", "/admin?a", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/%2Fadmin"]
    {
        assert_eq!(check(json!([rule()]), "a", path, "GET", None), Err(Refusal::Missing), "{path}");
    }
}

#[test]
fn the_path_is_compared_with_its_query() {
    let exact = with(json!({"prefix": null, "exact": "/a?b"}));
    assert_eq!(check(exact.clone(), "a", "/a?b", "GET", None), Err(Refusal::Missing));
    assert_eq!(check(exact, "a", "/a", "GET", None), Ok(()));
    let suffix = with(json!({"prefix": null, "suffix": "wordpress"}));
    assert_eq!(check(suffix.clone(), "a", "/x/wordpress", "GET", None), Err(Refusal::Missing));
    assert_eq!(check(suffix, "a", "/wordpress/x", "GET", None), Ok(()));
}

#[test]
fn hosts_match_whatever_their_port_and_case() {
    let hosts = with(json!({"hosts": ["localhost", "*.example", "ide.*", "[::1]"]}));
    for host in
        ["localhost", "localhost:80", "LocalHost", "localhost.", "localhost.:8080", "a.example", "ide.org", "[::1]:80"]
    {
        assert_eq!(check(hosts.clone(), host, "/admin", "GET", None), Err(Refusal::Missing), "{host}");
    }
    for host in ["example", "localhosts", "[::2]:80", "", "a.ide.org"] {
        assert_eq!(check(hosts.clone(), host, "/admin", "GET", None), Ok(()), "{host}");
    }
    assert_eq!(check(with(json!({"hosts": ["*"]})), "x", "/admin", "GET", None), Err(Refusal::Missing));
    for pattern in ["A.example:8080", "a.example.", "*.example.", "a.example:*", "*:8080"] {
        let hosts = with(json!({"hosts": [pattern]}));
        assert_eq!(check(hosts, "a.example:8080", "/admin", "GET", None), Err(Refusal::Missing), "{pattern}");
    }
}

#[test]
fn methods_match_whatever_their_case() {
    for (written, sent) in [("get", "GET"), ("GET", "get")] {
        let rules = with(json!({"request_methods": [written]}));
        assert_eq!(check(rules, "a", "/admin", sent, None), Err(Refusal::Missing), "{written} {sent}");
    }
}

#[test]
fn every_rule_that_matches_has_to_be_met() {
    let mut stricter = rule();
    stricter["prefix"] = json!("/admin/root");
    stricter["credentials"] = json!(["root:secret"]);
    let rules = json!([rule(), stricter]);
    assert_eq!(check(rules.clone(), "a", "/admin/x", "GET", Some(GOOD)), Ok(()));
    assert_eq!(check(rules, "a", "/admin/root", "GET", Some(GOOD)), Err(Refusal::Wrong));
}

#[test]
fn what_is_wrong_in_a_rule_is_said_with_its_place_and_no_secret() {
    for (change, place) in [
        (json!({"exact": "/"}), "basic_auth_rules[0]"),
        (json!({"prefix": null}), "basic_auth_rules[0]"),
        (json!({"request_methods": []}), "basic_auth_rules[0].request_methods"),
        (json!({"credentials": []}), "basic_auth_rules[0].credentials"),
        (json!({"credentials": ["a:b", ""]}), "basic_auth_rules[0].credentials"),
        (json!({"credentials": ["a:b", "hunter2"]}), "basic_auth_rules[0].credentials[1]"),
        (json!({"credentials": ["aHVudGVyMg=="]}), "basic_auth_rules[0].credentials[0]"),
    ] {
        let finding = compile(with(change)).unwrap_err();
        assert_eq!(finding.path(), place);
        assert!(!finding.to_string().contains("hunter2"), "{finding}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let compiled = compile(json!([rule()])).unwrap();
    assert_eq!(compiled.challenge(), "Basic realm=istio");
    assert!(!format!("{compiled:?}").contains("test"));
}

//! What is refused as configuration, with its place; and what is made of the rest.

use serde_json::{Value, json};

use super::super::fixtures::hmac_keys;
use super::*;

fn compiled(rule: Value) -> Result<Vec<Rule>, String> {
    let config = json!({ "policies": [{ "metadata": {}, "spec": { "jwtRules": [rule] } }] });
    parsed(&config.to_string())
}

fn parsed(config: &str) -> Result<Vec<Rule>, String> {
    let config = Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
    compile(&config).map(|(rules, _)| rules).map_err(|error| error.to_string())
}

#[test]
fn what_the_admission_webhook_refuses_is_refused_with_its_place() {
    let long = format!("https://idp/{}", "a".repeat(2048));
    for (field, value, path, reason) in [
        ("issuer", json!(""), "issuer", "empty"),
        ("audiences", json!(["a", ""]), "audiences[1]", "empty"),
        ("fromParams", json!([""]), "fromParams[0]", "empty"),
        ("fromCookies", json!([""]), "fromCookies[0]", "empty"),
        ("spaceDelimitedClaims", json!([""]), "spaceDelimitedClaims[0]", "empty"),
        ("spaceDelimitedClaims", json!(vec!["a"; 65]), "spaceDelimitedClaims", "more than 64"),
        ("fromHeaders", json!([{"name": ""}]), "fromHeaders[0].name", "not the name of a header"),
        ("fromHeaders", json!([{"name": "a b"}]), "fromHeaders[0].name", "`a b`"),
        ("outputPayloadToHeader", json!("a:b"), "outputPayloadToHeader", "`a:b`"),
        ("outputClaimToHeaders", json!([{"header": "x.y", "claim": "c"}]), "outputClaimToHeaders[0].header", "`x.y`"),
        (
            "outputClaimToHeaders",
            json!([{"header": "", "claim": "c"}]),
            "outputClaimToHeaders[0].header",
            "not the name",
        ),
        ("outputClaimToHeaders", json!([{"header": "x", "claim": ""}]), "outputClaimToHeaders[0].claim", "empty"),
        ("jwksUri", json!("ftp://idp"), "jwksUri", "begins neither with"),
        ("jwksUri", json!(long), "jwksUri", "longer than 2048"),
        ("timeout", json!("0s"), "timeout", "`1ms`"),
        ("timeout", json!("5"), "timeout", "`5` is no span"),
        ("jwks", json!("{}"), "jwks", "Jwks does not have [keys] field"),
        ("jwks", json!({"keys": []}), "jwks", "must be a text, and is an object"),
        ("audience", json!("x"), "audience", "unknown field"),
        ("fromHeaders", json!([{"name": "a", "prefiks": "b"}]), "fromHeaders[0].prefiks", "unknown field"),
    ] {
        let mut rule = json!({"issuer": "https://idp"});
        rule[field] = value.clone();
        let error = compiled(rule).map(|rules| rules.len()).unwrap_err();
        let place = format!("`policies[0].spec.jwtRules[0].{path}`: ");
        assert!(error.starts_with(&place) && error.contains(reason), "{field} {value}: {error}");
    }
    assert!(compiled(json!({"jwks": hmac_keys()})).unwrap_err().contains("jwksUri"));
    assert!(compiled(json!(null)).unwrap_err().contains("jwtRules[0]"));
}

#[test]
fn the_frame_is_checked_too() {
    for (config, path, reason) in [
        ("{", "", "is not JSON"),
        ("[]", "", "must be an object"),
        ("{} x", "", "expected the end"),
        (r#"{"policies":[[]]}"#, "policies[0]", "must be an object, and is a list"),
        (r#"{"policies":[{"spec":[]}]}"#, "policies[0].spec", "must be an object, and is a list"),
        (
            r#"{"policies":[{"spec":{"jwtRules":[["a"]]}}]}"#,
            "policies[0].spec.jwtRules[0]",
            "must be an object, and is a list",
        ),
        (
            r#"{"policies":[{"spec":{"jwtRules":[{"issuer":"a","issuer":"b"}]}}]}"#,
            "jwtRules[0].issuer",
            "is given twice",
        ),
        (r#"{"workload":[]}"#, "workload", "must be an object, and is a list"),
        (r#"{"workload":{"labels":{"app":"a"}}}"#, "`workload.namespace`", "must be given"),
        (
            r#"{"policies":[{"spec":{"jwtRules":[]}}],"workload":{"namespace":"a"}}"#,
            "`policies[0].metadata.namespace`",
            "must be given",
        ),
        (r#"{"policy":[]}"#, "policy", "unknown field"),
        (r#"{"policies":[{"spec":{"jwtRule":[]}}]}"#, "policies[0].spec.jwtRule", "unknown field"),
        (
            r#"{"policies":[{"spec":{"selector":{"matchExpressions":[]}}}]}"#,
            "selector.matchExpressions",
            "unknown field",
        ),
        (
            r#"{"policies":[{"spec":{"selector":{},"targetRefs":[{"kind":"a","name":"b"}]}}]}"#,
            "policies[0].spec",
            "only one of",
        ),
        (r#"{"jwksFetch":{"cacheDuration":"10ms"}}"#, "jwksFetch.cacheDuration", "`10ms`"),
        (r#"{"verdictCache":{"tokens":-1}}"#, "verdictCache.tokens", "`-1` is no whole number"),
        (r#"{"verdictCache":{"bytes":"1"}}"#, "verdictCache.bytes", "must be a number"),
        (r#"{"policies":[{"sepc":{}}]}"#, "policies[0].sepc", "unknown field"),
        (r#"{"jwksFetch":{"cacheDuration":"x"}}"#, "jwksFetch.cacheDuration", "`x`"),
    ] {
        let error = parsed(config).map(|rules| rules.len()).unwrap_err();
        assert!(error.contains(path) && error.contains(reason), "{config}: {error}");
    }
    let many = json!({ "policies": [{ "spec": { "jwtRules": vec![json!({"issuer": "a"}); 4097] } }] });
    assert!(parsed(&many.to_string()).unwrap_err().contains("more than 4096 rules"));
}

#[test]
fn rules_of_all_policies_are_merged_and_sorted_by_issuer() {
    let rule = |issuer: &str, audience: &str| json!({"issuer": issuer, "audiences": [audience], "jwks": hmac_keys()});
    let config = json!({
        "policies": [
            { "metadata": {"namespace": "a"}, "spec": { "jwtRules": [rule("c", "1"), rule("a", "2")] } },
            { "metadata": {"namespace": "x"}, "spec": { "jwtRules": [rule("0", "3")] } },
            { "metadata": {"namespace": "istio-system"}, "spec": { "jwtRules": [rule("b", "4"), rule("a", "5")] } },
        ],
        "workload": {"namespace": "a"},
    });
    let rules = parsed(&config.to_string()).unwrap();
    let order: Vec<_> = rules.iter().map(|rule| (rule.issuer.as_str(), rule.audiences[0].as_str())).collect();
    assert_eq!(order, [("a", "2"), ("a", "5"), ("b", "4"), ("c", "1")]);
    assert!(parsed("").unwrap().is_empty());
}

#[test]
fn audiences_are_compared_without_scheme_and_trailing_slash() {
    let rules = compiled(json!({"issuer": "i", "jwks": hmac_keys(), "audiences": ["https://a/", "b"]})).unwrap();
    let accepts = |audience: &str| rules[0].accepts_audience(&[audience.to_owned()]);
    for good in ["a", "a/", "http://a", "https://a/", "b", "http://b/"] {
        assert!(accepts(good), "{good}");
    }
    for bad in ["", "A", "a//", "ftp://a", "https://http://a", "c", "*"] {
        assert!(!accepts(bad), "{bad}");
    }
    assert!(!rules[0].accepts_audience(&[]));
    assert!(rules[0].accepts_audience(&["c".to_owned(), "b".to_owned()]));
}

#[test]
fn keys_are_inline_fetched_discovered_or_nowhere() {
    let keys = |rule: Value| compiled(rule).map(|mut rules| rules.remove(0).keys).unwrap();
    assert!(matches!(keys(json!({"issuer": "i", "jwks": hmac_keys(), "jwksUri": "https://h/"})), Keys::Inline(_)));
    assert!(matches!(keys(json!({"issuer": "i", "jwks": "", "jwks_uri": "https://h/"})), Keys::Remote(0)));
    assert!(matches!(keys(json!({"jwksUri": "https://h/"})), Keys::Remote(0)));
    assert!(matches!(keys(json!({"issuer": "https://h"})), Keys::Remote(0)));
    assert!(matches!(keys(json!({"issuer": "me@example.com"})), Keys::Nowhere));
}

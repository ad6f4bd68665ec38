//! What a configuration may look like, and that a list is no object anywhere in it.

use serde_json::{Value, json};

use super::*;

/// Every kind of object and list that a configuration can have.
fn whole() -> Value {
    json!({
        "policies": [{
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "status": {"any": [1]},
            "metadata": {"name": "p", "namespace": "n", "annotations": {"istio.io/dry-run": "false"}, "labels": {"a": "b"}},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "action": "CUSTOM",
                "provider": {"name": "authz"},
                "rules": [{
                    "from": [{"source": {"remoteIpBlocks": ["10.0.0.0/8"], "notIpBlocks": ["::/0"]}}],
                    "to": [{"operation": {"paths": ["/a"]}}],
                    "when": [{"key": "request.headers[a]", "values": ["b"], "notValues": ["c"]}],
                }],
            },
        }, {
            "metadata": {"name": "q", "namespace": "n"},
            "spec": {"targetRef": {"kind": "Gateway", "name": "g"}, "targetRefs": [{"group": "", "kind": "", "name": "h"}]},
        }],
        "rootNamespace": "root",
        "trustDomain": "td",
        "trustDomainAliases": ["old"],
        "sourceIp": {"filterState": "peer"},
        "peerPrincipals": {"filterState": "names"},
        "providers": {"authz": {"cluster": "c", "includeRequestHeadersInCheck": ["a"], "failOpen": true}},
        "protocol": "http",
        "workload": {"namespace": "n", "labels": {"app": "web"}},
    })
}

fn refusal(config: &Value) -> Option<Finding> {
    let text = config.to_string();
    let all = Config::read(text.as_bytes()).and_then(|config| config.policies(&mut |_, _| Ok(())));
    all.err()
}

/// Calls with the configuration in which one value in it was changed, for every value.
fn with_each(value: &Value, change: &dyn Fn(&Value) -> Option<Value>, then: &mut dyn FnMut(Value, String)) {
    if let Some(changed) = change(value) {
        then(changed, String::new());
    }
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (format!("/{name}"), value)).collect(),
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| (format!("/{index}"), value)).collect()
        }
        _ => return,
    };
    for (step, element) in inner {
        let step = step.replace("istio.io/dry-run", "istio.io~1dry-run");
        with_each(element, change, &mut |changed, place| {
            let mut whole = value.clone();
            *whole.pointer_mut(&step).unwrap() = changed;
            then(whole, step.clone() + &place);
        });
    }
}

/// What nothing here reads may be anything.
fn free(place: &str) -> bool {
    ["/status", "/apiVersion", "/metadata/labels"].iter().any(|part| place.contains(part))
}

#[test]
fn a_list_is_no_object_however_many_elements_it_has() {
    assert_eq!(refusal(&whole()), None);
    let mut tried = 0;
    for length in 0..9 {
        let listed = |value: &Value| value.is_object().then(|| json!(vec![Value::Null; length]));
        with_each(&whole(), &listed, &mut |config, place| {
            if !free(&place) {
                tried += 1;
                assert!(refusal(&config).is_some(), "{place} as a list of {length}");
            }
        });
    }
    assert!(tried > 9 * 15, "{tried}");
}

#[test]
fn an_object_is_no_list_and_no_text() {
    for other in [json!({}), json!({"0": "a"}), json!(1), json!(true)] {
        let changed = |value: &Value| (value.is_array() || value.is_string()).then(|| other.clone());
        with_each(&whole(), &changed, &mut |config, place| {
            assert!(free(&place) || refusal(&config).is_some(), "{place} as {other}");
        });
    }
}

#[test]
fn a_field_that_nobody_knows_is_refused_everywhere() {
    let changed = |value: &Value| {
        let mut object = value.as_object()?.clone();
        object.insert("unknwon".to_owned(), json!({}));
        Some(object.into())
    };
    with_each(&whole(), &changed, &mut |config, place| {
        let users = ["/metadata", "/annotations", "/matchLabels", "/labels", "/providers"];
        if !free(&place) && !users.iter().any(|end| place.ends_with(end)) {
            let finding = refusal(&config).unwrap_or_else(|| panic!("{place} takes any field"));
            assert!(finding.path().ends_with("unknwon"), "{finding}");
        }
    });
}

#[test]
fn nothing_counts_twice() {
    for (text, place) in [
        (r#"{"trustDomain": "a", "trustDomain": "b"}"#, "trustDomain"),
        (r#"{"policies": [], "polic\u0069es": []}"#, "policies"),
        (r#"{"workload": {"namespace": "n", "labels": {"a": "b", "a": "c"}}}"#, "workload.labels[a]"),
        (
            r#"{"policies": [{"metadata": {"name": "p", "namespace": "n"}, "spec": {"rules": [{"to": [{"operation": {"paths": ["/a"], "paths": []}}]}]}}]}"#,
            "policies[0].spec.rules[0].to[0].operation.paths",
        ),
    ] {
        let finding = Config::read(text.as_bytes()).and_then(|config| config.policies(&mut |_, _| Ok(()))).unwrap_err();
        assert_eq!(finding.to_string(), format!("`{place}`: is given twice"));
    }
}

#[test]
fn null_is_as_good_as_nothing() {
    let nulls = json!({"policies": null, "workload": null, "sourceIp": null, "providers": null, "protocol": null});
    assert_eq!(refusal(&nulls), None);
    for nothing in ["", " ", "{}"] {
        assert!(Config::read(nothing.as_bytes()).unwrap().policies.is_none(), "{nothing:?}");
    }
    assert!(Config::read(b"null").is_err());
}

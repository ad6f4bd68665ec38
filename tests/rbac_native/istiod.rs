//! Authorization policies as istiod writes them for Envoy's `rbac` filter: a rule becomes a policy of permissions and
//! principals, both trees of AND, OR and NOT.

use serde_json::{Map, Value, json};
use wasmplugin_host::envoy::config::typed;

/// Where `jwt_authn` leaves a token's claims.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// The filter of one action, which only says what it would do: under `<action>_shadow_..` in the metadata.
pub(super) fn native(action: &str, policies: &[Value]) -> Value {
    let chosen = policies.iter().filter(|policy| policy["spec"]["action"] == action);
    let rules = chosen.flat_map(|policy| {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let rules = policy["spec"]["rules"].as_array().unwrap().iter().enumerate();
        rules.map(move |(place, rule)| (format!("ns[foo]-policy[{name}]-rule[{place}]"), self::rule(rule)))
    });
    let rules: Map<_, _> = rules.collect();
    let config = json!({
        "shadow_rules": {"action": action, "policies": rules},
        "shadow_rules_stat_prefix": format!("{action}_"),
    });
    let message = "envoy.extensions.filters.http.rbac.v3.RBAC";
    json!({"name": "envoy.filters.http.rbac", "typed_config": typed(message, config)})
}

fn rule(rule: &Value) -> Value {
    let conditions = || rule["when"].as_array().into_iter().flatten();
    let entries = |part: &str, inner: &str| -> Vec<Value> {
        let entries = rule[part].as_array().into_iter().flatten().map(|entry| entry[inner].clone());
        let entries: Vec<_> = entries.collect();
        // Without entries the conditions stand alone.
        if entries.is_empty() { vec![json!({})] } else { entries }
    };
    let tree = |side: Side, entry: &Value| {
        let mut all = Vec::new();
        for (field, values) in entry.as_object().unwrap() {
            let (name, negative) = positive(field);
            all.push(side.any(values, negative, &|value| matcher(&name, value)));
        }
        for condition in conditions() {
            let key = condition["key"].as_str().unwrap();
            if side_of(key) != side {
                continue;
            }
            for (values, negative) in [(&condition["values"], false), (&condition["notValues"], true)] {
                if values.is_array() {
                    all.push(side.any(values, negative, &|value| matcher(key, value)));
                }
            }
        }
        side.all(all)
    };
    let permissions: Vec<_> = entries("to", "operation").iter().map(|entry| tree(Side::Permission, entry)).collect();
    let principals: Vec<_> = entries("from", "source").iter().map(|entry| tree(Side::Principal, entry)).collect();
    json!({"permissions": permissions, "principals": principals})
}

/// `notPaths` is `paths`, negative.
fn positive(field: &str) -> (String, bool) {
    match field.strip_prefix("not") {
        Some(rest) => {
            let (first, rest) = rest.split_at(1);
            (first.to_ascii_lowercase() + rest, true)
        }
        None => (field.to_owned(), false),
    }
}

/// The two trees of a policy; what says what is asked for, and who asks.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Permission,
    Principal,
}

fn side_of(key: &str) -> Side {
    if key.starts_with("destination.") || key == "connection.sni" { Side::Permission } else { Side::Principal }
}

impl Side {
    fn word(self, permission: &'static str, principal: &'static str) -> &'static str {
        if self == Self::Permission { permission } else { principal }
    }

    fn all(self, parts: Vec<Value>) -> Value {
        let (all, inner) = (self.word("and_rules", "and_ids"), self.word("rules", "ids"));
        if parts.is_empty() { json!({"any": true}) } else { json!({ all: { inner: parts } }) }
    }

    fn any(self, values: &Value, negative: bool, matcher: &dyn Fn(&str) -> Value) -> Value {
        let (any, inner) = (self.word("or_rules", "or_ids"), self.word("rules", "ids"));
        let values: Vec<_> = values.as_array().unwrap().iter().map(|value| matcher(value.as_str().unwrap())).collect();
        let any = json!({ any: { inner: values } });
        if negative { json!({ self.word("not_rule", "not_id"): any }) } else { any }
    }
}

/// What matches one value of a field or a condition.
fn matcher(field: &str, value: &str) -> Value {
    match field {
        "hosts" => header(":authority", value, true),
        "methods" => header(":method", value, false),
        "paths" if value.contains("{*}") || value.contains("{**}") => template(value),
        "paths" => json!({"url_path": {"path": text(value)}}),
        "ports" | "destination.port" => json!({"destination_port": value.parse::<u16>().unwrap()}),
        "connection.sni" => json!({"requested_server_name": text(value)}),
        "remoteIpBlocks" | "remote.ip" => json!({"remote_ip": block(value)}),
        "principals" | "source.principal" => authenticated(principal(value)),
        "namespaces" | "source.namespace" => {
            authenticated(regex(&format!(".*/ns/{}/.*", quoted(value).replace(r"\*", ".*"))))
        }
        "serviceAccounts" | "source.serviceAccount" => {
            let (namespace, account) = value.split_once('/').unwrap_or(("foo", value));
            let (namespace, account) = (quoted(namespace), quoted(account));
            authenticated(regex(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?")))
        }
        "trustDomains" | "source.trustDomain" => authenticated(if value.contains('*') {
            regex(&format!("spiffe://{}/.*", quoted(value).replace(r"\*", "[^/]*")))
        } else {
            json!({"prefix": format!("spiffe://{value}/")})
        }),
        "requestPrincipals" | "request.auth.principal" => requested_by(value),
        "request.auth.audiences" => claim(&["aud"], value),
        "request.auth.presenter" => claim(&["azp"], value),
        _ => {
            let (kind, names) = field.strip_suffix(']').and_then(|field| field.split_once('[')).unwrap();
            match kind {
                "request.headers" => header(names, value, false),
                "request.auth.claims" => claim(&names.split("][").collect::<Vec<_>>(), value),
                other => panic!("istiod knows `{other}`, this does not"),
            }
        }
    }
}

/// A string as Istio means it: one `*`, at one end.
fn text(value: &str) -> Value {
    match (value, value.strip_prefix('*'), value.strip_suffix('*')) {
        ("*", ..) => regex(".+"),
        (_, Some(rest), _) => json!({"suffix": rest}),
        (_, None, Some(rest)) => json!({"prefix": rest}),
        _ => json!({"exact": value}),
    }
}

fn header(name: &str, value: &str, ignore_case: bool) -> Value {
    if value == "*" {
        return json!({"header": {"name": name, "present_match": true}});
    }
    let mut matcher = text(value);
    if ignore_case {
        matcher["ignore_case"] = true.into();
    }
    json!({"header": {"name": name, "string_match": matcher}})
}

fn template(value: &str) -> Value {
    let message = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let template = value.replace("{**}", "**").replace("{*}", "*");
    let config = typed(message, json!({"path_template": template}));
    json!({"uri_template": {"name": "uri-template", "typed_config": config}})
}

fn block(value: &str) -> Value {
    let whole = if value.contains(':') { 128 } else { 32 };
    let (prefix, length) = value.split_once('/').unwrap_or((value, ""));
    json!({"address_prefix": prefix, "prefix_len": length.parse().unwrap_or(whole)})
}

fn authenticated(name: Value) -> Value {
    json!({"authenticated": {"principal_name": name}})
}

fn principal(value: &str) -> Value {
    match (value, value.strip_prefix('*')) {
        ("*", _) => regex(".+"),
        (_, Some(rest)) => regex(&format!("spiffe://.*{}", quoted(rest))),
        (_, None) => text(&format!("spiffe://{value}")),
    }
}

/// Issuer and subject, split at the last slash.
fn requested_by(value: &str) -> Value {
    let anything = || text("*");
    let (issuer, subject) = match value.rsplit_once('/') {
        Some((issuer, subject)) => {
            // Only the issuer of a value with a leading `*` is open at its front, only the subject at its end.
            let issuer = if issuer.starts_with('*') { text(issuer) } else { json!({"exact": issuer}) };
            let is_open = subject.ends_with('*') && !value.starts_with('*');
            (issuer, if is_open || subject == "*" { text(subject) } else { json!({"exact": subject}) })
        }
        None if value == "*" => (anything(), anything()),
        None if value.starts_with('*') => (anything(), text(value)),
        None if value.ends_with('*') => (text(value), anything()),
        None => (json!({"exact": value}), json!({"exact": ""})),
    };
    let of = |name: &str, matcher: Value| metadata(&[name], json!({ "string_match": matcher }));
    json!({"and_ids": {"ids": [of("iss", issuer), of("sub", subject)]}})
}

/// A claim that is the string, or a list with it.
fn claim(names: &[&str], value: &str) -> Value {
    let text = json!({"string_match": text(value)});
    metadata(names, json!({"or_match": {"value_matchers": [{"list_match": {"one_of": text}}, text]}}))
}

fn metadata(names: &[&str], value: Value) -> Value {
    let path: Vec<_> = ["payload"].iter().chain(names).map(|name| json!({ "key": name })).collect();
    json!({"metadata": {"filter": JWT_AUTHN, "path": path, "value": value}})
}

fn regex(pattern: &str) -> Value {
    json!({"safe_regex": {"regex": pattern}})
}

/// The text as a pattern of itself, as Go's `regexp.QuoteMeta` writes it.
fn quoted(text: &str) -> String {
    let is_special = |byte: char| r"\.+*?()|[]{}^$".contains(byte);
    text.chars().flat_map(|letter| is_special(letter).then_some('\\').into_iter().chain([letter])).collect()
}

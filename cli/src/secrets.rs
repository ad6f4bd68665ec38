//! What recordings must not contain: the headers, parameters and cookies that a plugin's configuration takes tokens from.

use serde_json::Value;
use wasmplugin_host::recording::Secrets;

/// Reads the configurations; one that is not JSON names nothing.
pub(crate) fn of_plugins<'a>(configurations: impl IntoIterator<Item = &'a str>) -> Secrets {
    let mut names = Vec::new();
    for configuration in configurations {
        if let Ok(value) = serde_json::from_str(configuration) {
            collect(&value, &mut names);
        }
    }
    Secrets::new(names)
}

/// The names that the rules of a `RequestAuthentication` give, wherever they are.
fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "fromHeaders" | "fromParams" | "fromCookies" => {
                        let places = value.as_array().map(Vec::as_slice).unwrap_or_default();
                        let name = |place: &Value| Some(place.get("name").unwrap_or(place).as_str()?.to_owned());
                        names.extend(places.iter().filter_map(name));
                    }
                    // Claims say who somebody is.
                    "outputPayloadToHeader" => names.extend(value.as_str().map(str::to_owned)),
                    _ => collect(value, names),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tokens_come_from_is_found() {
        let rules = r#"{"policies": [{"spec": {"jwtRules": [{"issuer": "x-issuer", "fromHeaders": [{"name": "X-Ticket", "prefix": "T "}],
            "fromParams": ["t"], "fromCookies": ["badge"], "outputPayloadToHeader": "x-payload"}]}}]}"#;
        let secrets = of_plugins(["no JSON", rules]);
        for name in ["x-ticket", "t", "badge", "x-payload"] {
            assert!(secrets.holds(name), "{name}");
        }
        for name in ["x-issuer", "x-other", "T "] {
            assert!(!secrets.holds(name), "{name}");
        }
    }
}

//! What becomes of a `url`, over the table `url_resolution`.

use serde_json::{Value, json};
use wasmplugin_deploy::source::{self, Source};

use crate::cases;

#[test]
fn urls_end_where_the_table_says() {
    for case in cases::table("url_resolution") {
        let url = case["url"].as_str().unwrap();
        assert_eq!(found(url), case, "{url}");
    }
}

fn found(url: &str) -> Value {
    let mut found = json!({ "url": url, "admitted": source::admit(url).is_ok() });
    match Source::resolve(url) {
        Err(_) => found["istiod_runtime"] = "discarded".into(),
        Ok(Source::Local { filename }) => {
            found["istiod_runtime"] = "local".into();
            found["filename"] = filename.into();
        }
        Ok(Source::Remote(remote)) => {
            found["istiod_runtime"] = "remote".into();
            found["uri"] = remote.uri.clone().into();
            found["agent_scheme"] = remote.scheme.clone().into();
            found["agent_accepts_scheme"] = remote.is_fetchable().into();
            if !remote.host.is_empty() {
                found["agent_host"] = remote.host.clone().into();
            }
            if !remote.reference.is_empty() {
                found["agent_ref"] = remote.reference.clone().into();
            }
            if remote.is_fetchable() {
                found["default_pull_policy"] = if remote.pulls_always() { "Always" } else { "IfNotPresent" }.into();
            }
        }
    }
    found
}

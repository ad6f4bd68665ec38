//! `attributegen` makes attributes that later plugins and the access log see, and never stands in the way.

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Proxy, Request};

use crate::engines::{Plugin, on_every_engine};

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// The plugin, with one behind it that reads `made`.
fn made(proxy: Builder, attributes: Value) -> Result<Proxy, Box<dyn std::error::Error>> {
    let engine = proxy.clone().setup()?.engine;
    let probe = PROBE.on(engine).config(json!({"paths": ["made"]}));
    let upstream = |request: &Request| Answer::new(request.path().trim_start_matches('/').parse().unwrap_or(200));
    // Filters log in their order, so the probe sees what came before it.
    Ok(proxy.config(json!({"debug": true, "attributes": attributes})).upstream(upstream).then(probe).start()?)
}

fn seen(proxy: &mut Proxy, phase: &str) -> Vec<Option<String>> {
    let prefix = format!("@{phase} made ");
    let lines = proxy.logs();
    let answers = lines.iter().filter_map(|line| line.text.strip_prefix(&prefix));
    let text = |digits: &str| {
        let bytes = (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16));
        String::from_utf8(bytes.filter_map(Result::ok).collect()).unwrap_or_default()
    };
    answers.map(|answer| answer.strip_prefix("0 ").map(text)).collect()
}

on_every_engine! { attributegen as "attributegen";
    fn the_first_condition_that_holds_names_the_class(proxy) {
        let matches = json!([
            {"condition": "response.code >= 500", "value": "5xx"},
            {"condition": "response.code >= 400", "value": "4xx"},
            {"condition": "response.code < 300", "value": "2xx"},
        ]);
        let mut proxy = made(proxy, json!([{"output_attribute": "made", "match": matches}]))?;
        for status in [200, 301, 404, 503] {
            assert_eq!(proxy.get(&format!("/{status}")).send()?.status(), status);
        }
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(seen(&mut proxy, "log"), [some("2xx"), None, some("4xx"), some("5xx")]);
        Ok(())
    }

    fn requests_are_classed_before_they_go_on(proxy) {
        let matches = json!([
            {"condition": "request.url_path == '/a' && request.method == 'GET'", "value": "list"},
            {"condition": "", "value": "other"},
        ]);
        let mut proxy = made(proxy, json!([{"phase": "ON_REQUEST", "output_attribute": "made", "match": matches}]))?;
        proxy.get("/a?b").send()?;
        proxy.post("/a").send()?;
        assert_eq!(seen(&mut proxy, "request"), [Some("list".to_owned()), Some("other".to_owned())]);
        Ok(())
    }

    fn a_condition_without_a_value_makes_nothing_and_is_counted(proxy) {
        let matches = json!([{"condition": "request.headers['absent'] == 'x'", "value": "a"}, {"value": "b"}]);
        let mut proxy = made(proxy, json!([{"output_attribute": "made", "match": matches}]))?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
        assert_eq!(seen(&mut proxy, "log"), [None]);
        assert_eq!(proxy.metric("wasm_filter.attributegen.type.runtime.error_count"), Some(1));
        Ok(())
    }

    fn a_mistake_makes_no_attributes_and_lets_everything_pass(proxy) {
        for attributes in [
            json!([{"output_attribute": "made", "match": [{"value": "a"}]}, {"output_attribute": "b", "match": [{"condition": "=="}]}]),
            json!([{"output_attribute": "made", "match": [{"value": "a"}]}, {"output_attribute": "a.b"}]),
        ] {
            let mut proxy = made(proxy.clone(), attributes)?;
            assert_eq!(proxy.get("/").send()?.status(), 200);
            assert_eq!(seen(&mut proxy, "log"), [None]);
            assert!(proxy.metric("wasm_filter.attributegen.type.config.error_count") >= Some(1));
        }
        Ok(())
    }
}

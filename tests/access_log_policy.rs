//! `access-log-policy` tells the access log which requests are worth a line.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Engine, Proxy, Request};

use crate::engines::{Plugin, on_every_engine};

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// The plugin, with one behind it that reads what it decided; all requests come from one client.
fn told(proxy: Builder, window: &str) -> Result<Proxy, Box<dyn std::error::Error>> {
    let engine = proxy.clone().setup()?.engine;
    let probe = PROBE.on(engine).config(json!({"paths": ["istio.access_log_policy"]}));
    let upstream = |request: &Request| Answer::new(request.path().trim_start_matches('/').parse().unwrap_or(200));
    let proxy = proxy.config(json!({"log_window_duration": window})).client(([10, 0, 0, 1], 4000).into());
    Ok(proxy.upstream(upstream).then(probe).start()?)
}

fn decisions(proxy: &mut Proxy) -> String {
    let lines = proxy.logs();
    let answers = lines.iter().filter_map(|line| line.text.strip_prefix("@log istio.access_log_policy 0 "));
    answers.map(|answer| if answer == "796573" { 'y' } else { 'n' }).collect()
}

on_every_engine! { access_log_policy as "access-log-policy";
    fn a_client_is_logged_once_and_its_failures_always(proxy) {
        let mut proxy = told(proxy, "1h")?;
        for path in ["/", "/", "/404", "/", "/503"] {
            proxy.get(path).send()?;
        }
        assert_eq!(decisions(&mut proxy), "ynyny");
        Ok(())
    }

    fn a_window_ends(proxy) {
        let window = if proxy_is_real(&proxy) { "50ms" } else { "1m" };
        let mut proxy = told(proxy, window)?;
        let window = if proxy.engine() == Engine::Envoy { Duration::from_millis(80) } else { Duration::from_secs(61) };
        proxy.get("/").send()?;
        proxy.advance(window);
        proxy.get("/").send()?;
        assert_eq!(decisions(&mut proxy), "yy");
        Ok(())
    }

    fn a_window_that_is_none_refuses_the_configuration(proxy) {
        let error = proxy.config(json!({"log_window_duration": "soon"})).start().map(drop).unwrap_err().to_string();
        assert!(error.contains("`log_window_duration`"), "{error}");
        Ok(())
    }
}

fn proxy_is_real(proxy: &Builder) -> bool {
    proxy.clone().setup().is_ok_and(|setup| setup.engine == Engine::Envoy)
}

//! `hello` adds one header to every response.

use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

on_every_engine! { hello as "hello";
    fn every_response_says_hello(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/").send()?;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("x-hello"), Some("wasm"));
        assert_eq!(answer.text(), "upstream");
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn the_upstreams_own_header_is_replaced(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(404).header("x-hello", "a").header("x-hello", "b")).start()?;
        let answer = proxy.get("/missing").send()?;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers().all("x-hello"), ["wasm"]);
        Ok(())
    }

    fn a_configuration_is_refused(proxy) {
        let error = proxy.config(serde_json::json!({"greeting": "hi"})).start().map(drop).unwrap_err().to_string();
        assert!(error.contains("this plugin takes no configuration"), "{error}");
        Ok(())
    }
}

/// The module, for tests of how modules are built.
pub(crate) fn module() -> std::path::PathBuf {
    PLUGIN.module()
}

//! `cel-gate` lets pass what its expression allows, and nothing when the expression cannot tell.

use serde_json::json;

use crate::engines::on_every_engine;

on_every_engine! { cel_gate as "cel-gate";
    fn only_what_the_expression_allows_passes(proxy) {
        let allow = "request.path.startsWith('/public/') || (has(request.headers.role) && request.headers.role == 'admin')";
        let mut proxy = proxy.config(json!({"allow": allow})).start()?;
        assert_eq!(proxy.get("/public/a").send()?.status(), 200);
        assert_eq!(proxy.get("/private").send()?.status(), 403);
        assert_eq!(proxy.get("/private").header("role", "user").send()?.status(), 403);
        assert_eq!(proxy.get("/private").header("role", "admin").send()?.status(), 200);
        assert_eq!(proxy.upstream_requests().len(), 2);
        Ok(())
    }

    fn an_expression_without_a_value_lets_nothing_pass(proxy) {
        let mut proxy = proxy.config(json!({"allow": "request.headers['role'] != 'guest'"})).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 500);
        assert_eq!(proxy.get("/").header("role", "user").send()?.status(), 200);
        assert_eq!(proxy.get("/").header("role", "guest").send()?.status(), 403);
        assert!(proxy.logs().iter().any(|line| line.text.contains("an attribute is absent")), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_value_that_is_no_boolean_lets_nothing_pass(proxy) {
        let mut proxy = proxy.config(json!({"allow": "request.path"})).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 500);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn an_expression_that_is_none_refuses_the_configuration(proxy) {
        let error = proxy.config(json!({"allow": "request.path =="})).start().unwrap_err().to_string();
        assert!(error.contains("at `allow`: `request.path ==` is not an expression in CEL"), "{error}");
        Ok(())
    }
}

//! `path-guard` answers forbidden requests itself.

use serde_json::json;

use crate::engines::on_every_engine;

on_every_engine! { path_guard as "path-guard";
    fn the_upstream_never_sees_what_is_forbidden(proxy) {
        let mut proxy = proxy.config(json!({"paths": ["/admin/"]})).start()?;
        let answer = proxy.get("/admin/users?all").send()?;
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.text(), r#"{"error":"forbidden"}"#);
        assert!(proxy.upstream_requests().is_empty());
        assert_eq!(proxy.get("/administrator").send()?.status(), 200);
        assert_eq!(proxy.findings(), []);
        Ok(())
    }
}

//! `rewrite-json` marks JSON objects and leaves all else as it is.

use wasmplugin_host::test::{Answer, Request};

use crate::engines::on_every_engine;

on_every_engine! { rewrite_json as "rewrite-json";
    fn an_object_is_marked(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).chunks(["{\"a\":", "1}"])).start()?;
        let answer = proxy.get("/").send()?;
        assert_eq!(answer.json(), serde_json::json!({"a": 1, "seen": true}));
        assert_eq!(answer.header("content-length"), None);
        Ok(())
    }

    fn what_is_no_object_stays(proxy) {
        let mut proxy = proxy.upstream(|request: &Request| match request.path() {
            "/list" => Answer::new(200).body("[1,2]"),
            "/broken" => Answer::new(200).body("{\"a\":"),
            _ => Answer::new(204),
        }).start()?;
        assert_eq!(proxy.get("/list").send()?.text(), "[1,2]");
        assert_eq!(proxy.get("/broken").send()?.text(), "{\"a\":");
        assert_eq!(proxy.get("/none").send()?.status(), 204);
        Ok(())
    }
}

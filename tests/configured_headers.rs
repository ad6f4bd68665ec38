//! `configured-headers` adds what its configuration says, and refuses what cannot be added.

use serde_json::json;
use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

on_every_engine! { configured_headers as "configured-headers";
    fn what_the_upstream_sets_stays(proxy) {
        let config = json!({"headers": {"x-frame-options": "DENY", "referrer-policy": "no-referrer"}});
        let upstream = |_: &_| Answer::new(200).header("x-frame-options", "SAMEORIGIN");
        let mut proxy = proxy.config(config).upstream(upstream).start()?;
        let answer = proxy.get("/").send()?;
        assert_eq!(answer.headers().all("x-frame-options"), ["SAMEORIGIN"]);
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        Ok(())
    }

    fn a_bad_configuration_is_refused_with_its_place(proxy) {
        let refused = proxy.config(json!({"headers": {":status": "200"}})).start().map(drop).unwrap_err().to_string();
        assert!(refused.contains("at `headers`: `:status` cannot be added to a response"), "{refused}");
        Ok(())
    }
}

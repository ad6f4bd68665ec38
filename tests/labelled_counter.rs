//! `labelled-counter` counts every exchange once, under its method and status.

use wasmplugin_host::test::{Answer, Request};

use crate::engines::on_every_engine;

on_every_engine! { labelled_counter as "labelled-counter";
    fn every_exchange_is_counted_once(proxy) {
        let upstream = |request: &Request| Answer::new(if request.path() == "/missing" { 404 } else { 200 });
        let mut proxy = proxy.workers(2).upstream(upstream).start()?;
        for path in ["/", "/missing", "/", "/"] {
            proxy.get(path).send()?;
        }
        proxy.post("/").body("hello").send()?;
        assert_eq!(proxy.metric("method=.=GET;.;code=.=200;.;requests_total"), Some(3));
        assert_eq!(proxy.metric("method=.=GET;.;code=.=404;.;requests_total"), Some(1));
        assert_eq!(proxy.metric("method=.=POST;.;code=.=200;.;requests_total"), Some(1));
        assert_eq!(proxy.findings(), []);
        Ok(())
    }
}

/// The module, for tests of what it says about itself.
pub(crate) fn module() -> std::path::PathBuf {
    PLUGIN.module()
}

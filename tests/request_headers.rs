//! `request-headers` changes what each side sees of the other's headers.

use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

on_every_engine! { request_headers as "request-headers";
    fn both_sides_see_changed_headers(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).header("x-powered-by", "steam")).start()?;
        let answer = proxy.get("/").header("cookie", "a=1").header("x-internal", "yes").send()?;
        assert_eq!(answer.header("x-powered-by"), None);
        assert_eq!(proxy.upstream_requests()[0].header("x-cookies"), Some("1"));
        assert_eq!(proxy.upstream_requests()[0].header("x-internal"), None);
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn without_cookies_there_are_none(proxy) {
        let mut proxy = proxy.start()?;
        proxy.get("/").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-cookies"), Some("0"));
        Ok(())
    }
}

//! Answers that a plugin gives itself.

use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn a_reply_carries_status_headers_and_body(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/reply").send()?;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.header("www-authenticate"), Some("Basic"));
        assert_eq!(answer.headers().all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.text(), "who are you?");
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn a_grpc_client_gets_a_grpc_status(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.post("/grpc-reply").header("content-type", "application/grpc").send()?;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("grpc-status"), Some("7"));
        assert_eq!(answer.header("grpc-message"), Some("not yours"));
        Ok(())
    }

    fn a_reply_that_http_cannot_carry_is_an_error(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/bad-reply-header").send()?;
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.header("x-b"), None);
        Ok(())
    }

    fn hooks_reply_and_fail_like_handlers(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).header("x-fail-response", "1").body("secret")).start()?;
        let reply = proxy.get("/hook-reply").send()?;
        assert_eq!((reply.status(), reply.text().as_str()), (418, "short and stout"));
        assert_eq!(proxy.get("/hook-error").send()?.status(), 500);
        assert_eq!(proxy.get("/error").send()?.status(), 500);
        assert_eq!(proxy.upstream_requests(), []);
        let response = proxy.get("/").send()?;
        assert_eq!((response.status(), response.text().as_str()), (500, ""));
        Ok(())
    }

    fn an_error_is_in_the_log(proxy) {
        let mut proxy = proxy.start()?;
        proxy.get("/error").send()?;
        let logs = proxy.logs();
        assert!(logs.iter().any(|line| line.text.contains("the handler failed")), "{logs:?}");
        Ok(())
    }
}

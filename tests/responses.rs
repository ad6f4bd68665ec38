//! Responses: their heads, their bodies whole and in chunks, and what goes wrong after the headers have gone.

use wasmplugin_host::test::{Answer, Failure, Request};

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn a_head_is_changed(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/response-head").send()?;
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.header("x-was"), Some("200"));
        Ok(())
    }

    fn a_response_is_answered_otherwise(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).header("x-secret", "1").body("secret")).start()?;
        let answer = proxy.get("/response-reply").send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (502, "replaced"));
        assert_eq!(answer.header("x-secret"), None);
        Ok(())
    }

    fn a_body_is_replaced(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).chunks(["abc", "de"])).start()?;
        assert_eq!(proxy.get("/response-body").send()?.text(), "5 bytes");
        Ok(())
    }

    fn a_body_is_replaced_after_a_callout(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::new(200).body("more")).start()?;
        assert_eq!(proxy.get("/response-body-call").send()?.text(), "upstream and more");
        Ok(())
    }

    fn a_response_without_a_body_stays_without(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(204)).start()?;
        let answer = proxy.get("/response-body").send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (204, ""));
        assert_eq!(proxy.request("HEAD", "/response-body").send()?.status(), 204);
        Ok(())
    }

    fn a_body_over_the_limit_is_cut_off(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).body("too long")).start()?;
        match proxy.get("/response-body-small").send() {
            Err(Failure::Reset(_)) => Ok(()),
            other => Err(format!("expected a cut connection, got {other:?}").into()),
        }
    }

    fn waiting_inside_a_chunk_keeps_the_order(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).chunks(["one,", "two,", "three,", "four"])).start()?;
        assert_eq!(proxy.get("/response-chunks-slow").send()?.text(), "ONE,TWO,THREE,FOUR");
        Ok(())
    }

    fn a_response_waits_for_the_handler(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/response-hold").send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "upstream"));
        Ok(())
    }

    fn an_upstream_that_fails_passes_the_handler(proxy) {
        let mut proxy = proxy.upstream(|request: &Request| match request.path() {
            "/response-body" => Answer::unreachable(),
            _ => Answer::reset_after_headers(),
        }).start()?;
        // Envoy's own answer for the broken upstream is a response like any other.
        let answer = proxy.get("/response-body").send()?;
        assert_eq!(answer.status(), 503);
        assert!(answer.text().ends_with(" bytes"), "{}", answer.text());
        assert!(matches!(proxy.get("/response-body-call").send(), Err(Failure::Reset(_))));
        assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        Ok(())
    }
}

//! Request bodies: kept whole, replaced, shown chunk by chunk; trailers behind them.

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn a_body_is_replaced(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.post("/request-body").body("hello").send()?.status(), 200);
        assert_eq!(proxy.post("/request-body").chunks(["abc", "def", "g"]).send()?.status(), 200);
        let texts: Vec<_> = proxy.upstream_requests().iter().map(|request| request.text().into_owned()).collect();
        assert_eq!(texts, ["olleh", "gfedcba"]);
        Ok(())
    }

    fn a_message_without_a_body_has_an_empty_one(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.get("/request-body").send()?.status(), 200);
        assert_eq!(proxy.upstream_requests()[0].text(), "");
        Ok(())
    }

    fn a_body_over_the_limit_is_refused(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.post("/request-body-small").body("five!").send()?.status(), 413);
        assert_eq!(proxy.post("/request-body-small").body("four").send()?.status(), 200);
        Ok(())
    }

    fn a_body_over_the_hosts_limit_is_refused(proxy) {
        let mut proxy = proxy.buffer_limit(65_536).start()?;
        assert_eq!(proxy.post("/request-body").body("x".repeat(200_000)).send()?.status(), 413);
        Ok(())
    }

    fn chunks_are_changed_on_their_way(proxy) {
        let mut proxy = proxy.start()?;
        let upload = proxy.post("/request-chunks").open()?;
        proxy.send_data(&upload, "one", false)?;
        proxy.send_data(&upload, "two", true)?;
        let answer = proxy.finish(upload)?;
        assert_eq!(answer.header("x-chunked"), Some("yes"));
        let text = proxy.upstream_requests()[0].text().replace("><", "");
        assert_eq!(text, "<onetwo>");
        Ok(())
    }

    fn trailers_are_read_and_changed(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.post("/trailers").chunks(["abc"]).trailer("x-sum", "6").send()?;
        assert_eq!(answer.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!(request.text(), "abc");
        assert_eq!(request.trailers().get("x-sum"), Some("6!"));
        Ok(())
    }

    fn a_body_with_trailers_is_replaced(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.post("/request-body").chunks(["abc"]).trailer("x-sum", "6").send()?.status(), 200);
        assert_eq!(proxy.upstream_requests()[0].text(), "cba");
        Ok(())
    }
}

//! Request bodies: kept whole, replaced, shown chunk by chunk; trailers behind them.

use std::time::Duration;

use wasmplugin_host::test::{Answer, Failure};

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

    fn a_plugin_that_waits_in_every_chunk_passes_all_of_them(proxy) {
        let mut proxy = proxy.start()?;
        let upload = proxy.post("/request-chunks-slow").header("transfer-encoding", "chunked").open()?;
        let piece = "abcdefgh".repeat(16 * 1024);
        // 20 MB, at the pace of the plugin: what is ahead of it waits in the proxy, up to its buffer limit.
        for _ in 0..160 {
            proxy.send_data(&upload, piece.clone(), false)?;
            proxy.advance(Duration::from_millis(10));
        }
        assert_eq!(proxy.finish(upload)?.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!(request.body().len(), 160 * piece.len());
        assert!(request.body().chunks(8).all(|chunk| chunk == b"ABCDEFGH"));
        Ok(())
    }

    fn a_client_far_ahead_of_a_waiting_plugin_is_refused(proxy) {
        let mut proxy = proxy.buffer_limit(65_536).start()?;
        let upload = proxy.post("/request-chunks-hold").header("transfer-encoding", "chunked").open()?;
        for _ in 0..8 {
            // Refused is refused: the rest of the upload finds nobody.
            let _ = proxy.send_data(&upload, "x".repeat(20_000), false);
            proxy.advance(Duration::from_millis(10));
        }
        match proxy.finish(upload) {
            Ok(answer) => assert_eq!(answer.status(), 413),
            Err(failure) => assert!(matches!(failure, Failure::Reset(_)), "{failure}"),
        }
        Ok(())
    }

    fn a_body_over_the_limit_may_pass_chunk_by_chunk(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).chunks(["abcde", "fgh"])).start()?;
        for body in ["four", "more than four"] {
            let answer = proxy.post("/bounded").chunks([&body[..3], &body[3..]]).send()?;
            assert_eq!((answer.status(), answer.text().as_ref()), (200, "<abcdefgh>"));
        }
        let texts: Vec<_> = proxy.upstream_requests().iter().map(|request| request.text().into_owned()).collect();
        assert_eq!(texts, ["whole: four", "<more than four>"]);
        Ok(())
    }
}

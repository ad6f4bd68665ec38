//! Headers that wait until the body was seen: with the proxy's consent, and the error without it.

use std::time::Duration;

use wasmplugin_host::test::{Answer, Proxy};

use crate::engines::on_every_engine;

/// What the plugin says when the proxy was not told to show bodies.
const HIDDEN: &str = "set `allow_on_headers_stop_iteration: true`";

fn complains(proxy: &mut Proxy) -> bool {
    proxy.logs().iter().any(|line| line.text.contains(HIDDEN))
}

on_every_engine! { probe as "probe";
    fn a_request_is_decided_by_its_body(proxy) {
        let mut proxy = proxy.allow_on_headers_stop_iteration(true).start()?;
        let denied = proxy.post("/buffered").body("deny").send()?;
        assert_eq!((denied.status(), denied.text().as_ref()), (401, "the body says no"));
        assert_eq!(proxy.post("/buffered").chunks(["de", "ny"]).send()?.status(), 401);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn headers_and_body_change_together(proxy) {
        let mut proxy = proxy.allow_on_headers_stop_iteration(true).start()?;
        for path in ["/buffered", "/buffered-late"] {
            assert_eq!(proxy.post(path).body("hello").send()?.status(), 200);
            assert_eq!(proxy.post(path).chunks(["ab", "c"]).send()?.status(), 200);
            assert_eq!(proxy.post(path).chunks(["ab", "c"]).trailer("x-sum", "3").send()?.status(), 200);
            assert_eq!(proxy.get(path).send()?.status(), 200);
        }
        let seen: Vec<_> = proxy
            .upstream_requests()
            .iter()
            .map(|request| {
                let length = request.header("content-length").unwrap_or("none").to_owned();
                (request.path().to_owned(), request.header("x-length").unwrap_or_default().to_owned(), length, request.text().into_owned())
            })
            .collect();
        let expected = [
            ("/length/5", "5", "6", "olleh!"),
            ("/length/3", "3", "none", "cba!"),
            ("/length/3", "3", "none", "cba!"),
            ("/length/0", "0", "none", ""),
        ];
        let expected: Vec<_> = expected.iter().chain(&expected).map(|(a, b, c, d)| (String::from(*a), String::from(*b), String::from(*c), String::from(*d))).collect();
        assert_eq!(seen, expected);
        Ok(())
    }

    fn a_body_over_the_limit_is_refused_in_time(proxy) {
        let mut proxy = proxy.allow_on_headers_stop_iteration(true).buffer_limit(65_536).start()?;
        assert_eq!(proxy.post("/buffered").body("x".repeat(1001)).send()?.status(), 413);
        assert_eq!(proxy.post("/buffered").body("x".repeat(200_000)).send()?.status(), 413);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn a_response_is_decided_by_its_body(proxy) {
        let mut proxy = proxy
            .allow_on_headers_stop_iteration(true)
            .upstream(|request| match request.header("x-up") {
                Some("secret") => Answer::new(200).body("secret"),
                Some("empty") => Answer::new(204),
                Some("trailers") => Answer::new(200).body("hello").trailer("x-sum", "5"),
                Some("large") => Answer::new(200).body("x".repeat(1001)),
                _ => Answer::new(200).chunks(["hel", "lo"]),
            })
            .start()?;
        let withheld = proxy.get("/response-buffered").header("x-up", "secret").send()?;
        assert_eq!((withheld.status(), withheld.text().as_ref()), (502, "withheld"));
        for (kind, length, text) in [("plain", "5", "5 bytes"), ("trailers", "5", "5 bytes"), ("empty", "0", "")] {
            let answer = proxy.get("/response-buffered").header("x-up", kind).send()?;
            assert_eq!((answer.status(), answer.header("x-length"), answer.text().as_ref()), (203, Some(length), text));
        }
        assert_eq!(proxy.get("/response-buffered").header("x-up", "large").send()?.status(), 413);
        Ok(())
    }

    fn without_consent_a_request_is_refused_at_once(proxy) {
        let mut proxy = proxy.start()?;
        // What has no body needs no consent.
        assert_eq!(proxy.get("/buffered").send()?.status(), 200);
        for path in ["/buffered", "/buffered-late", "/buffered"] {
            assert_eq!(proxy.post(path).body("hello").send()?.status(), 500);
        }
        assert_eq!(proxy.upstream_requests().len(), 1);
        assert!(complains(&mut proxy));
        Ok(())
    }

    fn without_consent_a_response_is_refused_at_once(proxy) {
        let mut proxy = proxy.start()?;
        for _ in 0..2 {
            assert_eq!(proxy.get("/response-buffered").send()?.status(), 500);
        }
        assert!(complains(&mut proxy));
        Ok(())
    }

    fn a_slow_body_is_waited_for(proxy) {
        let mut proxy = proxy.allow_on_headers_stop_iteration(true).start()?;
        let upload = proxy.post("/buffered").header("transfer-encoding", "chunked").open()?;
        proxy.advance(Duration::from_millis(300));
        proxy.send_data(&upload, "de", false)?;
        proxy.advance(Duration::from_millis(100));
        assert!(proxy.waiting(&upload));
        proxy.send_data(&upload, "ny", true)?;
        assert_eq!(proxy.finish(upload)?.status(), 401);
        Ok(())
    }
}

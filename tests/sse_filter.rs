//! `sse-filter` changes events of a stream, wherever the network cuts it.

use serde_json::json;
use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

/// Line ends of every kind, a byte order mark, a comment, a dropped event, and an end that is none.
const STREAM: &str = "\u{feff}: hello\n\nid: 1\r\ndata: from ada@example.org\r\ndata: to bob@example.org\r\n\r\n\
    event: debug\rdata: drop me\r\rdata: nothing\n\n\n\nevent: news\ndata: a@b.c\n";

const FILTERED: &str = "\u{feff}: hello\n\nid: 1\r\ndata: from ***\ndata: to ***\n\r\n\
    data: nothing\n\n\n\nevent: news\ndata: ***\n";

on_every_engine! { sse_filter as "sse-filter";
    fn events_are_filtered_across_every_cut(proxy) {
        let mut proxy = proxy
            .config(json!({"drop": ["debug"]}))
            .upstream(|request| {
                let size = request.path()[1..].parse().unwrap_or(1);
                let chunks: Vec<_> = STREAM.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
                Answer::new(200).header("content-type", "text/event-stream; charset=utf-8").chunks(chunks)
            })
            .start()?;
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(proxy.get(&format!("/{size}")).send()?.text(), FILTERED, "chunks of {size}");
        }
        assert!(proxy.upstream_requests().iter().all(|request| request.header("accept-encoding").is_none()));
        Ok(())
    }

    fn other_responses_pass(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).body("a@example.org\n\n")).start()?;
        assert_eq!(proxy.get("/").send()?.text(), "a@example.org\n\n");
        Ok(())
    }

    fn an_event_without_end_cuts_the_response_off(proxy) {
        let mut proxy = proxy
            .upstream(|_| {
                let endless = "x".repeat(100_000);
                Answer::new(200).header("content-type", "text/event-stream").body(endless)
            })
            .start()?;
        let ended = proxy.get("/").send();
        assert!(matches!(ended, Err(wasmplugin_host::test::Failure::Reset(_))), "{ended:?}");
        let logs = proxy.logs();
        assert!(logs.iter().any(|line| line.text.contains("an event is larger than the limit of 65536 bytes")), "{logs:?}");
        Ok(())
    }
}

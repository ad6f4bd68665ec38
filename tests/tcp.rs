//! What the SDK promises to plugins for TCP, shown with the `tcp-probe`.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Proxy, TcpClient, TcpEvent, TcpTurn};

use crate::engines::{Outcome, on_every_engine};

/// More than the probe waits.
const LONG: Duration = Duration::from_millis(150);

fn mode(proxy: Builder, mode: &str) -> Builder {
    proxy.config(json!({ "mode": mode }))
}

/// Nothing is left, and the engine noticed nothing.
fn clean(proxy: &mut Proxy) {
    proxy.advance(LONG);
    assert_eq!(proxy.findings(), []);
    assert!(proxy.leaks().is_empty(), "{}", proxy.leaks());
}

/// The connection was closed, and not a byte came.
fn refused(client: &mut TcpClient) -> Outcome {
    assert_eq!(client.read_to_end()?, b"");
    Ok(())
}

/// A server that speaks first.
fn greets(event: TcpEvent<'_>, turn: &mut TcpTurn) {
    match event {
        TcpEvent::Connected => turn.send("ready"),
        TcpEvent::Data(bytes) => turn.send(bytes.to_vec()),
        TcpEvent::Finished => turn.finish(),
    }
}

on_every_engine! { tcp_probe as "tcp-probe";
    fn a_connection_passes(proxy) {
        let mut proxy = mode(proxy, "pass").tcp(greets).start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_exact(5)?, b"ready");
        client.send("hello")?;
        assert_eq!(client.read_exact(5)?, b"hello");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"");
        proxy.advance(LONG);
        assert!(proxy.upstream_connections()[0].finished);
        assert!(proxy.logs().iter().any(|line| line.text == "over: Some(\"127.0.0.1:40000\")"));
        clean(&mut proxy);
        Ok(())
    }

    fn a_connection_knows_what_the_proxy_knows(proxy) {
        let mut proxy = mode(proxy, "attributes").tcp_echo().start()?;
        let mut client = proxy.connect_from("10.9.8.7:5000".parse()?)?;
        client.send("hello")?;
        assert_eq!(client.read_exact(5)?, b"hello");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"");
        let logs = proxy.logs();
        let absent = "the attribute `response.code` exists from the response's headers on, not here";
        for expected in ["from Some(5000)", absent, "to true"] {
            assert!(logs.iter().any(|line| line.text == expected), "{expected}: {logs:?}");
        }
        clean(&mut proxy);
        Ok(())
    }

    fn a_plugin_that_says_no_or_fails_at_once_closes(proxy) {
        for way in ["hook-closes", "hook-fails", "close", "fail"] {
            let mut proxy = mode(proxy.clone(), way).tcp(greets).start()?;
            refused(&mut proxy.connect()?)?;
            assert_eq!(proxy.upstream_connections(), [], "{way}");
            clean(&mut proxy);
        }
        Ok(())
    }

    fn a_direction_without_a_decision_closes(proxy) {
        let mut proxy = mode(proxy, "drop").tcp(greets).start()?;
        refused(&mut proxy.connect()?)?;
        let lost = |text: &str| text.ends_with("failed: the handler ended without a decision");
        assert!(proxy.logs().iter().any(|line| lost(&line.text)));
        clean(&mut proxy);
        Ok(())
    }

    fn a_service_is_asked_before_the_upstream_is_connected(proxy) {
        let answers = |status| {
            let proxy = mode(proxy.clone(), "ask");
            proxy.tcp(greets).cluster("auth", move |_| Answer::new(status).after(Duration::from_millis(20)))
        };
        let mut proxy = answers(200).start()?;
        let mut client = proxy.connect()?;
        client.send("hello")?;
        assert_eq!(client.read_exact(10)?, b"readyhello");
        drop(client);
        clean(&mut proxy);

        let mut proxy = answers(403).start()?;
        refused(&mut proxy.connect()?)?;
        assert_eq!(proxy.upstream_connections(), []);
        assert_eq!(proxy.cluster_requests("auth").len(), 1);
        clean(&mut proxy);
        Ok(())
    }

    fn a_service_that_cannot_be_asked_closes(proxy) {
        let mut proxy = mode(proxy, "ask").tcp(greets).unreachable_cluster("auth").start()?;
        refused(&mut proxy.connect()?)?;
        assert_eq!(proxy.upstream_connections(), []);
        clean(&mut proxy);
        Ok(())
    }

    fn bytes_are_rewritten_both_ways(proxy) {
        let mut proxy = mode(proxy, "upper").tcp_echo().start()?;
        let mut client = proxy.connect()?;
        client.send("abc")?;
        assert_eq!(client.read_exact(5)?, b"<ABC>");
        client.send("defg")?;
        assert_eq!(client.read_exact(6)?, b"<DEFG>");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"<!>.");
        assert_eq!(proxy.upstream_connections()[0].text(), "ABCDEFG!");
        clean(&mut proxy);
        Ok(())
    }

    fn the_upstream_may_finish_first(proxy) {
        let mut proxy = mode(proxy, "upper").tcp(|event, turn| if event == TcpEvent::Connected {
            turn.send("bye");
            turn.finish();
        }).start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_to_end()?, b"<bye>.");
        client.send("late")?;
        client.finish()?;
        proxy.advance(LONG);
        assert_eq!(proxy.upstream_connections()[0].text(), "LATE!");
        clean(&mut proxy);
        Ok(())
    }

    fn a_plugin_that_waits_holds_the_clients_bytes(proxy) {
        let mut proxy = mode(proxy, "slow-upper").tcp(greets).start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_exact(5)?, b"ready");
        client.send("abc")?;
        client.send("def")?;
        assert_eq!(client.read_exact(6)?, b"ABCDEF");
        client.send("ghi")?;
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"GHI");
        clean(&mut proxy);
        Ok(())
    }

    fn not_a_byte_passes_while_a_plugin_waits(proxy) {
        let mut proxy = mode(proxy, "peek").tcp_echo().start()?;
        let mut client = proxy.connect()?;
        client.send("PA")?;
        assert_eq!(client.received(), b"");
        assert_eq!(proxy.upstream_connections()[0].text(), "");
        client.send("SSED")?;
        assert_eq!(client.read_exact(6)?, b"PASSED");
        client.send("more")?;
        assert_eq!(client.read_exact(4)?, b"more");

        let mut client = proxy.connect()?;
        client.send("NOT PASSED")?;
        refused(&mut client)?;
        let mut client = proxy.connect()?;
        client.send("PA")?;
        client.finish()?;
        refused(&mut client)?;
        let mut client = proxy.connect()?;
        client.send("CUT the rest")?;
        assert_eq!(client.read_exact(8)?, b"the rest");
        drop(client);
        let texts: Vec<_> = proxy.upstream_connections().iter().map(|seen| seen.text()).collect();
        assert_eq!(texts, ["PASSEDmore", "", "", "the rest"]);
        Ok(())
    }

    fn small_reads_take_all_in_turn(proxy) {
        let mut proxy = mode(proxy, "bytewise").tcp_echo().start()?;
        let mut client = proxy.connect()?;
        client.send("abc")?;
        assert_eq!(client.read_exact(6)?, b"a,b,c,");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"");
        clean(&mut proxy);
        Ok(())
    }

    fn a_direction_is_collected_up_to_a_limit(proxy) {
        let mut proxy = mode(proxy, "collect").tcp_echo().start()?;
        let mut client = proxy.connect()?;
        client.send("abcd")?;
        client.send("efgh")?;
        assert_eq!(client.received(), b"");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"hgfedcba");

        let mut client = proxy.connect()?;
        client.send("123456789")?;
        refused(&mut client)?;
        let too_many = |text: &str| text.ends_with("failed: more than the limit of 8 bytes came before the end");
        assert!(proxy.logs().iter().any(|line| too_many(&line.text)));
        clean(&mut proxy);
        Ok(())
    }

    fn a_client_that_says_nothing_can_be_given_up(proxy) {
        let mut proxy = mode(proxy, "peek-patient").tcp_echo().start()?;
        let mut silent = proxy.connect()?;
        let mut client = proxy.connect()?;
        client.send("hello")?;
        assert_eq!(client.read_exact(5)?, b"hello");
        refused(&mut silent)?;
        client.send("again")?;
        assert_eq!(client.read_exact(5)?, b"again");
        drop((silent, client));
        clean(&mut proxy);
        Ok(())
    }

    fn a_late_decision_about_the_upstreams_bytes_goes_out_with_the_next(proxy) {
        for (way, all) in [("slow-upstream", b"READYnext"), ("late-upstream", b"readynext")] {
            let mut proxy = mode(proxy.clone(), way).tcp(greets).start()?;
            let mut client = proxy.connect()?;
            proxy.advance(LONG);
            assert_eq!(client.received(), b"", "{way}");
            client.send("next")?;
            assert_eq!(client.read_exact(9)?, all);
            client.send("!")?;
            assert_eq!(client.read_exact(1)?, b"!");
            client.finish()?;
            assert_eq!(client.read_to_end()?, b"");
            clean(&mut proxy);
        }
        Ok(())
    }

    fn an_end_of_the_upstream_that_cannot_be_held_closes(proxy) {
        let mut proxy = mode(proxy, "very-late-upstream").tcp(|event, turn| if event == TcpEvent::Connected {
            turn.send("secret");
            turn.finish();
        }).start()?;
        refused(&mut proxy.connect()?)?;
        let held = |text: &str| text.contains("the upstream has sent its last bytes while the plugin waits");
        assert!(proxy.logs().iter().any(|line| held(&line.text)));
        Ok(())
    }

    fn bytes_are_put_before_the_upstreams(proxy) {
        let mut proxy = mode(proxy, "banner").tcp(greets).start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_exact(12)?, b"banner ready");
        client.send("x")?;
        assert_eq!(client.read_exact(1)?, b"x");
        Ok(())
    }

    fn an_upstream_can_be_refused(proxy) {
        let mut proxy = mode(proxy, "refuse").tcp_echo().start()?;
        let mut client = proxy.connect()?;
        client.send("ok, fine")?;
        assert_eq!(client.read_exact(8)?, b"ok, fine");
        let mut client = proxy.connect()?;
        client.send("secret")?;
        refused(&mut client)?;
        Ok(())
    }

    /// The proxy does not look at a client before it has connected to the upstream.
    fn who_is_cut_while_the_plugin_waits_leaves_nothing_behind(proxy) {
        let proxy = mode(proxy, "ask").tcp(greets).cluster("auth", |_| Answer::new(200).after(LONG));
        let mut proxy = proxy.start()?;
        proxy.connect()?.reset();
        proxy.advance(LONG * 2);
        assert_eq!(proxy.upstream_connections().len(), 1);
        clean(&mut proxy);
        Ok(())
    }

    fn a_panic_closes_everybody_who_waits(proxy) {
        let mut proxy = mode(proxy, "panic").tcp_echo().start()?;
        let mut other = proxy.connect()?;
        other.send("hello")?;
        assert_eq!(other.read_exact(5)?, b"hello");
        let mut client = proxy.connect()?;
        client.send("panic")?;
        assert!(client.outcome().is_ok());
        assert!(other.outcome().is_ok(), "the other connection of the same VM");
        assert!(proxy.connect()?.outcome().is_ok(), "the next one");
        Ok(())
    }

    fn a_plugin_for_tcp_refuses_requests(proxy) {
        let mut proxy = mode(proxy, "pass").start()?;
        assert_eq!(proxy.get("/").send()?.status(), 500);
        Ok(())
    }
}

/// Over many connections, some cut and some not, nothing piles up.
#[test]
fn many_connections_leave_nothing_behind() {
    let proxy = Proxy::native(tcp_probe::register).config(json!({"mode": "upper"})).tcp_echo().workers(2);
    let mut proxy = proxy.start().unwrap();
    for round in 0..200 {
        let mut client = proxy.connect().unwrap();
        client.send("abc").unwrap();
        assert_eq!(client.read_exact(5).unwrap(), b"<ABC>");
        if round % 3 == 0 {
            client.finish().unwrap();
            client.read_to_end().unwrap();
        }
    }
    clean(&mut proxy);
}

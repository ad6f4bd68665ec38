//! The calls between proxy and plugin for TCP connections, on both engines that run modules: T13 and its neighbours.

use wasmplugin_host::test::{Engine, Proxy, TcpClient, TcpEvent};
use wasmplugin_host::trace::comparable;

use crate::tcp_drives::DRIVES;
use crate::traces::reference::{MOMENT, check, guest};
use crate::traces::{difference, without_early_ticks};

/// Sends pieces one by one, and waits for each to come back.
fn echo(client: &mut TcpClient, pieces: &[&'static str]) {
    for piece in pieces {
        let _ = client.send(*piece);
        let _ = client.read_exact(piece.len());
    }
}

fn finish(proxy: &mut Proxy, client: &mut TcpClient) {
    let _ = client.finish();
    let _ = client.read_to_end();
    proxy.advance(MOMENT);
}

#[test]
fn an_echo() {
    check(
        |engine| guest(&[])(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            echo(&mut client, &["abc", "defg"]);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0)
         downstream_data(2,4,0) upstream_data(2,4,0) downstream_data(2,0,1) upstream_data(2,0,1)
         upstream_connection_close(2,0) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

#[test]
fn an_upstream_that_finishes_first() {
    check(
        |engine| {
            guest(&[])(engine).tcp(|event, turn| {
                if event == TcpEvent::Connected {
                    turn.send("hi");
                    turn.finish();
                }
            })
        },
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.read_to_end();
            let _ = client.send("late");
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) upstream_data(2,2,0) upstream_data(2,0,1)
         upstream_connection_close(2,0) downstream_data(2,4,0) downstream_data(2,0,1)
         downstream_connection_close(2,2) done(2)=1 log(2) delete(2)",
    );
}

#[test]
fn a_client_that_is_cut_and_an_upstream_that_is() {
    check(
        |engine| guest(&[])(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            echo(&mut client, &["abc"]);
            client.reset();
            proxy.advance(MOMENT);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0)
         downstream_connection_close(2,2) done(2)=1 log(2) delete(2)",
    );
    check(
        |engine| {
            guest(&[])(engine).tcp(|event, turn| {
                if matches!(event, TcpEvent::Data(_)) {
                    turn.reset();
                }
            })
        },
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            let _ = client.outcome();
            proxy.advance(MOMENT);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
    check(
        |engine| guest(&[])(engine).unreachable_tcp(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.outcome();
            proxy.advance(MOMENT);
        },
        "context_create(2,1) new_connection(2) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

/// Pauses until there are six bytes, or the end.
const SIX: &str = "(i32.and (i32.lt_u (local.get $count) (i32.const 6)) (i32.eqz (local.get $end)))";

#[test]
fn t13_what_is_held_comes_again() {
    check(
        |engine| guest(&[("downstream_data", SIX)])(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            proxy.advance(MOMENT);
            let _ = client.send("def");
            let _ = client.read_exact(6);
            let _ = client.send("g");
            proxy.advance(MOMENT);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0)=1 downstream_data(2,6,0)
         upstream_data(2,6,0) downstream_data(2,1,0)=1 downstream_data(2,1,1)
         upstream_data(2,1,0) upstream_data(2,0,1)
         upstream_connection_close(2,0) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
    check(
        |engine| guest(&[("upstream_data", SIX)])(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            proxy.advance(MOMENT);
            let _ = client.send("def");
            let _ = client.read_exact(6);
            let _ = client.send("g");
            proxy.advance(MOMENT);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0)=1
         downstream_data(2,3,0) upstream_data(2,6,0) downstream_data(2,1,0) upstream_data(2,1,0)=1
         downstream_data(2,0,1) upstream_data(2,1,1)
         upstream_connection_close(2,0) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

/// A plugin that holds the end of either side for good.
#[test]
fn an_end_that_is_held() {
    check(
        |engine| guest(&[("upstream_data", "(local.get $end)")])(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            echo(&mut client, &["abc"]);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0) downstream_data(2,0,1)
         upstream_data(2,0,1)=1 upstream_connection_close(2,0)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
    check(
        |engine| {
            guest(&[("downstream_data", "(local.get $end)")])(engine).tcp(|event, turn| {
                if matches!(event, TcpEvent::Data(_)) {
                    turn.after(MOMENT * 3).finish();
                }
            })
        },
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0) downstream_data(2,0,1)=1
         upstream_data(2,0,1) upstream_connection_close(2,0)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

const TICK: &str = "(drop (call $set_tick_period (i32.const 20)))";

/// From a tick: continues the stream, and ends the ticks.
fn continue_later(bodies: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut all = bodies.to_vec();
    all.push((
        "tick",
        "(drop (call $set_tick_period (i32.const 0)))
         (drop (call $set_effective_context (i32.const 2)))
         (drop (call $get_buffer_status (i32.const 2) (i32.const 32) (i32.const 36)))
         (drop (call $set_buffer_bytes (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2)))
         (drop (call $continue_stream (i32.const 3)))
         (drop (call $continue_stream (i32.const 2)))
         (drop (call $get_buffer_status (i32.const 2) (i32.const 32) (i32.const 36)))"
            .to_owned(),
    ));
    all
}

fn borrowed<'a>(bodies: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    bodies.iter().map(|(name, body)| (*name, body.as_str())).collect()
}

#[test]
fn a_release_from_outside() {
    let bodies = continue_later(&[("new_connection", format!("{TICK} (i32.const 1)"))]);
    check(
        |engine| guest(&borrowed(&bodies))(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            proxy.advance(MOMENT);
            let _ = client.read_exact(3);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2)=1 set_tick_period_milliseconds(20) tick(1) set_tick_period_milliseconds(0)
         set_effective_context(2) get_buffer_status(2,0,0) set_buffer_bytes(2,0,1,0,2)=2
         continue_stream(3)=12 continue_stream(2) get_buffer_status(2,0,0) downstream_data(2,3,0)
         upstream_data(2,3,0) downstream_data(2,0,1) upstream_data(2,0,1) upstream_connection_close(2,0)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
    let bodies = continue_later(&[(
        "downstream_data",
        format!(
            "(if (i32.eq (local.get $count) (i32.const 3)) (then {TICK})) (i32.eq (local.get $count) (i32.const 3))"
        ),
    )]);
    check(
        |engine| guest(&borrowed(&bodies))(engine).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            proxy.advance(MOMENT);
            let _ = client.read_exact(4);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) downstream_data(2,3,0)=1 set_tick_period_milliseconds(20)
         tick(1) set_tick_period_milliseconds(0) set_effective_context(2) get_buffer_status(2,0,0)
         set_buffer_bytes(2,0,1,0,2) continue_stream(3)=12 continue_stream(2) get_buffer_status(2,0,0)
         upstream_data(2,4,0) downstream_data(2,0,1) upstream_data(2,0,1)
         upstream_connection_close(2,0) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

#[test]
fn a_plugin_that_closes() {
    for callback in ["new_connection", "downstream_data", "upstream_data"] {
        let body = "(drop (call $close_stream (i32.const 2))) (i32.const 1)";
        check(
            |engine| guest(&[(callback, body)])(engine).tcp_echo(),
            |proxy| {
                let mut client = proxy.connect().unwrap();
                let _ = client.send("abc");
                let _ = client.outcome();
                proxy.advance(MOMENT);
            },
            match callback {
                "new_connection" => {
                    "context_create(2,1) new_connection(2)=1 close_stream(2) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)"
                }
                "downstream_data" => {
                    "context_create(2,1) new_connection(2) downstream_data(2,3,0)=1 close_stream(2) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)"
                }
                _ => {
                    "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0)=1 close_stream(2) downstream_connection_close(2,1) done(2)=1 log(2) delete(2)"
                }
            },
        );
    }
}

#[test]
fn two_plugins() {
    let next = |engine| guest(&[("downstream_data", SIX)])(engine).name("next");
    check(
        |engine| guest(&[])(engine).vm_id("first").then(next(engine)).tcp_echo(),
        |proxy| {
            let mut client = proxy.connect().unwrap();
            let _ = client.send("abc");
            proxy.advance(MOMENT);
            let _ = client.send("def");
            let _ = client.read_exact(6);
            finish(proxy, &mut client);
        },
        "context_create(2,1) new_connection(2) context_create(2,1) new_connection(2)
         downstream_data(2,3,0) downstream_data(2,3,0)=1 downstream_data(2,6,0) downstream_data(2,6,0)
         upstream_data(2,6,0) upstream_data(2,6,0)
         downstream_data(2,0,1) downstream_data(2,0,1) upstream_data(2,0,1) upstream_connection_close(2,0)
         upstream_data(2,0,1) upstream_connection_close(2,0)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)
         downstream_connection_close(2,1) done(2)=1 log(2) delete(2)",
    );
}

#[test]
fn a_trap_closes() {
    for callback in ["new_connection", "downstream_data", "upstream_data"] {
        check(
            |engine| guest(&[(callback, "(unreachable)")])(engine).tcp_echo(),
            |proxy| {
                let mut client = proxy.connect().unwrap();
                let _ = client.send("abc");
                assert!(client.outcome().is_ok());
                let mut another = proxy.connect().unwrap();
                assert!(another.outcome().is_ok());
                proxy.advance(MOMENT);
            },
            match callback {
                "new_connection" => "context_create(2,1) new_connection(2)!",
                "downstream_data" => "context_create(2,1) new_connection(2) downstream_data(2,3,0)!",
                _ => "context_create(2,1) new_connection(2) downstream_data(2,3,0) upstream_data(2,3,0)!",
            },
        );
    }
}

#[test]
fn every_drive_has_the_trace_that_envoy_has() {
    for drive in DRIVES {
        let trace = |engine| {
            let mut proxy = drive.on(engine).start().unwrap();
            let start = proxy.trace().len();
            let _ = drive.run(&mut proxy);
            let lines = proxy.trace().split_off(start);
            without_early_ticks(comparable(lines)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (ours, envoys) = (trace(Engine::Wasm), trace(Engine::Envoy));
        assert!(ours == envoys, "{}\n{}", drive.mode, difference(&ours, &envoys));
    }
}

//! HTTP/2 as it must not be, frame by frame: the stream or the connection ends with the right error, and the next client is
//! served.
//!
//! The errors are those of the library `h2`: PROTOCOL_ERROR where RFC 9113 has a finer one, and the connection's where it asks for
//! no more than the stream's. Envoy 1.40 closes the connection for most of it, and often says nothing.

use std::net::TcpStream;
use std::time::Duration;

use wasmplugin_proxy::{Proxy, Settings};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, settings};
use crate::wire::*;

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "test")];

fn get() -> Vec<u8> {
    fields(GET)
}

/// A GET with further fields.
fn get_with<'a>(more: &[(&'a str, &'a str)]) -> Vec<u8> {
    fields(GET.iter().copied().chain(more.iter().copied()))
}

/// A POST of `/never` whose body follows.
fn post(more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/never"), (":authority", "test")];
    frame(HEADERS, END_HEADERS, 1, fields(head.into_iter().chain(more.iter().copied())))
}

fn start() -> (Server, Proxy) {
    let server = Server::http1();
    let mut settings: Settings = settings(server.address);
    settings.listeners[0].plugins.push(plugin("adds", &modules::adds_header()));
    (server, Proxy::start(settings).unwrap())
}

/// Each of these ends as it says, and leaves the proxy as it was.
fn all_end(cases: impl IntoIterator<Item = (&'static str, Vec<u8>, End)>) {
    let (_server, proxy) = start();
    let mut wrong = Vec::new();
    for (what, bytes, expected) in cases {
        let end = Raw::connect(&proxy).send(bytes).end();
        if end != expected {
            wrong.push(format!("{what}: {end:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(Raw::connect(&proxy).send(frame(HEADERS, WHOLE, 1, get())).end(), End::Answer(200));
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
    eventually("nothing is left", || {
        let activity = proxy.activity();
        (activity.connections, activity.exchanges, activity.contexts) == (0, 0, 0)
    });
}

const fn connection(error: u32) -> End {
    End::Connection(Some(error))
}

#[test]
fn frames_that_do_not_belong() {
    let whole = |stream| frame(HEADERS, WHOLE, stream, get());
    let halves = |kind, flags, stream, payload: &[u8]| {
        [frame(HEADERS, END_STREAM, 1, &get()[..5]), frame(kind, flags, stream, payload)].concat()
    };
    all_end([
        ("headers of the connection", whole(0), connection(PROTOCOL_ERROR)),
        ("headers of a server's stream", whole(2), connection(PROTOCOL_ERROR)),
        ("an older stream", [whole(5), whole(3)].concat(), connection(PROTOCOL_ERROR)),
        ("data before headers", frame(DATA, 0, 1, "abc"), connection(PROTOCOL_ERROR)),
        ("data of the connection", frame(DATA, 0, 0, "abc"), connection(PROTOCOL_ERROR)),
        ("a reset of the connection", frame(RST_STREAM, 0, 0, [0, 0, 0, 8]), connection(PROTOCOL_ERROR)),
        ("a reset before headers", frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), connection(PROTOCOL_ERROR)),
        ("a window before headers", frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]), connection(PROTOCOL_ERROR)),
        ("settings of a stream", frame(SETTINGS, 0, 1, []), connection(PROTOCOL_ERROR)),
        ("a ping of a stream", frame(PING, 0, 1, [0; 8]), connection(PROTOCOL_ERROR)),
        ("a farewell of a stream", frame(GOAWAY, 0, 1, [0; 8]), connection(PROTOCOL_ERROR)),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2]), connection(PROTOCOL_ERROR)),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, get()), connection(PROTOCOL_ERROR)),
        ("something between the halves", halves(PING, 0, 0, &[0; 8]), connection(PROTOCOL_ERROR)),
        ("another stream's half", halves(CONTINUATION, END_HEADERS, 3, &get()[5..]), connection(PROTOCOL_ERROR)),
        ("both halves", halves(CONTINUATION, END_HEADERS, 1, &get()[5..]), End::Answer(200)),
        ("a frame nobody knows", [frame(0x42, 0, 0, "abc"), whole(1)].concat(), End::Answer(200)),
    ]);
}

#[test]
fn frames_of_a_wrong_size() {
    let padded = |padding, bytes: &[u8]| [&[padding], bytes].concat();
    all_end([
        ("a large frame", frame(DATA, 0, 1, [0; 20_000]), connection(FRAME_SIZE_ERROR)),
        ("a reset", [post(&[]), frame(RST_STREAM, 0, 1, [0; 3])].concat(), connection(PROTOCOL_ERROR)),
        ("a window", frame(WINDOW_UPDATE, 0, 0, [0, 0, 1]), connection(PROTOCOL_ERROR)),
        ("settings", frame(SETTINGS, 0, 0, [0, 1, 0]), connection(PROTOCOL_ERROR)),
        ("an answer to settings", frame(SETTINGS, 1, 0, [0, 3, 0, 0, 0, 1]), connection(PROTOCOL_ERROR)),
        ("a ping", frame(PING, 0, 0, "abc"), connection(PROTOCOL_ERROR)),
        (
            "padding longer than headers",
            frame(HEADERS, WHOLE | PADDED, 1, padded(255, &get())),
            connection(PROTOCOL_ERROR),
        ),
        (
            "padding longer than data",
            [post(&[]), frame(DATA, PADDED, 1, padded(5, b"ab"))].concat(),
            connection(PROTOCOL_ERROR),
        ),
        ("padding", frame(HEADERS, WHOLE | PADDED, 1, padded(3, &[get(), vec![0; 3]].concat())), End::Answer(200)),
    ]);
}

#[test]
fn settings_and_windows() {
    let most = [0x7f, 0xff, 0xff, 0xff];
    all_end([
        ("a push", frame(SETTINGS, 0, 0, [0, 2, 0, 0, 0, 2]), connection(PROTOCOL_ERROR)),
        ("a huge window", frame(SETTINGS, 0, 0, [0, 4, 0x80, 0, 0, 0]), connection(PROTOCOL_ERROR)),
        ("tiny frames", frame(SETTINGS, 0, 0, [0, 5, 0, 0, 0, 1]), connection(PROTOCOL_ERROR)),
        ("no increment", frame(WINDOW_UPDATE, 0, 0, [0; 4]), connection(PROTOCOL_ERROR)),
        (
            "no increment of a stream",
            [post(&[]), frame(WINDOW_UPDATE, 0, 1, [0; 4])].concat(),
            connection(PROTOCOL_ERROR),
        ),
        ("too much", frame(WINDOW_UPDATE, 0, 0, most), connection(FLOW_CONTROL_ERROR)),
        (
            "too much of a stream",
            [post(&[]), frame(WINDOW_UPDATE, 0, 1, most)].concat(),
            End::Stream(FLOW_CONTROL_ERROR),
        ),
        (
            "a setting nobody knows",
            [frame(SETTINGS, 0, 0, [0, 0xff, 0, 0, 0, 1]), frame(HEADERS, WHOLE, 1, get())].concat(),
            End::Answer(200),
        ),
    ]);
}

#[test]
fn data_beyond_the_window() {
    let (_server, proxy) = start();
    let end = Raw::connect(&proxy).send(post(&[])).send(frame(DATA, 0, 1, [0; 16_384]).repeat(100)).end();
    // The stream's error becomes the connection's where its next frames have come already.
    assert!(matches!(end, End::Stream(FLOW_CONTROL_ERROR) | End::Connection(Some(FLOW_CONTROL_ERROR))), "{end:?}");
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
}

#[test]
fn blocks_that_cannot_be_read() {
    let block = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, bytes);
    all_end([
        ("no such index", block(&[0xff, 0xff, 0xff, 0x7f]), connection(PROTOCOL_ERROR)),
        ("index 0", block(&[0x80]), connection(PROTOCOL_ERROR)),
        ("cut short", block(&get()[..get().len() - 1]), connection(PROTOCOL_ERROR)),
        ("Huffman's end", block(&[&*get(), &[0, 0x81, 0xff, 0x81, 0xff]].concat()), connection(PROTOCOL_ERROR)),
        ("a huge table", block(&[&[0x3f, 0xe1, 0xff, 0xff, 0x03], &*get()].concat()), connection(PROTOCOL_ERROR)),
    ]);
}

#[test]
fn requests_that_are_none() {
    let malformed = |more: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, get_with(more));
    let without = |name: &str| frame(HEADERS, WHOLE, 1, fields(GET.into_iter().filter(|(have, _)| *have != name)));
    let with = |name: &'static str, value: &'static str| {
        let replaced = GET.into_iter().map(|(have, is)| if have == name { (name, value) } else { (have, is) });
        frame(HEADERS, WHOLE, 1, fields(replaced))
    };
    let (stream, all) = (End::Stream(PROTOCOL_ERROR), connection(PROTOCOL_ERROR));
    let late = fields(GET.into_iter().take(3).chain([("x", "1"), GET[3]]));
    let itself = [&[0, 0, 0, 1, 16], &*get()].concat();
    all_end([
        ("a capital", malformed(&[("X-A", "1")]), all),
        ("a space in a name", malformed(&[("x y", "1")]), all),
        ("no name", malformed(&[("", "1")]), all),
        ("a NUL", malformed(&[("x", "1\u{0}2")]), all),
        ("a line", malformed(&[("x", "1\r\nevil: 1")]), all),
        ("no method", without(":method"), stream),
        ("no scheme", without(":scheme"), stream),
        ("no path", without(":path"), stream),
        ("an empty path", with(":path", ""), stream),
        ("two methods", malformed(&[(":method", "GET")]), stream),
        ("two paths", malformed(&[(":path", "/b")]), stream),
        ("two authorities", malformed(&[(":authority", "other")]), stream),
        ("what is no pseudo header", malformed(&[(":foo", "1")]), all),
        ("a status", malformed(&[(":status", "200")]), stream),
        ("a pseudo header after others", frame(HEADERS, WHOLE, 1, late), stream),
        ("a method with a space", with(":method", "G T"), all),
        ("a path with a space", with(":path", "/a b"), stream),
        ("a path without a slash", with(":path", "a/../b"), stream),
        ("a star that is no OPTIONS", with(":path", "*"), End::Answer(400)),
        ("connection", malformed(&[("connection", "close")]), stream),
        ("keep-alive", malformed(&[("keep-alive", "1")]), stream),
        ("proxy-connection", malformed(&[("proxy-connection", "1")]), stream),
        ("transfer-encoding", malformed(&[("transfer-encoding", "chunked")]), stream),
        ("upgrade", malformed(&[("upgrade", "websocket")]), stream),
        ("te", malformed(&[("te", "gzip")]), stream),
        ("te: trailers", malformed(&[("te", "trailers")]), End::Answer(200)),
        ("a stream that depends on itself", frame(HEADERS, WHOLE | WITH_PRIORITY, 1, itself), stream),
        ("a name and a password", with(":authority", "u@test"), End::Answer(400)),
        ("no authority", without(":authority"), End::Answer(400)),
        ("a length without a body", malformed(&[("content-length", "5")]), stream),
        ("a length below zero", malformed(&[("content-length", "-1")]), stream),
        (
            "a body longer than its length",
            [post(&[("content-length", "2")]), frame(DATA, 1, 1, "abcd")].concat(),
            stream,
        ),
        (
            "a body shorter than its length",
            [post(&[("content-length", "5")]), frame(DATA, 1, 1, "ab")].concat(),
            stream,
        ),
        ("trailers without an end", [post(&[]), frame(HEADERS, END_HEADERS, 1, fields([("x", "1")]))].concat(), stream),
    ]);
}

#[test]
fn headers_that_are_too_large() {
    let fields_of = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("x{n}")).collect();
        frame(HEADERS, WHOLE, 1, get_with(&names.iter().map(|name| (name.as_str(), "1")).collect::<Vec<_>>()))
    };
    let long = "y".repeat(10_000);
    let pieces = |count: usize| {
        let piece = frame(CONTINUATION, 0, 1, fields([("x", long.as_str())]));
        [frame(HEADERS, END_STREAM, 1, get()), piece.repeat(count), frame(CONTINUATION, END_HEADERS, 1, [])].concat()
    };
    // One entry of the table, named twelve thousand times: 48 MB in 16 KB.
    let entry = [&[0x40, 1, b'x'], &*integer(4000), "y".repeat(4000).as_bytes()].concat();
    let bomb = frame(HEADERS, WHOLE, 1, [get(), entry, vec![0xbe; 12_000]].concat());
    all_end([
        ("90 fields", fields_of(90), End::Answer(200)),
        ("97 fields and four pseudo headers", fields_of(97), End::Answer(431)),
        ("50 KB", pieces(5), End::Answer(200)),
        ("70 KB", pieces(7), connection(ENHANCE_YOUR_CALM)),
        ("a bomb", bomb, connection(ENHANCE_YOUR_CALM)),
    ]);
}

#[test]
fn floods() {
    let resets: Vec<u8> = (0..3000)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            [frame(HEADERS, WHOLE, stream, get()), frame(RST_STREAM, 0, stream, [0, 0, 0, 8])].concat()
        })
        .collect();
    let endless = frame(CONTINUATION, 0, 1, fields([("x", "y".repeat(1000).as_str())]));
    all_end([
        ("resets", resets, connection(ENHANCE_YOUR_CALM)),
        (
            "continuations without anything",
            [frame(HEADERS, END_STREAM, 1, get()), frame(CONTINUATION, 0, 1, []).repeat(5000)].concat(),
            connection(ENHANCE_YOUR_CALM),
        ),
        (
            "continuations",
            [frame(HEADERS, END_STREAM, 1, get()), endless.repeat(5000)].concat(),
            connection(ENHANCE_YOUR_CALM),
        ),
        (
            "data after the end",
            [frame(HEADERS, WHOLE, 1, get()), frame(DATA, 0, 1, "abc")].concat(),
            connection(PROTOCOL_ERROR),
        ),
    ]);
}

/// In a process of its own: here other tests take memory as well.
#[test]
fn what_is_repeated_costs_no_memory() {
    const ALONE: &str = "WASMPLUGIN_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return repeat_everything();
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "frames::what_is_repeated_costs_no_memory", "--nocapture"]).env(ALONE, "1");
    let output = alone.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

fn repeat_everything() {
    let (_server, proxy) = start();
    let mut raw = Raw::connect(&proxy);
    raw.send(post(&[]));
    let before = resident();
    for flood in [
        frame(PING, 0, 0, [0; 8]),
        frame(SETTINGS, 0, 0, []),
        frame(PRIORITY, 0, 1, [0, 0, 0, 0, 16]),
        frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]),
        frame(DATA, 0, 1, []),
    ] {
        let mut reader = raw.0.try_clone().unwrap();
        let drain = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).ok());
        raw.send(flood.repeat(50_000));
        raw.0.shutdown(std::net::Shutdown::Both).ok();
        drain.join().unwrap();
        raw = Raw::connect(&proxy);
        raw.send(post(&[]));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more than before");
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
}

/// What this process has in memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_begins_like_http2_and_is_not() {
    let (server, proxy) = start();
    for (bytes, expected) in [
        (&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], "HTTP/1.1 400"),
        (b"PRI * HTTP/1.1\r\nhost: test\r\n\r\n", "HTTP/1.1 400"),
    ] {
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.send(bytes).exactly(expected.len()).unwrap(), expected, "{}", bytes.escape_ascii());
    }
    let mut raw = Raw(TcpStream::connect(proxy.address()).unwrap());
    raw.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let end = raw.send(PREFACE).send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").end();
    assert!(matches!(end, End::Connection(Some(_))), "{end:?}");
    assert_eq!(server.seen(), Vec::<String>::new());
}

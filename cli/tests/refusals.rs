//! Bytes that no plugin sees as a request: both engines refuse them alike, and tell plugins the same of them afterwards.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wasmplugin_host::module::build;

use crate::command::{Going, address, workspace};

/// What a client sends, and the status that it gets.
const CASES: [(&str, u16); 14] = [
    ("\0\u{1}garbage\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("FOO / HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("CONNECT /a HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("GET ftp://test/ HTTP/1.1\r\nhost: test\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: test\r\nx y: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: test\r\nconnection: x-forwarded-for\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 403),
    ("OPTIONS * HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n", 404),
    ("GET / HTTP/1.0\r\nhost: test\r\n\r\n", 426),
    ("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
];

#[test]
fn what_is_refused_is_counted_by_plugins_as_in_envoy() {
    let module = build::wasm(workspace().join("examples/labelled-counter")).unwrap();
    let [embedded, envoy] = ["embedded", "envoy"].map(|engine| {
        let arguments = ["run", module.to_str().unwrap(), "--listen", "127.0.0.1:0", "--engine", engine];
        let mut run = Going::start(&arguments);
        let line = run.line_with("listens on");
        let (front, admin) = line.split_once(", its admin interface on ").unwrap();
        for (bytes, expected) in CASES {
            let answer = ask(address(front), bytes);
            assert_eq!(answer.split(' ').nth(1), Some(&*expected.to_string()), "{engine}: {bytes:?} {answer}");
        }
        let counted = counted(address(admin));
        assert_eq!(run.interrupt(), Some(0));
        counted
    });
    assert_eq!(embedded, envoy);
}

/// What the server says until it closes.
fn ask(to: &str, bytes: &str) -> String {
    let mut client = TcpStream::connect(to).unwrap();
    client.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ended = client.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The counters of plugins, once they have counted every case.
fn counted(admin: &str) -> BTreeMap<String, usize> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = ask(admin, "GET /stats?filter=wasmcustom HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let lines = page.lines().filter_map(|line| line.strip_prefix("wasmcustom.")?.rsplit_once(": "));
        let counts: BTreeMap<_, _> = lines.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect();
        if counts.values().sum::<usize>() >= CASES.len() {
            return counts;
        }
        assert!(Instant::now() < deadline, "{page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

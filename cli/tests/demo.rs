//! `cargo wasmplugin demo`.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::command::{Going, address, wasmplugin};

#[test]
fn both_engines_give_the_same_right_answers() {
    let embedded = wasmplugin(&["demo"]);
    assert_eq!(embedded.code, Some(0), "{embedded:#?}");
    let envoy = wasmplugin(&["demo", "--engine", "envoy"]);
    assert_eq!(envoy.code, Some(0), "{envoy:#?}");
    assert_eq!(embedded.out, envoy.out);
    assert!(embedded.out.ends_with("answers are right, and each side knows the other\n"), "{}", embedded.out);
    assert!(!embedded.out.contains('✗'));
}

#[test]
fn what_is_kept_ends_with_ctrl_c() {
    for engine in ["embedded", "envoy"] {
        let mut demo = Going::start(&["demo", "--keep", "--engine", engine]);
        let curl = demo.line_with("curl -i -H");
        let proxy = address(&curl).to_owned();
        let stats = demo.line_with("/stats/prometheus");
        let admin = address(&stats).to_owned();
        // Kept open: the port itself may soon be somebody else's.
        let open = [&proxy, &admin].map(|address| TcpStream::connect(address).unwrap());
        assert_eq!(demo.interrupt(), Some(0));
        for mut connection in open {
            connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let end = connection.read(&mut [0; 1]).map_err(|error| error.kind());
            assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{engine} is still there: {end:?}");
        }
    }
}

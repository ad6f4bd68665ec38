//! `cargo wasmplugin demo`.

use std::net::TcpStream;

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
        assert!(TcpStream::connect(&proxy).is_ok() && TcpStream::connect(&admin).is_ok());
        assert_eq!(demo.interrupt(), Some(0));
        for gone in [proxy, admin] {
            assert!(TcpStream::connect(&gone).is_err(), "{engine} still listens on {gone}");
        }
    }
}

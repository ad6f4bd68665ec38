//! Texts that Go and others read differently.

use super::*;

fn printed(text: &str) -> String {
    GoUrl::parse(text).unwrap().to_string()
}

#[test]
fn the_scheme_is_what_stands_before_the_first_colon() {
    assert_eq!(GoUrl::parse("registry:5000/a").unwrap().scheme, "registry");
    assert_eq!(GoUrl::parse("OCI://ghcr.io/a").unwrap().scheme, "oci");
    assert_eq!(GoUrl::parse("ghcr.io/a:1").unwrap().scheme, "");
    assert_eq!(GoUrl::parse("192.168.0.1:5000/a"), Err(NotUrl::Colon));
    assert_eq!(GoUrl::parse(":x"), Err(NotUrl::NoScheme));
}

#[test]
fn hosts_and_ports_are_checked() {
    for text in [
        "http://a:b/",
        "http://a b/",
        "http://a%41/",
        "http://[1.2.3.4]/",
        "http://[::1/",
        "http://x[::1]/",
        "http://::1/",
        "http://a:80:80/",
        "http://a{b/",
        "http://us er@a/",
    ] {
        assert!(GoUrl::parse(text).is_err(), "{text}");
    }
    for text in
        ["http://a:/", "http://[::1]:80/x", "http://[fe80::1%25en0]/", "http://a_b/", "http://u:p@a/", "http://\u{e9}/"]
    {
        assert!(GoUrl::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_printed_is_what_go_prints() {
    for (text, go) in [
        ("oci://x/y ", "oci://x/y%20"),
        ("OCI://GHCR.io/A", "oci://GHCR.io/A"),
        ("http://a/b%2fc", "http://a/b%2fc"),
        ("http://a/?", "http://a/?"),
        ("http://a/b?c=d#e", "http://a/b?c=d#e"),
        ("http://u:p@a/", "http://u:p@a/"),
        ("file:/x", "file:/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("/a/b", "/a/b"),
        ("*", "*"),
    ] {
        assert_eq!(printed(text), go, "{text}");
    }
}

#[test]
fn a_request_uri_is_absolute() {
    assert_eq!(GoUrl::parse_request_uri("a/b"), Err(NotUrl::Relative));
    assert_eq!(GoUrl::parse_request_uri(""), Err(NotUrl::Empty));
    assert_eq!(GoUrl::parse_request_uri("a\n"), Err(NotUrl::Control));
    assert_eq!(GoUrl::parse_request_uri("//a/b").unwrap().path, b"//a/b");
}

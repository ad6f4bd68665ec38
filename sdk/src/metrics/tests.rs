use proptest::prelude::*;

use super::*;

fn encoded<const N: usize>(labels: [&'static str; N], values: [&[u8]; N]) -> String {
    let mut name = String::new();
    Family::new(MetricKind::Counter, "requests_total", labels).encode(&values, &mut name);
    name
}

#[test]
fn labels_travel_in_the_name() {
    assert_eq!(encoded(["method", "code"], [b"GET", b"200"]), "method=.=GET;.;code=.=200;.;requests_total");
    assert_eq!(encoded(["path"], [b"/a?b=c \"\\:\xc3\xa9"]), "path=.=/a?b=c \"\\:\u{e9};.;requests_total");
    assert_eq!(encoded(["a"], [b""]), "a=.=;.;requests_total");
    assert_eq!(encoded(["a"], [b"x;.;b=.=y%\n\xff"]), "a=.=x%3B.%3Bb%3D.=y%25%0A%FF;.;requests_total");
}

#[test]
fn names_of_the_author_cannot_break_the_encoding() {
    let mut name = String::new();
    Family::new(MetricKind::Counter, "a;b.c", ["x=.=y"]).encode(&["v"], &mut name);
    assert_eq!(name, "x___y=.=v;.;a_b.c");
}

#[test]
fn a_long_value_is_cut_between_characters() {
    let long = "x".repeat(127) + "\u{e9}\u{e9}";
    assert_eq!(encoded(["a"], [long.as_bytes()]), format!("a=.={};.;requests_total", "x".repeat(127)));
    let bytes = [0xbf; 300];
    assert!(encoded(["a"], [&bytes]).starts_with("a=.=%BF"));
}

#[test]
fn a_set_is_defined_once_and_those_over_the_limit_share_one() {
    let mut family = Family::new(MetricKind::Counter, "n", ["a"]);
    family.limit = 2;
    let defined = RefCell::new(Vec::new());
    let id = |value: &str| {
        let define = |name: &str| {
            let mut defined = defined.borrow_mut();
            defined.push(name.to_owned());
            Ok(u32::try_from(defined.len()).unwrap())
        };
        family.id(&[value], define).unwrap()
    };
    assert_eq!(["a", "b", "a", "c", "d", "b", "c"].map(id), [1, 2, 1, 3, 3, 2, 3]);
    assert_eq!(*defined.borrow(), ["a=.=a;.;n", "a=.=b;.;n", "a=.=other;.;n"]);
}

#[test]
fn a_set_that_the_host_refused_is_asked_for_again() {
    let family = Family::new(MetricKind::Counter, "n", ["a"]);
    let refusal = sys::HostError { call: "proxy_define_metric", status: sys::Status::INTERNAL_FAILURE };
    assert_eq!(family.id(&["x"], |_| Err(refusal)), Err(refusal));
    assert_eq!(family.id(&["x"], |_| Ok(4)), Ok(4));
}

/// The value that a tag of the proxy extracts, and the name without it.
fn extract(tag: &StatsTag, name: &str) -> Option<(String, String)> {
    let regex = regex::Regex::new(&tag.regex).unwrap();
    let groups = regex.captures(name)?;
    let (label, value) = (groups.get(1)?, groups.get(2)?);
    let mut rest = name.to_owned();
    rest.replace_range(label.range(), "");
    Some((value.as_str().to_owned(), rest))
}

/// What a reader of the label sees, with the escapes resolved.
fn unescaped(value: &str) -> Vec<u8> {
    let mut bytes = value.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            plain => plain,
        });
    }
    out
}

#[test]
fn a_tag_is_not_found_inside_another() {
    let name = format!("{NAMESPACE}.{}", encoded(["source_app", "app"], [b"x.app=.=y", b"z"]));
    assert_eq!(extract(&StatsTag::of("app"), &name).unwrap().0, "z");
}

/// Bytes that are likely to hurt.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b";.;".to_vec()),
        Just(b"=.=".to_vec()),
        Just(b"method=.=".to_vec()),
        Just(b"code=.=200;.;".to_vec()),
        Just(b".".to_vec()),
        Just(b"=".to_vec()),
        Just(b"%".to_vec()),
        Just(b"\n".to_vec()),
        Just("\u{e9}".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_value_comes_out_as_it_went_in(method in value(), code in value()) {
        let family = CounterFamily::new("requests_total", ["method", "code"]);
        let mut name = format!("{NAMESPACE}.");
        name += &encoded(["method", "code"], [&method, &code]);
        prop_assert!(!name.contains(char::is_control));
        // Envoy extracts all tags from the whole name, in any order.
        for (tag, value) in family.stats_tags().iter().zip([&method, &code]) {
            prop_assert_eq!(unescaped(&extract(tag, &name).unwrap().0), value.clone());
            // So does Istio's own, which is not anchored.
            let istio = StatsTag { name: tag.name.clone(), regex: format!(r"({}=\.=(.*?);\.;)", tag.name) };
            prop_assert_eq!(unescaped(&extract(&istio, &name).unwrap().0), value.clone());
        }
        let rest = family.stats_tags().iter().fold(name, |name, tag| extract(tag, &name).unwrap().1);
        prop_assert_eq!(rest, "wasmcustom.requests_total");
    }
}

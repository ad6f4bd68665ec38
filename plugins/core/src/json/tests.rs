//! What is read, what is refused, and that both agree with `serde_json`.

use proptest::prelude::*;

use super::*;

fn skip(text: &[u8]) -> Result<(), Finding> {
    let mut json = Json::new(text)?;
    json.skip(At::Whole)?;
    json.end()
}

fn text(text: &str) -> Result<String, Finding> {
    Json::new(text.as_bytes())?.text(At::Whole).map(Into::into)
}

#[test]
fn a_text_is_borrowed_unless_it_has_escapes() {
    let mut json = Json::new(br#"["plain", "\u00e9\ud83d\ude00\n\"\/"]"#).unwrap();
    let mut texts = Vec::new();
    json.list(At::Whole, &mut |json, at| json.text(at).map(|text| texts.push(text))).unwrap();
    assert!(matches!(texts.as_slice(), [Cow::Borrowed("plain"), Cow::Owned(other)] if other == "é😀\n\"/"));
}

#[test]
fn broken_texts_are_refused() {
    for broken in
        [r#""\ud83d""#, r#""\ud83d\u0041""#, r#""\ude00""#, r#""\x""#, r#""\u00g0""#, "\"a\nb\"", "\"a", "\"\\u00"]
    {
        assert!(text(broken).unwrap_err().reason().starts_with("is not JSON"), "{broken}");
    }
}

#[test]
fn a_place_is_told_from_the_outside_in() {
    let mut json = Json::new(br#"{"a": [{}, {"b": []}]}"#).unwrap();
    let error = json
        .object(At::Whole, &mut |json, _, at| {
            json.list(at, &mut |json, at| json.object(at, &mut |json, _, at| json.text(at).map(drop)))
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "`a[1].b`: must be a text, and is a list");
    assert_eq!(skip(b"{\n \"a\" 1}").unwrap_err().to_string(), "is not JSON: expected `:` at line 2, column 6");
}

#[test]
fn depth_has_an_end() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(skip(nested(100).as_bytes()).is_ok());
    assert!(skip(nested(101).as_bytes()).is_err() && skip("[".repeat(1_000_000).as_bytes()).is_err());
}

proptest! {
    /// Whatever `serde_json` takes or refuses, so does this.
    #[test]
    fn the_same_is_json(text in r#"[\[\]{},:"\\ntu0123456789eE+.\-a-f \x01\u{e9}]{0,12}|(true|false|null|"a"|-?0?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?|\[|\]|\{|\}|,|:| ){0,8}"#) {
        prop_assert_eq!(skip(text.as_bytes()).is_ok(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
    }
}

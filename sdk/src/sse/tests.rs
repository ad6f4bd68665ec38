//! Any split of any stream gives the same events, and what is not changed passes as it came.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// What a client learns from an event: type, data, last id.
type Dispatched = (String, String, String);

/// All pieces of a stream that comes in these chunks.
fn pieces(chunks: &[&[u8]]) -> Vec<Event> {
    let mut framer = Framer::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        while let Some(event) = framer.next_event().unwrap() {
            events.push(event);
        }
    }
    events.extend(framer.finish());
    events
}

/// What a client dispatches of them.
fn dispatched(events: &[Event]) -> Vec<Dispatched> {
    let mut last_id = String::new();
    let mut seen = Vec::new();
    for event in events {
        if let Some(id) = event.id() {
            last_id = id.into_owned();
        }
        if event.is_dispatched() {
            seen.push((event.name().into_owned(), event.data().into_owned(), last_id.clone()));
        }
    }
    seen
}

/// The same after the letter of the standard, on the whole text at once.
fn reference(stream: &[u8]) -> Vec<Dispatched> {
    let text = String::from_utf8_lossy(stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream)).into_owned();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some((text, _)) = text.rsplit_once('\n') else { return Vec::new() };
    let (mut kind, mut data, mut last_id) = (String::new(), String::new(), String::new());
    let mut seen = Vec::new();
    for line in text.split('\n') {
        if line.is_empty() {
            if let Some(data) = data.strip_suffix('\n') {
                let name = if kind.is_empty() { "message".to_owned() } else { kind.clone() };
                seen.push((name, data.to_owned(), last_id.clone()));
            }
            (kind, data) = (String::new(), String::new());
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => kind = value.to_owned(),
            "data" => data = data + value + "\n",
            "id" if !value.contains('\0') => last_id = value.to_owned(),
            _ => {}
        }
    }
    seen
}

/// Streams made of what means something to a parser, and of anything.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        3 => Just(b"data".to_vec()),
        4 => Just(b"\n".to_vec()),
        2 => Just(b"\r".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        2 => Just(b":".to_vec()),
        1 => Just(b": ".to_vec()),
        1 => Just(b"event: a".to_vec()),
        1 => Just(b"id: 1".to_vec()),
        1 => Just(b"id: \0".to_vec()),
        1 => Just(b"retry: 10".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        1 => Just("é".as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat())
}

fn split_at<'a>(mut stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, rest) = stream.split_at((*cut).min(stream.len()));
        chunks.push(chunk);
        stream = rest;
    }
    chunks.push(stream);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_gives_the_same_events(stream in streams(), cuts in proptest::collection::vec(0usize..9, 0..20)) {
        let events = pieces(&split_at(&stream, &cuts));
        let passed: Vec<u8> = events.iter().flat_map(|event| event.as_ref().to_vec()).collect();
        prop_assert_eq!(&passed, &stream, "what is not changed passes as it came");
        prop_assert_eq!(dispatched(&events), reference(&stream));
    }

    #[test]
    fn a_field_that_is_set_is_read_back(
        stream in streams(), data in "[a-z:\\n\\r ]{0,12}", name in "[a-z: ]{1,5}", id in "[a-z: ]{0,5}",
    ) {
        for mut event in pieces(&[&stream]) {
            let (was, retry) = (event.is_dispatched(), event.retry());
            event.set_data(&data);
            event.set_name(&name).unwrap();
            event.set_id(&id).unwrap();
            prop_assert_eq!(event.data(), data.replace("\r\n", "\n").replace('\r', "\n"));
            prop_assert_eq!(event.name(), name.as_str());
            prop_assert_eq!(event.id().unwrap(), id.as_str());
            prop_assert_eq!(event.retry(), retry);
            prop_assert!(!was || event.is_dispatched());
        }
    }
}

#[test]
fn fields_are_read_as_browsers_read_them() {
    let text = b": hi\nretry: 2500\nid: 7\nevent: tick\ndata: one\ndata\ndata:  two\nnonsense: 1\n\n";
    let [event] = &pieces(&[text])[..] else { panic!("one event") };
    assert_eq!(event.name(), "tick");
    assert_eq!(event.data(), "one\n\n two");
    assert_eq!(event.id().as_deref(), Some("7"));
    assert_eq!(event.retry(), Some(Duration::from_millis(2500)));
    assert_eq!(event.comments().collect::<Vec<_>>(), ["hi"]);
    assert!(event.is_dispatched());
}

#[test]
fn a_changed_field_leaves_the_other_lines_alone() {
    let mut event = pieces(&[b"id: 7\r\ndata: a\r\n: note\r\ndata: b\r\n\r\n"]).remove(0);
    event.set_data("x\ny");
    assert_eq!(event.as_ref(), b"id: 7\r\ndata: x\ndata: y\n: note\r\n\r\n");
    event.set_name("new").unwrap();
    assert_eq!(event.as_ref(), b"id: 7\r\ndata: x\ndata: y\n: note\r\nevent: new\n\r\n");
    assert!(event.set_name("a\nb").is_err());
    assert!(event.set_id("a\0b").is_err());
    assert_eq!(Event::new("hello").as_ref(), b"data: hello\n\n");
    assert_eq!(Event::new("").as_ref(), b"data: \n\n");
}

#[test]
fn an_event_is_whole_with_its_last_byte() {
    let mut framer = Framer::new(100);
    framer.push(b"data: a\r");
    assert_eq!(framer.next_event().unwrap(), None);
    framer.push(b"\r");
    assert_eq!(framer.next_event().unwrap().unwrap().data(), "a");
    framer.push(b"\ndata: b\n");
    assert!(framer.next_event().unwrap().unwrap().is_blank());
    assert_eq!(framer.next_event().unwrap(), None);
    framer.push(b"\n");
    assert_eq!(framer.next_event().unwrap().unwrap().data(), "b");
}

#[test]
fn an_event_without_end_is_refused_at_the_limit() {
    let mut framer = Framer::new(20);
    for _ in 0..2 {
        framer.push(b"data: 3456");
        assert_eq!(framer.next_event().unwrap(), None);
    }
    framer.push(b"x");
    let error = framer.next_event().unwrap_err();
    assert_eq!(error.to_string(), "an event is larger than the limit of 20 bytes");
    // A whole event is handed out whatever its length; only what has no end is bounded.
    framer.push(b"\n\n");
    assert_eq!(framer.next_event().unwrap().unwrap().as_ref().len(), 23);
}

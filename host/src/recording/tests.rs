//! What recordings keep, and what they do not.

use super::*;
use crate::recording::redactor::Redactor;

fn message(headers: &[(&str, &str)]) -> What {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    What::Message(Message { leg: Leg::RequestIn, headers, end: true })
}

/// What is kept of a request with these headers.
fn kept(recorder: &Recorder, headers: &[(&str, &str)]) -> String {
    recorder.switch(true);
    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    recorder.add(&mut tape, Duration::ZERO, message(headers));
    recorder.changed_since(0).0.pop().unwrap().to_string()
}

#[test]
fn nothing_is_recorded_unless_asked() {
    let recorder = Recorder::default();
    assert!(recorder.begin(&"in".into(), Duration::ZERO).is_none());
    recorder.switch(true);
    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    recorder.switch(false);
    assert!(recorder.begin(&"in".into(), Duration::ZERO).is_none());
    recorder.add(&mut tape, Duration::ZERO, message(&[]));
    let (recordings, version) = recorder.changed_since(0);
    assert_eq!((recordings.len(), recordings[0].entries.len()), (1, 1), "what has begun is recorded to its end");
    assert_eq!(recorder.changed_since(version).0, []);
    recorder.clear();
    assert_eq!(recorder.changed_since(0).0, []);
    recorder.add(&mut tape, Duration::ZERO, message(&[]));
    assert_eq!(recorder.changed_since(0).0, [], "what was forgotten stays so");
}

#[test]
fn secrets_are_not_kept_wherever_they_are() {
    let recorder = Recorder::default();
    recorder.protect(Secrets::new(["X-Badge", "ticket"]));
    let text = kept(
        &recorder,
        &[
            ("x-copy", "was Bearer hunter2hunter2"),
            ("authorization", "Bearer hunter2hunter2"),
            ("cookie", "a=1; sid=cookievalue"),
            ("proxy-authorization", "Basic c3VwZXI6c2VjcmV0"),
            ("x-api-key", "key-key-key"),
            ("x-badge", "badge-number-7"),
            (":path", "/a?access%5Ftoken=querytoken&b=2&ticket=ticketvalue#x"),
            ("referer", "https://h/?b=2&id_token=idtokenvalue"),
            ("x-echo", "cookievalue querytoken"),
            ("x-bare", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."),
            ("x-plain", "nothing"),
            ("www-authenticate", "Bearer realm"),
        ],
    );
    for secret in [
        "hunter2",
        "cookievalue",
        "c3VwZXI",
        "key-key",
        "badge-number",
        "querytoken",
        "ticketvalue",
        "idtokenvalue",
        "eyJ",
    ] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    for plain in [
        "x-plain: nothing",
        "www-authenticate: Bearer realm",
        "b=2&ticket=[redacted, 11 bytes]#x",
        "authorization: [redacted, 21 bytes]",
    ] {
        assert!(text.contains(plain), "no `{plain}` in {text}");
    }
}

#[test]
fn what_a_plugin_logs_of_a_secret_is_taken_out() {
    let (secrets, mut redactor) = (Secrets::default(), Redactor::default());
    assert_eq!(redactor.field(&secrets, "Authorization", "Bearer abc.def"), "[redacted, 14 bytes]");
    assert_eq!(
        redactor.text(&secrets, "got `abc.def`, not Bearer abc.defg"),
        "got `[redacted, 7 bytes]`, not [redacted, 14 bytes]g"
    );
    assert_eq!(redactor.text(&secrets, "eyJ is no token, and ü stays"), "eyJ is no token, and ü stays");
}

#[test]
fn there_is_a_bound_to_everything() {
    let recorder = Recorder::default();
    let long = "x".repeat(10_000);
    for _ in 0..300 {
        kept(&recorder, &[("x-long", &long)]);
    }
    let (recordings, _) = recorder.changed_since(0);
    assert_eq!((recordings.len(), recordings[0].serial), (256, 45));
    assert!(recordings.iter().all(|recording| recording.to_string().len() < 4096));

    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    for _ in 0..1500 {
        recorder.add(&mut tape, Duration::ZERO, message(&[("x-long", &long)]));
    }
    let recording = recorder.changed_since(0).0.pop().unwrap();
    assert!(recording.to_string().len() < 2 << 20 && recording.omitted > 1000, "{}", recording.omitted);
    for _ in 0..100 {
        let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
        for _ in 0..60 {
            recorder.add(&mut tape, Duration::ZERO, message(&[("x-long", &long)]));
        }
    }
    let bytes: usize = recorder.changed_since(0).0.iter().map(|recording| recording.to_string().len()).sum();
    assert!(bytes < 10 << 20, "{bytes}");
}

#[test]
fn a_terminal_obeys_nothing_that_came_from_elsewhere() {
    let text = kept(&Recorder::default(), &[("x-evil", "\u{1b}[2Jgone\n#9")]);
    assert!(text.contains(r"x-evil: \u{1b}[2Jgone\n#9"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

/// What is kept of a body that comes in these pieces, with these headers.
fn kept_body(headers: &[(&str, &str)], pieces: &[&[u8]], end: bool) -> Body {
    let recorder = Recorder::default();
    recorder.switch(true);
    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    recorder.add(&mut tape, Duration::ZERO, message(headers));
    for (at, piece) in pieces.iter().enumerate() {
        let data = Data { leg: Leg::RequestIn, bytes: piece.len(), end: end && at + 1 == pieces.len() };
        recorder.carry(&mut tape, Duration::ZERO, data, [*piece].into_iter());
    }
    recorder.changed_since(0).0.pop().unwrap().body(Leg::RequestIn).unwrap().clone()
}

fn text(body: &Body) -> &str {
    let Content::Text(text) = &body.content else { panic!("{body:?}") };
    text
}

#[test]
fn a_body_is_kept_up_to_a_bound() {
    let body = kept_body(&[], &[b"a", b"", b"b\nc"], true);
    assert_eq!((text(&body), body.bytes, body.omitted, body.is_whole()), ("ab\nc", 4, 0, true));
    let body = kept_body(&[], &[b"ab"], false);
    assert!(!body.is_whole() && !body.end);
    let long = "x".repeat(3000);
    let body = kept_body(&[], &[long.as_bytes(); 5], true);
    assert_eq!((text(&body).len(), body.bytes, body.omitted, body.is_whole()), (4096, 15_000, 10_904, false));
    // Half a character at the end of what is kept is no reason to take a text for something else.
    let body = kept_body(&[], &["üx".repeat(2000).as_bytes()], true);
    assert_eq!((text(&body).len(), body.bytes), (4095, 6000));
    for bytes in [&b"\xff\xfe"[..], b"a\0b", b"\x1b[2J", "ü".as_bytes().get(..1).unwrap()] {
        let body = kept_body(&[], &[bytes], true);
        assert_eq!(body.content, Content::Bytes(bytes.to_vec()));
        assert!(body.is_whole());
    }
}

#[test]
fn small_pieces_are_shown_as_they_double_and_whole_at_the_end() {
    let shown = |pieces: usize, end| kept_body(&[], &vec![&b"x"[..]; pieces], end);
    let open = |pieces| (text(&shown(pieces, false)).len(), shown(pieces, false).omitted);
    assert_eq!([1, 2, 3, 4, 7, 8].map(open), [(1, 0), (2, 0), (2, 1), (4, 0), (4, 3), (8, 0)]);
    assert_eq!([5000, 4096].map(open), [(4096, 904), (4096, 0)]);
    for pieces in [3, 1000, 4096] {
        let body = shown(pieces, true);
        assert!(text(&body).len() == pieces && body.is_whole(), "{body:?}");
    }
    assert_eq!((text(&shown(5000, true)).len(), shown(5000, true).omitted), (4096, 904));
}

#[test]
fn bodies_are_kept_without_secrets() {
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";
    let wanted = r#"{"user":"ada","password":"[redacted, 7 bytes]"}"#;
    // However the pieces are cut.
    let json = br#"{"user":"ada","password":"hunter2"}"#;
    for cut in 0..json.len() {
        let (one, two) = json.split_at(cut);
        let body = kept_body(&[], &[one, two], true);
        assert_eq!(text(&body), wanted);
        assert!(body.redacted && !body.is_whole());
        // While the rest is still to come, nothing of the secret is there either.
        let begun = kept_body(&[], &[one], false);
        let Content::Text(begun) = &begun.content else { panic!("{begun:?}") };
        assert!(!begun.contains("hu"), "{begun}");
    }
    for (body, wanted) in [
        (
            "grant_type=code&client_secret=hunter2&x=1".to_owned(),
            "grant_type=code&client_secret=[redacted, 7 bytes]&x=1",
        ),
        ("refresh_token=hunter2".to_owned(), "refresh_token=[redacted, 7 bytes]"),
        (format!("got {jwt}!"), "got [redacted, 40 bytes]!"),
        (r#"{"id_token":["a","b"],"n":1}"#.to_owned(), r#"{"id_token":[redacted, 9 bytes],"n":1}"#),
        ("was Bearer headersecret".to_owned(), "was [redacted, 19 bytes]"),
    ] {
        let body = kept_body(&[("authorization", "Bearer headersecret")], &[body.as_bytes()], true);
        assert_eq!(text(&body), wanted);
    }
    let mut binary = b"\0\0\0\0\x20".to_vec();
    binary.extend(jwt.as_bytes());
    let body = kept_body(&[], &[&binary], true);
    assert_eq!(body.content, Content::Bytes(b"\0\0\0\0 [redacted, 40 bytes]".to_vec()));
    assert!(!body.is_whole());
    for name in ["content-encoding", "grpc-encoding"] {
        let body = kept_body(&[(name, "gzip")], &[b"packed"], true);
        assert!(matches!(&body.content, Content::Nothing(why) if why.contains("gzip")), "{body:?}");
        assert_eq!((body.bytes, body.omitted, body.is_whole()), (6, 6, false));
    }
    assert!(kept_body(&[("content-encoding", "identity")], &[b"plain"], true).is_whole());
}

#[test]
fn no_secret_is_cut_in_two_by_the_bound() {
    let jwt = format!("eyJhbGciOiJub25lIn0.{}.c2ln", "eyJzdWIiOiJhIn0".repeat(9));
    for secret in [r#""password":"hunter2hunter2""#.to_owned(), "copy of headersecret".to_owned(), jwt] {
        for before in 4096 - secret.len()..4096 {
            let body = format!("{} {secret}, and more", "x".repeat(before - 1));
            let body = kept_body(&[("authorization", "Bearer headersecret")], &[body.as_bytes()], true);
            let text = text(&body);
            for part in ["hun", "hea", "eyJh"] {
                assert!(!text.contains(part), "{before}: {}", text.get(4000..).unwrap());
            }
        }
    }
}

#[test]
fn all_bodies_together_have_a_bound() {
    let recorder = Recorder::default();
    recorder.switch(true);
    let piece = [b'x'; 4096];
    let mut tapes: Vec<_> = (0..3000).map(|_| recorder.begin(&"in".into(), Duration::ZERO).unwrap()).collect();
    let data = Data { leg: Leg::RequestIn, bytes: piece.len(), end: false };
    let kept = |tape: &mut Tape| {
        recorder.carry(tape, Duration::ZERO, data, [&piece[..]].into_iter());
        tape.held()
    };
    let all: usize = tapes.iter_mut().map(|tape| kept(tape)).sum();
    assert_eq!(all, 8 << 20, "of bodies that go on");
    let last = recorder.changed_since(0).0.pop().unwrap();
    assert_eq!(last.body(Leg::RequestIn).map(|body| (body.bytes, body.omitted)), Some((4096, 4096)));
    tapes.clear();
    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    assert_eq!(kept(&mut tape), 4096, "what has ended makes room");
}

#[test]
fn a_long_body_does_not_hide_what_follows() {
    let recorder = Recorder::default();
    recorder.switch(true);
    let mut tape = recorder.begin(&"in".into(), Duration::ZERO).unwrap();
    let data = Data { leg: Leg::RequestIn, bytes: 1, end: false };
    for _ in 0..10_000 {
        recorder.carry(&mut tape, Duration::ZERO, data, [&b"x"[..]].into_iter());
    }
    recorder.add(&mut tape, Duration::ZERO, message(&[("x-last", "1")]));
    let recording = recorder.changed_since(0).0.pop().unwrap();
    assert_eq!(recording.message(Leg::RequestIn).unwrap().header("x-last"), Some("1"));
    let body = recording.body(Leg::RequestIn).unwrap();
    assert_eq!((body.bytes, body.omitted, recording.omitted), (10_000, 10_000 - 4096, 10_000 - 384));
}

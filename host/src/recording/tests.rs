//! What recordings keep, and what they do not.

use super::*;
use crate::recording::secrets::Redactor;

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

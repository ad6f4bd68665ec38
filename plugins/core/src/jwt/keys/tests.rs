//! The life of fetched sets, on a clock of our own.

use super::super::fixtures::hmac_keys;
use super::*;

const T0: Duration = Duration::from_secs(1_790_000_000);

fn after(seconds: u64) -> Duration {
    T0 + Duration::from_secs(seconds)
}

fn sets(source: &str) -> (KeySets, KeySetId) {
    let clusters = [("idp:8080".to_owned(), "c8080".to_owned()), ("other".to_owned(), "c".to_owned())].into();
    let mut sets = KeySets::new(Duration::from_secs(300), clusters);
    let uri = Uri::parse(source).unwrap();
    let source = if source.contains(".well-known") { Source::Discovery(uri) } else { Source::Set(uri) };
    let id = KeySetId(sets.add(source, Duration::from_secs(5)));
    (sets, id)
}

fn state(sets: &KeySets, now: Duration) -> &'static str {
    match sets.known(0, now) {
        Known::Set(..) => "set",
        Known::Pending => "pending",
        Known::Failed(_) => "failed",
    }
}

fn generation(sets: &KeySets, now: Duration) -> u64 {
    match sets.known(0, now) {
        Known::Set(_, generation) => generation,
        _ => panic!("no set"),
    }
}

fn fetch_good(sets: &mut KeySets, id: KeySetId, now: Duration) {
    let fetch = sets.begin(id, now).unwrap();
    assert_eq!(sets.finish(&fetch, Some((200, hmac_keys().as_bytes())), now), Progress::Fetched);
}

#[test]
fn a_set_is_fetched_once_and_used_until_it_expires() {
    let (mut sets, id) = sets("http://idp/jwks");
    assert_eq!((state(&sets, T0), sets.due(T0).count()), ("pending", 1));
    let fetch = sets.begin(id, T0).unwrap();
    assert_eq!(
        (fetch.cluster.as_str(), fetch.authority.as_str(), fetch.path.as_str()),
        ("outbound|80||idp", "idp", "/jwks")
    );
    assert_eq!(sets.begin(id, T0), None, "single flight");
    assert_eq!((state(&sets, T0), sets.due(T0).count()), ("pending", 0));
    assert_eq!(sets.finish(&fetch, Some((200, hmac_keys().as_bytes())), after(1)), Progress::Fetched);
    assert_eq!(sets.finish(&fetch, Some((200, b"{}")), after(1)), Progress::Failed, "an answer counts once");
    assert_eq!((state(&sets, after(1)), sets.due(after(240)).count()), ("set", 0));
    assert_eq!((state(&sets, after(300)), sets.due(after(241)).count()), ("set", 1), "renewed before it expires");
    assert_eq!(state(&sets, after(301)), "pending");
    assert_eq!(state(&sets, T0), "pending", "a clock that goes back makes no set young");
}

#[test]
fn a_renewal_that_fails_leaves_the_set_its_time() {
    let (mut sets, id) = sets("http://idp/jwks");
    fetch_good(&mut sets, id, T0);
    let fetch = sets.begin(id, after(250)).unwrap();
    assert_eq!(sets.finish(&fetch, None, after(255)), Progress::Failed);
    assert_eq!((state(&sets, after(299)), state(&sets, after(300))), ("set", "pending"));
}

#[test]
fn a_failure_is_remembered_for_a_moment_that_grows() {
    let (mut sets, id) = sets("http://idp/jwks");
    let mut now = T0;
    for wait in [1, 2, 4, 8, 8, 8] {
        let fetch = sets.begin(id, now).unwrap();
        assert_eq!(sets.finish(&fetch, Some((503, b"")), now), Progress::Failed);
        let end = now + Duration::from_secs(wait);
        let before = end - Duration::from_millis(1);
        assert_eq!((state(&sets, before), sets.begin(id, before), sets.due(before).count()), ("failed", None, 0));
        assert_eq!((state(&sets, end), sets.due(end).count()), ("pending", 1));
        now = end;
    }
    fetch_good(&mut sets, id, now);
    assert_eq!(state(&sets, now), "set");
}

#[test]
fn a_clock_that_goes_back_makes_no_failure_last() {
    let (mut sets, id) = sets("http://idp/jwks");
    let fetch = sets.begin(id, after(3600)).unwrap();
    assert_eq!(sets.finish(&fetch, None, after(3600)), Progress::Failed);
    assert_eq!((state(&sets, after(3600)), state(&sets, T0)), ("failed", "pending"));
    assert_eq!(sets.due(T0).count(), 1);
    fetch_good(&mut sets, id, T0);
    assert_eq!(state(&sets, T0), "set");
}

#[test]
fn only_a_key_set_with_status_200_is_one() {
    let keys = hmac_keys();
    let large = format!("{}{keys}", " ".repeat(MAX_KEY_SET_BYTES));
    for answer in [
        None,
        Some((200, "")),
        Some((200, "<html>")),
        Some((200, "{\"keys\":[]}")),
        Some((200, large.as_str())),
        Some((201, keys.as_str())),
        Some((302, keys.as_str())),
        Some((404, keys.as_str())),
    ] {
        let (mut sets, id) = sets("http://idp/jwks");
        let fetch = sets.begin(id, T0).unwrap();
        assert_eq!(sets.finish(&fetch, answer.map(|(status, body)| (status, body.as_bytes())), T0), Progress::Failed);
        assert!(matches!(sets.known(0, T0), Known::Failed(Failure::KeysFetch)));
    }
}

#[test]
fn a_fetch_that_nobody_ends_does_not_last_for_ever() {
    let (mut sets, id) = sets("http://idp/jwks");
    assert!(sets.begin(id, T0).is_some());
    assert!(sets.begin(id, after(10)).is_none());
    assert!(sets.begin(id, after(11)).is_some());
}

#[test]
fn an_unknown_key_id_asks_for_a_newer_set_now_and_then() {
    let (mut sets, id) = sets("http://idp/jwks");
    assert!(!sets.may_renew(0, T0));
    fetch_good(&mut sets, id, T0);
    assert!(!sets.may_renew(0, after(9)) && sets.may_renew(0, after(10)));
    let fetch = sets.begin(id, after(10)).unwrap();
    assert!(sets.may_renew(0, after(11)), "who comes later waits for the same fetch");
    sets.finish(&fetch, None, after(12));
    assert!(!sets.may_renew(0, after(12)) && sets.may_renew(0, after(13)));
}

#[test]
fn the_generation_changes_with_the_set_and_only_then() {
    let (mut sets, id) = sets("http://idp/jwks");
    fetch_good(&mut sets, id, T0);
    let first = generation(&sets, T0);
    fetch_good(&mut sets, id, after(20));
    assert_eq!(generation(&sets, after(20)), first);
    let fetch = sets.begin(id, after(40)).unwrap();
    sets.finish(&fetch, Some((200, br#"{"keys":[{"kty":"oct","k":"YQ"}]}"#)), after(40));
    assert_ne!(generation(&sets, after(40)), first);
}

#[test]
fn an_openid_configuration_leads_to_the_set() {
    let (mut sets, id) = sets("https://idp/.well-known/openid-configuration");
    let first = sets.begin(id, T0).unwrap();
    assert_eq!(first.path, "/.well-known/openid-configuration");
    let answer = br#"{"issuer":"https://idp","jwks_uri":"http://idp:8080/keys?a=b"}"#;
    let Progress::Next(second) = sets.finish(&first, Some((200, answer)), T0) else { panic!("no second fetch") };
    assert_eq!((second.cluster.as_str(), second.scheme, second.path.as_str()), ("c8080", "http", "/keys?a=b"));
    assert_eq!(sets.begin(id, T0), None, "still under way");
    assert_eq!(sets.finish(&second, Some((200, hmac_keys().as_bytes())), T0), Progress::Fetched);
    assert_eq!(state(&sets, T0), "set");
}

#[test]
fn an_openid_configuration_that_leads_nowhere_is_a_failure() {
    for answer in [
        "",
        "[]",
        "{}",
        r#"{"jwks_uri":1}"#,
        r#"{"jwks_uri":"file:///k"}"#,
        r#"{"jwks_uri":"http://169.254.169.254/"}"#,
    ] {
        let (mut sets, id) = sets("https://idp/.well-known/openid-configuration");
        let fetch = sets.begin(id, T0).unwrap();
        assert_eq!(sets.finish(&fetch, Some((200, answer.as_bytes())), T0), Progress::Failed, "{answer}");
        assert!(matches!(sets.known(0, T0), Known::Failed(Failure::Signature)));
    }
    // One that names itself is read as a set the second time, and is none.
    let (mut sets, id) = sets("https://idp/.well-known/openid-configuration");
    let first = sets.begin(id, T0).unwrap();
    let answer = br#"{"jwks_uri":"https://idp/.well-known/openid-configuration"}"#;
    let Progress::Next(second) = sets.finish(&first, Some((200, answer)), T0) else { panic!("no second fetch") };
    assert_eq!(sets.finish(&second, Some((200, answer)), T0), Progress::Failed);
}

#[test]
fn clusters_are_found_by_authority_or_host() {
    for (uri, cluster) in [
        ("http://idp:8080/", "c8080"),
        ("https://other/", "c"),
        ("http://other:81/", "c"),
        ("https://idp/", "outbound|443||idp"),
    ] {
        let (mut sets, id) = sets(uri);
        assert_eq!(sets.begin(id, T0).unwrap().cluster, cluster);
    }
}

#[test]
fn rules_that_agree_share_a_set() {
    let (mut sets, _) = sets("http://idp/jwks");
    let source = |text| Source::Set(Uri::parse(text).unwrap());
    assert_eq!(sets.add(source("http://idp/jwks"), Duration::from_secs(5)), 0);
    assert_eq!(sets.add(source("http://idp/jwks"), Duration::from_secs(6)), 1);
    assert_eq!(sets.add(source("http://idp/other"), Duration::from_secs(5)), 2);
}

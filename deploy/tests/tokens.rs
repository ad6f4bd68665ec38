//! Registries that want a token, and their token servers.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use wasmplugin_deploy::image::build::{Contents, Format, Image, build};
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::registry::credentials::Credentials;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::registry::{Registry, RegistryError, RegistryOptions};

use crate::peer::{Answer, Peer};

fn image() -> Image {
    let module = Bytes::from_static(b"\0asm\x01\0\0\0");
    build(&Contents { module, ..Contents::default() }, Format::Oci).unwrap()
}

/// A registry that lets whoever shows the token in, and a server that gives the token.
async fn guarded(token: &'static str) -> (Peer, Peer, Reference) {
    let (registry, tokens) = (Peer::start().await, Peer::start().await);
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", tokens.host());
    registry.script(move |asked, _| {
        let known = asked.authorization.as_deref() == Some(&format!("Bearer {token}"));
        (!known).then(|| Answer::with(401, &[("www-authenticate", &challenge)]))
    });
    registry.offer("a/b", "v1", &image());
    tokens.page("/token", Answer::ok(format!(r#"{{"access_token":"{token}","expires_in":60}}"#)));
    let reference = format!("{}/a/b:v1", registry.host()).parse().unwrap();
    (registry, tokens, reference)
}

fn client(tokens: &Peer, credentials: Credentials) -> Registry {
    let options =
        RegistryOptions { realms: tokens.host().parse().unwrap(), pauses: Vec::new(), ..RegistryOptions::default() };
    Registry::new(options, Keychain::Fixed(credentials)).unwrap()
}

fn alice() -> Credentials {
    Credentials::Basic { username: "alice".to_owned(), password: "secret".to_owned() }
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_once() {
    let (registry, tokens, reference) = guarded("good").await;
    let client = client(&tokens, alice());
    for _ in 0..2 {
        assert_eq!(client.manifest(&reference).await.unwrap().digest, image().digest());
    }
    let asked = tokens.take_asked();
    assert_eq!(asked.len(), 1);
    let basic = base64::engine::general_purpose::STANDARD.encode("alice:secret");
    assert_eq!(asked[0].authorization, Some(format!("Basic {basic}")));
    assert_eq!(asked[0].path, "/token?service=test&scope=repository%3Aa%2Fb%3Apull");
    // The password is for the token server only.
    assert!(
        registry
            .take_asked()
            .iter()
            .all(|asked| asked.authorization.as_deref().is_none_or(|shown| shown == "Bearer good"))
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post_and_a_registry_token_not_at_all() {
    let (_registry, tokens, reference) = guarded("good").await;
    assert!(client(&tokens, Credentials::Identity("refresh".to_owned())).manifest(&reference).await.is_ok());
    let asked = tokens.take_asked();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].path.as_str()), (1, "POST", "/token"));
    assert!(client(&tokens, Credentials::Bearer("good".to_owned())).manifest(&reference).await.is_ok());
    assert!(tokens.take_asked().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_a_worthless_one_is_told() {
    let (registry, tokens, reference) = guarded("first").await;
    let client = client(&tokens, alice());
    assert!(client.manifest(&reference).await.is_ok());
    // The registry forgets the first token; the server has another one.
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host());
    registry.script(move |asked, _| {
        let known = asked.authorization.as_deref() == Some("Bearer second");
        (!known).then(|| Answer::with(401, &[("www-authenticate", &challenge)]))
    });
    tokens.page("/token", Answer::ok(r#"{"token":"second"}"#));
    assert!(client.manifest(&reference).await.is_ok());
    tokens.page("/token", Answer::ok(r#"{"token":"worthless"}"#));
    registry.script({
        let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host());
        move |_, _| Some(Answer::with(401, &[("www-authenticate", &challenge)]))
    });
    let error = client.manifest(&reference).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("log in again") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn token_servers_that_refuse_lie_or_babble_are_told() {
    for (answer, reason) in [
        (
            Answer::Whole(401, Vec::new(), Bytes::from_static(br#"{"details":"bad"}"#)),
            "the user or the password is wrong",
        ),
        (Answer::status(500), "status 500"),
        (Answer::ok("{}"), "no `token`"),
        (Answer::ok("<html>"), "no `token`"),
        (Answer::Endless, "no more are read"),
        (Answer::with(302, &[("location", "http://169.254.169.254/")]), "link-local"),
    ] {
        let (_registry, tokens, reference) = guarded("good").await;
        tokens.page("/token", answer.clone());
        let error = client(&tokens, alice()).manifest(&reference).await.unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("secret"), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_token_server_in_the_own_network_is_not_asked_unless_allowed() {
    let (_registry, tokens, reference) = guarded("good").await;
    let strict = Registry::new(RegistryOptions::default(), Keychain::Fixed(alice())).unwrap();
    assert!(matches!(strict.manifest(&reference).await, Err(RegistryError::Realm(_))));
    assert!(tokens.take_asked().is_empty());
}

#[tokio::test]
async fn a_pull_secret_that_cannot_be_read_stops_the_pull() {
    let (registry, _tokens, reference) = guarded("good").await;
    let client = Registry::new(RegistryOptions::default(), Keychain::of_pull_secret(Vec::new())).unwrap();
    let error = client.manifest(&reference).await.unwrap_err().to_string();
    assert!(error.contains("kubernetes.io/dockerconfigjson"), "{error}");
    registry.take_asked();
}

#[tokio::test]
async fn an_upload_elsewhere_is_not_shown_the_token() {
    let (registry, tokens, reference) = guarded("good").await;
    let storage = Peer::start().await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host());
    let elsewhere = format!("http://{}/upload", storage.host());
    registry.script(move |asked, _| match (asked.method.as_str(), asked.authorization.as_deref()) {
        (_, shown) if shown != Some("Bearer good") => Some(Answer::with(401, &[("www-authenticate", &challenge)])),
        ("HEAD", _) => Some(Answer::status(404)),
        ("POST", _) => Some(Answer::with(202, &[("location", &elsewhere)])),
        _ => Some(Answer::status(201)),
    });
    storage.page("/upload", Answer::status(201));
    let client = client(&tokens, alice());
    assert_eq!(client.push(&reference, &image(), Arc::new(|_, _| ())).await.unwrap(), image().digest());
    let uploads = storage.take_asked();
    assert!(uploads.len() == 2 && uploads.iter().all(|asked| asked.authorization.is_none()), "{uploads:?}");
}

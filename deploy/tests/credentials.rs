//! Where credentials are found, and under which names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::registry::credentials::Credentials;
use wasmplugin_deploy::registry::keychain::Keychain;

/// `alice:secret`.
const AUTH: &str = "YWxpY2U6c2VjcmV0";

fn alice() -> Credentials {
    Credentials::Basic { username: "alice".to_owned(), password: "secret".to_owned() }
}

async fn of_secret(json: &str, image: &str) -> Result<Credentials, String> {
    let image: Reference = image.parse().unwrap();
    Keychain::of_pull_secret(json).resolve(&image).await.map_err(|error| error.to_string())
}

async fn of_file(json: &str, image: &str) -> Result<Credentials, String> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, json).unwrap();
    let image: Reference = image.parse().unwrap();
    Keychain::Machine(vec![folder.path().join("missing.json"), path])
        .resolve(&image)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_registry_is_known_under_the_names_that_docker_writes() {
    for (key, image) in [
        ("ghcr.io", "ghcr.io/a/b"),
        ("https://ghcr.io", "ghcr.io/a/b"),
        ("https://ghcr.io/v2/", "ghcr.io/a/b"),
        ("http://ghcr.io/v1", "ghcr.io/a/b"),
        ("localhost:5000", "localhost:5000/a"),
        ("https://index.docker.io/v1/", "foo"),
        ("index.docker.io", "docker.io/me/foo"),
        ("docker.io", "me/foo"),
    ] {
        let image = if image.ends_with("/a") { format!("{image}a") } else { image.to_owned() };
        let json = format!(r#"{{"auths":{{"{key}":{{"auth":"{AUTH}"}}}}}}"#);
        assert_eq!(of_secret(&json, &image).await, Ok(alice()), "{key}");
        assert_eq!(of_file(&json, &image).await, Ok(alice()), "{key}");
    }
}

#[tokio::test]
async fn other_registries_get_nothing() {
    for key in ["ghcr.io:443", "xghcr.io", "ghcr.io.evil.test", "https://evil.test/ghcr.io", ""] {
        let json = format!(r#"{{"auths":{{"{key}":{{"auth":"{AUTH}"}}}}}}"#);
        assert_eq!(of_secret(&json, "ghcr.io/a/b").await, Ok(Credentials::Anonymous), "{key}");
    }
}

#[tokio::test]
async fn only_podmans_files_may_name_a_repository() {
    let json = format!(r#"{{"auths":{{"ghcr.io/a":{{"auth":"{AUTH}"}}}}}}"#);
    assert_eq!(of_secret(&json, "ghcr.io/a/b").await, Ok(Credentials::Anonymous));
    assert_eq!(of_file(&json, "ghcr.io/a/b").await, Ok(alice()));
    assert_eq!(of_file(&json, "ghcr.io/c/b").await, Ok(Credentials::Anonymous));
}

#[tokio::test]
async fn all_kinds_of_credentials_are_read() {
    let entry = |fields: &str| format!(r#"{{"auths":{{"ghcr.io":{{{fields}}}}}}}"#);
    for (fields, expected) in [
        (r#""username":"alice","password":"secret""#, alice()),
        (r#""auth":"YWxpY2U6c2VjcmV0","identitytoken":"t""#, Credentials::Identity("t".to_owned())),
        (r#""identityToken":"t""#, Credentials::Identity("t".to_owned())),
        (r#""registrytoken":"t""#, Credentials::Bearer("t".to_owned())),
        (r#""auth":"""#, Credentials::Anonymous),
        ("", Credentials::Anonymous),
    ] {
        assert_eq!(of_secret(&entry(fields), "ghcr.io/a/b").await, Ok(expected), "{fields}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_without_the_secret() {
    for json in [
        "topsecret",
        r#"{"auths":{"ghcr.io":{"auth":"topsecret!"}}}"#,
        r#"{"auths":{"ghcr.io":{"auth":"dG9wc2VjcmV0"}}}"#,
    ] {
        let error = of_secret(json, "ghcr.io/a/b").await.unwrap_err();
        assert!(error.contains("cannot be read") && !error.contains("topsecret"), "{error}");
    }
    let error = of_secret(r#"{"credsStore":"desktop"}"#, "ghcr.io/a/b").await.unwrap_err();
    assert!(error.contains("kubectl create secret docker-registry"), "{error}");
}

#[tokio::test]
async fn helpers_are_asked_as_docker_asks_them() {
    let folder = tempfile::TempDir::new().unwrap();
    let script = |name: &str, body: &str| {
        let path = folder.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nread host\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("wp-good", r#"test "$1" = get && echo "{\"Username\":\"alice\",\"Secret\":\"secret\"}""#);
    script("wp-token", r#"echo "{\"Username\":\"<token>\",\"Secret\":\"$host\"}""#);
    script("wp-empty", "echo 'credentials not found in native keychain'; exit 1");
    script("wp-broken", "echo 'the keychain is locked'; exit 1");
    // The only test of this process that starts a program by the path.
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    #[expect(unsafe_code, reason = "no other thread reads the variable while it is changed")]
    unsafe {
        std::env::set_var("PATH", path);
    }
    let own = |name: &str| format!(r#"{{"credsStore":"nobody","credHelpers":{{"ghcr.io":"{name}"}}}}"#);
    assert_eq!(of_file(&own("wp-good"), "ghcr.io/a/b").await, Ok(alice()));
    assert_eq!(of_file(&own("wp-token"), "ghcr.io/a/b").await, Ok(Credentials::Identity("ghcr.io".to_owned())));
    let store = of_file(r#"{"credsStore":"wp-token"}"#, "foo").await;
    assert_eq!(store, Ok(Credentials::Identity("https://index.docker.io/v1/".to_owned())));
    assert_eq!(of_file(&own("wp-empty"), "ghcr.io/a/b").await, Ok(Credentials::Anonymous));
    assert!(of_file(&own("wp-broken"), "ghcr.io/a/b").await.unwrap_err().contains("the keychain is locked"));
    assert!(of_file(&own("wp-missing"), "ghcr.io/a/b").await.unwrap_err().contains("is not installed"));
}

//! A real registry, with ours and with `skopeo`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmplugin_deploy::cache::Cache;
use wasmplugin_deploy::fetch::{FetchOptions, Fetcher, ModuleRequest};
use wasmplugin_deploy::image::build::{Contents, Format, Image, build};
use wasmplugin_deploy::image::layout;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::registry::credentials::Credentials;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::registry::{Registry, RegistryError, RegistryOptions, TransportOptions};

use crate::registry::{Kind, PASSWORD, RealRegistry, USER, skopeo};

fn image(format: Format, size: usize) -> Image {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // What gzip cannot make smaller.
    let mut state = 1u32;
    module.extend(
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(size),
    );
    build(&Contents { module: module.into(), ..Contents::default() }, format).unwrap()
}

fn options() -> RegistryOptions {
    RegistryOptions { pauses: vec![Duration::ZERO], ..RegistryOptions::default() }
}

fn reference(registry: &RealRegistry, name: &str) -> Reference {
    format!("{}/{name}", registry.host()).parse().unwrap()
}

fn fetcher(folder: &Path, options: RegistryOptions) -> Fetcher {
    let options = FetchOptions { registry: options, ..FetchOptions::default() };
    Fetcher::new(Cache::open(folder).unwrap(), Keychain::anonymous(), options).unwrap()
}

async fn push(registry: &RealRegistry, name: &str, image: &Image) {
    let client = Registry::new(options(), Keychain::anonymous()).unwrap();
    let pushed = client.push(&reference(registry, name), image, Arc::new(|_, _| ())).await;
    assert_eq!(pushed.unwrap(), image.digest());
}

#[tokio::test]
async fn skopeo_reads_what_we_push_and_we_read_what_skopeo_pushes() {
    let registry = RealRegistry::start(Kind::default());
    let folder = tempfile::TempDir::new().unwrap();
    for (name, format, accepted) in [
        ("oci", Format::Oci, true),
        ("docker", Format::Docker, true),
        ("solo", Format::Solo, true),
        ("cncf", Format::Cncf, false),
    ] {
        let image = image(format, 5000);
        push(&registry, &format!("ours/{name}:v1"), &image).await;
        let from = format!("docker://{}", reference(&registry, &format!("ours/{name}:v1")));
        let digest = skopeo(&["inspect", "--tls-verify=false", "--raw", &from]);
        assert_eq!(digest.as_bytes(), image.manifest, "{name}");
        let copy = folder.path().join(format!("{name}-copy"));
        let into = format!("dir:{}", copy.display());
        skopeo(&["copy", "--quiet", "--src-tls-verify=false", &from, &into]);
        for (blob, bytes) in &image.blobs {
            assert_eq!(fs::read(copy.join(blob.digest.hex())).unwrap(), bytes.as_ref(), "{name}");
        }
        if format == Format::Docker {
            // A layout is OCI's: skopeo finds no Docker image in one.
            continue;
        }
        // And the other way round, by way of a layout.
        let written = folder.path().join(name);
        layout::write_folder(&written, &image, "v1").unwrap();
        let to = format!("docker://{}/theirs/{name}:v1", registry.host());
        skopeo(&[
            "copy",
            "--quiet",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &format!("oci:{}:v1", written.display()),
            &to,
        ]);
        let fetcher = fetcher(&folder.path().join("cache"), options());
        let fetched = fetcher.module(&ModuleRequest::of(to.replacen("docker", "oci", 1))).await;
        assert_eq!(fetched.is_ok(), accepted, "{name}: {fetched:?}");
        assert!(fetched.is_err() || fetched.unwrap().checksum == image.digest(), "{name}");
    }
}

#[tokio::test]
async fn a_password_and_a_certificate_are_asked_for() {
    let registry = RealRegistry::start(Kind { password: true, tls: true });
    let image = image(Format::Oci, 100);
    let place = reference(&registry, "a/b:v1");
    let user = |password: &str| Credentials::Basic { username: USER.to_owned(), password: password.to_owned() };
    let trusting = || {
        let authorities = vec![fs::read(registry.authority()).unwrap()];
        RegistryOptions { transport: TransportOptions { authorities, ..TransportOptions::default() }, ..options() }
    };
    let client = |options, credentials| Registry::new(options, Keychain::Fixed(credentials)).unwrap();
    let alice = client(trusting(), user(PASSWORD));
    assert_eq!(alice.push(&place, &image, Arc::new(|_, _| ())).await.unwrap(), image.digest());
    assert_eq!(alice.manifest(&place).await.unwrap().digest, image.digest());
    let theirs = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--creds",
        &format!("{USER}:{PASSWORD}"),
        &format!("docker://{place}"),
    ]);
    assert_eq!(theirs.as_bytes(), image.manifest);

    for (credentials, hint) in
        [(user("wrong"), "password is wrong"), (Credentials::Anonymous, "log in with `docker login`")]
    {
        let error = client(trusting(), credentials).manifest(&place).await.unwrap_err();
        assert!(matches!(error, RegistryError::Refused { status: 401, .. }), "{error:?}");
        assert!(error.to_string().contains(hint) && !error.to_string().contains("wrong`"), "{error}");
    }
    let unknown = client(options(), user(PASSWORD)).manifest(&place).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::Certificate { .. }), "{unknown:?}");
    let insecure = RegistryOptions { insecure: registry.host().parse().unwrap(), ..options() };
    assert!(client(insecure, user(PASSWORD)).manifest(&place).await.is_ok());

    // The same by way of a pull secret.
    let secret = format!(r#"{{"auths":{{"{}":{{"username":"{USER}","password":"{PASSWORD}"}}}}}}"#, registry.host());
    let folder = tempfile::TempDir::new().unwrap();
    let request = ModuleRequest { pull_secret: Some(secret.into()), ..ModuleRequest::of(place.to_string()) };
    assert!(fetcher(folder.path(), trusting()).module(&request).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let registry = RealRegistry::start(Kind::default());
    push(&registry, "a/b:v1", &image(Format::Oci, 100)).await;
    let client = Registry::new(options(), Keychain::anonymous()).unwrap();
    for name in ["a/b:v2", "a/c:v1"] {
        let error = client.manifest(&reference(&registry, name)).await.unwrap_err();
        assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");
    }
    let nobody = client.manifest(&"127.0.0.1:1/a/b:v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(nobody, RegistryError::Unreachable { .. }) && nobody.to_string().contains("refused"), "{nobody}");
}

#[tokio::test]
async fn a_registry_with_damaged_blobs_never_gets_them_into_the_cache() {
    let registry = RealRegistry::start(Kind::default());
    let image = image(Format::Oci, 100_000);
    push(&registry, "a/b:v1", &image).await;
    let (layer, bytes) = &image.blobs[1];
    let file = registry.blobs().join(layer.digest.hex().get(..2).unwrap()).join(layer.digest.hex()).join("data");
    let folder = tempfile::TempDir::new().unwrap();
    let fetcher = fetcher(folder.path(), options());
    let request = ModuleRequest::of(reference(&registry, "a/b:v1").to_string());
    let mut changed = bytes.to_vec();
    changed[5000] ^= 1;
    for (content, reason) in [(&bytes[..5000], "where the manifest says"), (&changed[..], "checksum mismatch")] {
        fs::write(&file, content).unwrap();
        let error = fetcher.module(&request).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(fetcher.cache().list().unwrap(), []);
    }
    fs::write(&file, bytes).unwrap();
    assert!(fetcher.module(&request).await.is_ok());
}

#[tokio::test]
async fn a_registry_that_dies_on_the_way_leaves_nothing_behind() {
    let registry = RealRegistry::start(Kind::default());
    let image = image(Format::Oci, 32 << 20);
    push(&registry, "a/b:v1", &image).await;
    let place = reference(&registry, "a/b:v1");
    let folder = tempfile::TempDir::new().unwrap();
    let registry = Arc::new(std::sync::Mutex::new(registry));
    let killer = Arc::clone(&registry);
    let options = FetchOptions {
        registry: options(),
        progress: Some(Arc::new(move |_| killer.lock().unwrap().kill())),
        ..FetchOptions::default()
    };
    let cache = Cache::open(folder.path()).unwrap();
    let fetcher = Fetcher::new(cache.clone(), Keychain::anonymous(), options).unwrap();
    let error = fetcher.module(&ModuleRequest::of(place.to_string())).await.unwrap_err().to_string();
    assert!(error.contains("cannot reach") || error.contains("broke off"), "{error}");
    assert_eq!(cache.list().unwrap(), []);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_push_to_a_registry_that_dies_is_told() {
    let mut registry = RealRegistry::start(Kind::default());
    let place = reference(&registry, "a/b:v1");
    let image = image(Format::Oci, 100);
    registry.kill();
    let client = Registry::new(options(), Keychain::anonymous()).unwrap();
    let error = client.push(&place, &image, Arc::new(|_, _| ())).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
}

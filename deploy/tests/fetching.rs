//! The shared facts about images, web servers and the cache, and peers that hang, lie or break off.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use wasmplugin_deploy::cache::{Cache, FetchResult, PullPolicy};
use wasmplugin_deploy::fetch::{FetchError, FetchOptions, Fetcher, HttpOptions, Module, ModuleRequest};
use wasmplugin_deploy::image::build::{Contents, Format, Image, build};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::manifest::Descriptor;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::registry::{RegistryOptions, TransportOptions};

use crate::cases::table;
use crate::peer::{Answer, Peer, other_digest};

const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// A fetcher with an empty cache, on a clock that only the test moves.
struct Bench {
    fetcher: Fetcher,
    clock: Arc<Mutex<SystemTime>>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut FetchOptions)) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        let mut options = FetchOptions {
            registry: RegistryOptions {
                pauses: vec![Duration::ZERO; 2],
                transport: TransportOptions { read_timeout: Duration::from_millis(300), ..TransportOptions::default() },
                ..RegistryOptions::default()
            },
            http: HttpOptions { pause: Duration::ZERO, ..HttpOptions::default() },
            ..FetchOptions::default()
        };
        change(&mut options);
        let cache = Self::cache(&folder, &clock);
        Self { fetcher: Fetcher::new(cache, Keychain::anonymous(), options).unwrap(), clock, folder }
    }

    fn cache(folder: &TempDir, clock: &Arc<Mutex<SystemTime>>) -> Cache {
        let clock = Arc::clone(clock);
        Cache::with_clock(folder.path(), Arc::new(move || *clock.lock().unwrap())).unwrap()
    }

    async fn get(&self, url: impl Into<String>) -> Result<Module, FetchError> {
        self.fetcher.module(&ModuleRequest::of(url)).await
    }

    fn later(&self, hours: u64) {
        *self.clock.lock().unwrap() += Duration::from_secs(hours * 60 * 60);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        // `set_path` would take the `./` away.
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What the shared facts call a layer.
fn layer(words: &str) -> Vec<u8> {
    match words.split_once(':').unwrap_or((words, "")) {
        ("tgz", name) => gzip(&tar(&[(name, WASM)])),
        ("tar", name) => tar(&[(name, WASM)]),
        ("tzst", _) => b"\x28\xb5\x2f\xfd rest".to_vec(),
        ("json", _) => b"{}".to_vec(),
        ("raw wasm", _) => WASM.to_vec(),
        ("gzip(raw wasm)", _) => gzip(WASM),
        ("component", _) => b"\0asm\x0d\0\x01\0".to_vec(),
        (other, _) => other.as_bytes().to_vec(),
    }
}

fn image(media_type: Option<&str>, layers: &[(String, Vec<u8>)]) -> Image {
    let config = Bytes::from_static(b"{}");
    let blobs: Vec<_> = std::iter::once((Descriptor::of("application/vnd.oci.image.config.v1+json", &config), config))
        .chain(layers.iter().map(|(media, bytes)| (Descriptor::of(media, bytes), Bytes::from(bytes.clone()))))
        .collect();
    let descriptors: Vec<_> = blobs.iter().map(|(descriptor, _)| json!(descriptor)).collect();
    let mut manifest = json!({ "schemaVersion": 2, "config": descriptors[0], "layers": descriptors[1..] });
    if let Some(media_type) = media_type {
        manifest["mediaType"] = media_type.into();
    }
    let served = media_type.unwrap_or("application/vnd.oci.image.manifest.v1+json");
    Image { manifest: manifest.to_string().into(), media_type: served.to_owned(), blobs }
}

fn ours() -> Image {
    build(&Contents { module: Bytes::from_static(WASM), ..Contents::default() }, Format::Oci).unwrap()
}

#[track_caller]
fn meets(case: &Value, result: Result<Module, FetchError>) {
    let expect = case["expect"].as_str().unwrap();
    match (expect.strip_prefix("error: "), result) {
        (Some(reason), Err(error)) => assert!(error.to_string().contains(reason), "{case}: {error}"),
        (None, Ok(module)) => assert_eq!(module.bytes, WASM, "{case}"),
        (_, result) => panic!("{case}: {result:?}"),
    }
}

#[tokio::test]
async fn images_are_accepted_and_refused_as_by_istio() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    for (number, case) in table("image_extraction").iter().enumerate() {
        let repository = format!("case/{number}");
        let url = format!("oci://{}/{repository}", peer.host());
        let mut request = ModuleRequest::of(format!("{url}:v1"));
        if let Some(layers) = case["layers"].as_array() {
            let layers: Vec<_> = layers
                .iter()
                .map(|pair| (pair[0].as_str().unwrap().to_owned(), layer(pair[1].as_str().unwrap())))
                .collect();
            peer.offer(&repository, "v1", &image(case["manifest_media_type"].as_str(), &layers));
        } else {
            let children: Vec<_> =
                case["index"].as_array().unwrap().iter().map(|child| child.as_str().unwrap()).collect();
            let index = offer_index(&peer, &repository, &children);
            if case["pin"].is_string() {
                request.sha256 = Some(index.clone());
                let pinned = bench.get(format!("{url}@{index}")).await;
                meets(case, pinned);
            }
        }
        meets(case, bench.fetcher.module(&request).await);
    }
}

/// An index of images with modules, one per platform; `none` stands for a child without one.
fn offer_index(peer: &Peer, repository: &str, platforms: &[&str]) -> Digest {
    let children: Vec<_> = platforms
        .iter()
        .map(|platform| {
            // Only the right child holds the right module.
            let wanted = matches!(*platform, "linux/amd64" | "none");
            let module = if wanted { WASM.to_vec() } else { b"\0asm\x01\0\0\0\0\x01\0".to_vec() };
            let child = build(&Contents { module: module.into(), ..Contents::default() }, Format::Oci).unwrap();
            peer.offer(repository, "child", &child);
            let mut descriptor = json!(Descriptor::of(&child.media_type, &child.manifest));
            if let Some((os, architecture)) = platform.split_once('/') {
                descriptor["platform"] = json!({ "os": os, "architecture": architecture });
            }
            descriptor
        })
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": children }).to_string();
    let digest = Digest::of(index.as_bytes());
    for identifier in ["v1".to_owned(), digest.to_string()] {
        peer.page(format!("/v2/{repository}/manifests/{identifier}"), Answer::ok(index.clone()));
    }
    digest
}

#[tokio::test]
async fn what_istio_refuses_can_still_be_read_leniently() {
    let (peer, bench) = (Peer::start().await, Bench::with(|options| options.lenient = true));
    for id in ["oci-uncompressed-tar", "solo-single-layer", "solo-three-layers", "cncf-wasm"] {
        let cases = table("image_extraction");
        let case = cases.iter().find(|case| case["id"] == id).unwrap();
        let pairs = case["layers"].as_array().unwrap();
        let layers: Vec<_> =
            pairs.iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), layer(pair[1].as_str().unwrap()))).collect();
        peer.offer(id, "v1", &image(case["manifest_media_type"].as_str(), &layers));
        assert_eq!(bench.get(format!("{}/{id}:v1", peer.host())).await.unwrap().bytes, WASM, "{id}");
    }
}

#[tokio::test]
async fn more_images_than_the_shared_facts_have() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    let oci = "application/vnd.oci.image.layer.v1.tar+gzip";
    let solo = "application/vnd.module.wasm.content.layer.v1+wasm";
    let index = offer_index(&peer, "no-platform", &["none", "linux/arm64"]);
    assert!(bench.get(format!("{}/no-platform:v1", peer.host())).await.is_ok());
    assert!(bench.get(format!("{}/no-platform@{index}", peer.host())).await.is_err());
    for (name, media_type, layers, expected) in [
        ("no-media-type", None, vec![(oci, "tgz:plugin.wasm")], Ok(())),
        // Tried as an OCI image first, then as Solo's.
        ("solo-before-archive", None, vec![(solo, "raw wasm"), (oci, "tgz:README")], Ok(())),
        ("no-layers", None, vec![], Err("number of layers")),
        ("two-strangers", None, vec![("text/plain", "a"), ("text/plain", "b")], Err("could not find")),
        ("broken-gzip", None, vec![(oci, "no gzip")], Err("the layer that should hold plugin.wasm")),
    ] {
        let layers: Vec<_> = layers.iter().map(|(media, words)| ((*media).to_owned(), layer(words))).collect();
        peer.offer(name, "v1", &image(media_type, &layers));
        let result = bench.get(format!("{}/{name}:v1", peer.host())).await;
        match (expected, result) {
            (Ok(()), Ok(module)) => assert_eq!(module.bytes, WASM, "{name}"),
            (Err(reason), Err(error)) => assert!(error.to_string().contains(reason), "{name}: {error}"),
            (_, result) => panic!("{name}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn bombs_are_defused() {
    let (peer, bench) = (Peer::start().await, Bench::with(|options| options.max_size = 1 << 20));
    let oci = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
    let big = vec![0; 64 << 20];
    let mut lying = tar(&[("plugin.wasm", WASM)]);
    lying[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = lying[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    lying[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (name, bytes) in [
        ("large-module", gzip(&tar(&[("plugin.wasm", &big)]))),
        ("large-neighbour", gzip(&tar(&[("other", &big), ("plugin.wasm", WASM)]))),
        ("lying-header", gzip(&lying)),
    ] {
        peer.offer(name, "v1", &image(None, &[(oci.clone(), bytes.clone())]));
        let error = bench.get(format!("{}/{name}:v1", peer.host())).await.unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{name}: {error}");
    }
    let body = gzip(&big);
    peer.page("/bomb", Answer::ok(gzip(&body)));
    let error = bench.get(format!("http://{}/bomb", peer.host())).await.unwrap_err().to_string();
    assert!(error.contains("more than 2097152 bytes"), "{error}");
}

#[tokio::test]
async fn web_servers_are_read_as_by_istio() {
    for case in table("http_fetch") {
        let (peer, bench) = (Peer::start().await, Bench::new());
        let url = format!("http://{}/module", peer.host());
        let archive = gzip(&tar(&[("any.name", WASM)]));
        match (case["body"].as_str(), case["sha256"].as_str(), case["status"].as_u64()) {
            (Some(words), ..) => {
                let body = match words {
                    "wasm" => WASM.to_vec(),
                    "gzip(wasm)" => gzip(WASM),
                    "gzip(tar(wasm))" | "tar.gz" | "tgz" | "gzip(tar)" => archive,
                    words if words.starts_with("tar(dir/") => tar(&[("dir/", b""), ("dir/x.wasm", WASM)]),
                    words if words.starts_with("tar(") => tar(&[("any.name", WASM)]),
                    words if words.starts_with("gzip(tar") => archive,
                    _ => b"PK\x03\x04 and so on".to_vec(),
                };
                peer.page("/module", Answer::ok(body));
                let expect = case["expect"].as_str().unwrap();
                let result = bench.get(&url).await;
                match (expect.strip_prefix("error: "), result) {
                    (None, Ok(module)) => assert_eq!(module.bytes, WASM, "{case}"),
                    (Some(_), Err(error)) => {
                        assert!(error.to_string().contains("Wasm binary is invalid"), "{case}: {error}")
                    }
                    (_, result) => panic!("{case}: {result:?}"),
                }
            }
            (_, Some(of), _) => {
                peer.page("/module", Answer::ok(archive.clone()));
                let digest = if of.contains("archive") { Digest::of(&archive) } else { Digest::of(WASM) };
                let request = ModuleRequest { sha256: Some(digest), ..ModuleRequest::of(&url) };
                meets(&case, bench.fetcher.module(&request).await);
            }
            (_, _, Some(302)) => {
                peer.page("/module", Answer::with(302, &[("location", "/elsewhere")]));
                peer.page("/elsewhere", Answer::ok(WASM));
                assert!(bench.get(&url).await.is_ok(), "{case}");
            }
            (_, _, Some(status)) => {
                peer.page("/module", Answer::status(u16::try_from(status).unwrap()));
                assert!(bench.get(&url).await.is_err());
                let once = case["expect"].as_str().unwrap().contains("1 attempt");
                assert_eq!(peer.take_paths().len(), if once { 1 } else { 5 }, "{case}");
            }
            _ => panic!("{case}"),
        }
    }
}

#[tokio::test]
async fn a_web_server_that_recovers_is_asked_until_then() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.script(|_, before| (before < 3).then(|| Answer::status(503)));
    peer.page("/x", Answer::ok(WASM));
    assert_eq!(bench.get(format!("http://{}/x", peer.host())).await.unwrap().checksum, Digest::of(WASM));
    assert_eq!(peer.take_paths().len(), 4);
    assert!(bench.fetcher.cache().metrics().render().contains("remote_fetch_count{result=\"success\"} 1"));
}

#[tokio::test]
async fn every_script_of_the_cache_is_followed() {
    for case in table("cache") {
        let bench = Bench::new();
        // One server per host that the script names.
        let mut hosts: BTreeMap<String, Peer> = BTreeMap::new();
        if case["id"] == "c6" {
            // What the script takes for granted.
            let peer = Peer::start().await;
            peer.offer("a", "latest", &ours());
            assert!(bench.get(format!("oci://{}/a:latest", peer.host())).await.is_ok());
            hosts.insert("r".to_owned(), peer);
        }
        for step in case["steps"].as_array().unwrap() {
            let words: Vec<_> = step.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            let (scheme, rest) = words[0].split_once("://").unwrap();
            let (host, path) = rest.split_once('/').unwrap();
            if !hosts.contains_key(host) {
                hosts.insert(host.to_owned(), Peer::start().await);
            }
            let peer = &hosts[host];
            let mut request = ModuleRequest::of("");
            let path = path.strip_suffix(" + sha256 already cached").map_or(path, |path| {
                request.sha256 = Some(ours().digest());
                path
            });
            let path = path.strip_suffix(" same bytes").unwrap_or(path);
            let path = path.replace("sha256:<digest of v1>", &ours().digest().to_string());
            let path = path.split(" (").next().unwrap().to_owned();
            let tag = path.split_once(['@', ':']).map_or("latest", |(_, tag)| tag);
            if scheme == "http" {
                peer.page(format!("/{path}"), Answer::ok(WASM));
            } else {
                peer.offer(path.split(['@', ':']).next().unwrap(), tag, &ours());
            }
            request.url = format!("{scheme}://{}/{path}", peer.host());
            request.pull_policy = match words[1] {
                "Always" => PullPolicy::Always,
                "IfNotPresent" => PullPolicy::IfNotPresent,
                _ => PullPolicy::Unspecified,
            };
            request.resource = "apps.p".to_owned();
            request.resource_version = words[2].to_owned();
            peer.take_asked();
            let module = bench.fetcher.module(&request).await.unwrap();
            let asked = !peer.take_asked().is_empty();
            assert_eq!((module.bytes.as_ref(), asked), (WASM, words[3] == "fetch"), "{}: {step}", case["id"]);
            assert_eq!(module.cached, !asked, "{}: {step}", case["id"]);
        }
    }
}

#[tokio::test]
async fn a_moved_latest_is_fetched_when_the_resource_changes() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.offer("a", "latest", &ours());
    let version = |version: &str| ModuleRequest {
        resource_version: version.to_owned(),
        ..ModuleRequest::of(format!("oci://{}/a:latest", peer.host()))
    };
    assert!(bench.fetcher.module(&version("1")).await.is_ok());
    let newer =
        build(&Contents { module: Bytes::from_static(b"\0asm\x01\0\0\0\0\x01\0"), ..Contents::default() }, Format::Oci);
    peer.offer("a", "latest", newer.as_ref().unwrap());
    assert_eq!(bench.fetcher.module(&version("1")).await.unwrap().bytes, WASM);
    assert_eq!(bench.fetcher.module(&version("2")).await.unwrap().checksum, newer.unwrap().digest());
    // An unchanged tag costs a look at the manifest, and no blob.
    peer.take_asked();
    assert!(!bench.fetcher.module(&version("3")).await.unwrap().cached);
    assert!(peer.take_paths().iter().all(|path| path.contains("/manifests/")), "a blob was fetched again");
}

#[tokio::test]
async fn a_failed_look_is_tried_again_and_the_cache_survives_a_restart() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    let url = format!("http://{}/x", peer.host());
    assert!(bench.get(&url).await.is_err());
    peer.page("/x", Answer::ok(WASM));
    assert!(!bench.get(&url).await.unwrap().cached);
    let again = Bench::cache(&bench.folder, &bench.clock);
    let again = Fetcher::new(again, Keychain::anonymous(), FetchOptions::default()).unwrap();
    assert!(again.module(&ModuleRequest::of(&url)).await.unwrap().cached);
}

#[tokio::test]
async fn what_nobody_asks_for_expires_with_its_tag() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    for path in ["/old", "/used"] {
        peer.page(path, Answer::ok([WASM, path.as_bytes()].concat()));
        assert!(bench.get(format!("http://{}{path}", peer.host())).await.is_ok());
    }
    bench.later(23);
    assert!(bench.get(format!("http://{}/used", peer.host())).await.unwrap().cached);
    bench.later(2);
    let cache = bench.fetcher.cache();
    assert_eq!(cache.purge(wasmplugin_deploy::cache::EXPIRY).unwrap().modules, 1);
    assert!(cache.metrics().render().contains("istio_agent_wasm_cache_entries 1"));
    assert!(bench.get(format!("http://{}/used", peer.host())).await.unwrap().cached);
    assert!(!bench.get(format!("http://{}/old", peer.host())).await.unwrap().cached);
}

#[tokio::test]
async fn a_damaged_file_is_fetched_again() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.offer("a", "v1", &ours());
    let url = format!("oci://{}/a:v1", peer.host());
    let path = bench.get(&url).await.unwrap().path.unwrap();
    std::fs::write(&path, b"\0asm\x01\0\0").unwrap();
    let again = bench.get(&url).await.unwrap();
    assert!(!again.cached && again.bytes == WASM && std::fs::read(path).unwrap() == WASM);
}

#[tokio::test]
async fn many_who_want_the_same_fetch_it_once() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.offer("a", "v1", &ours());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (fetcher, url) = (bench.fetcher.clone(), format!("oci://{}/a:v1", peer.host()));
            tokio::spawn(async move { fetcher.module(&ModuleRequest::of(url)).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().bytes, WASM);
    }
    assert_eq!(peer.take_paths().iter().filter(|path| path.contains("/blobs/")).count(), 1);
}

#[tokio::test]
async fn a_file_is_never_compared_with_a_checksum() {
    let bench = Bench::new();
    let path = bench.folder.path().join("x.wasm");
    std::fs::write(&path, WASM).unwrap();
    let request =
        ModuleRequest { sha256: Some(other_digest()), ..ModuleRequest::of(format!("file://{}", path.display())) };
    assert_eq!(bench.fetcher.module(&request).await.unwrap().path, Some(path.clone()));
    std::fs::write(&path, "(module)").unwrap();
    assert!(bench.fetcher.module(&request).await.unwrap_err().to_string().contains("begins with"));
}

#[tokio::test]
async fn checksums_beat_tags_and_must_agree() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.offer("a", "v1", &ours());
    let url = format!("oci://{}/a:v1", peer.host());
    let request = ModuleRequest { sha256: Some(other_digest()), ..ModuleRequest::of(&url) };
    let error = bench.fetcher.module(&request).await.unwrap_err();
    assert_eq!(error.result(), FetchResult::ChecksumMismatched, "{error}");
    let request = ModuleRequest { url: format!("{url}@{}", ours().digest()), ..request };
    assert!(bench.fetcher.module(&request).await.unwrap_err().to_string().contains("contradict"));
}

#[tokio::test]
async fn peers_that_lie_break_off_or_hang_are_survived() {
    let image = ours();
    let layer = format!("/v2/a/blobs/{}", image.blobs[1].0.digest);
    let manifest = "/v2/a/manifests/v1".to_owned();
    for (path, answer, reason) in [
        (&layer, Answer::Half(image.blobs[1].1.clone()), "broke off"),
        (&layer, Answer::ok(vec![7; image.blobs[1].1.len()]), "checksum mismatch"),
        (&layer, Answer::ok(image.blobs[1].1.slice(..20)), "where the manifest says"),
        (&layer, Answer::Endless, "no more are read"),
        (&layer, Answer::Silence, "did not finish"),
        (&layer, Answer::status(404), "there is no"),
        (&layer, Answer::status(503), "status 503"),
        (&manifest, Answer::Half(image.manifest.clone()), "broke off"),
        (&manifest, Answer::Endless, "no more are read"),
        (&manifest, Answer::Silence, "did not finish"),
        (&manifest, Answer::ok("<html>"), "the manifest cannot be read"),
        (&manifest, Answer::ok(r#"{"schemaVersion":1}"#), "schema 1"),
        (&manifest, Answer::with(302, &[("location", "http://169.254.169.254/latest/meta-data")]), "link-local"),
        (&manifest, Answer::with(302, &[("location", "/v2/a/manifests/v1")]), "ten times"),
    ] {
        let (peer, bench) = (Peer::start().await, Bench::new());
        peer.offer("a", "v1", &image);
        peer.page(path, answer.clone());
        let error = bench.get(format!("oci://{}/a:v1", peer.host())).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{answer:?}: {error}");
        assert_eq!(bench.fetcher.cache().list().unwrap(), [], "{answer:?}");
        // And when it has come to its senses, all is well.
        peer.offer("a", "v1", &image);
        assert!(bench.get(format!("oci://{}/a:v1", peer.host())).await.is_ok(), "{answer:?}");
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_whole_takes() {
    let (peer, bench) = (Peer::start().await, Bench::new());
    peer.page("/x", Answer::Silence);
    let request =
        ModuleRequest { timeout: Duration::from_millis(100), ..ModuleRequest::of(format!("http://{}/x", peer.host())) };
    let error = bench.fetcher.module(&request).await.unwrap_err().to_string();
    assert!(error.contains("within 0.1 s"), "{error}");
}

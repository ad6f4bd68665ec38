//! Images: made, written as layouts, read back.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::build::{Contents, Format, Image, build};
use super::extract::{Form, Plan};
use super::layout::{self, Layout, LayoutError};
use super::manifest::{Descriptor, Document, Manifest, Resolved};
use super::signature::{self, BadSignature, PrivateKey, PublicKey, Signature};

const WASM: &[u8] = b"\0asm\x01\0\0\0";

fn contents() -> Contents {
    Contents {
        module: Bytes::from_static(WASM),
        files: BTreeMap::from([("schema.json".to_owned(), Bytes::from_static(b"{}"))]),
        root_ids: vec!["my_root".to_owned()],
        abi: Some("0.2.1".to_owned()),
        annotations: BTreeMap::from([("org.opencontainers.image.version".to_owned(), "1.0.0".to_owned())]),
    }
}

fn manifest(image: &Image) -> Manifest {
    match Document::parse(&image.manifest).unwrap() {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => panic!("an index"),
    }
}

#[test]
fn the_same_module_is_the_same_image_for_ever() {
    let image = build(&contents(), Format::Oci).unwrap();
    assert_eq!(image, build(&contents(), Format::Oci).unwrap());
}

#[test]
fn every_format_is_read_back_by_the_rules_for_it() {
    for (format, form, accepted) in [
        (Format::Oci, Form::Oci, true),
        (Format::Docker, Form::Docker, true),
        (Format::Solo, Form::Solo, true),
        (Format::Cncf, Form::Cncf, false),
    ] {
        let image = build(&contents(), format).unwrap();
        let manifest = manifest(&image);
        let plan = Plan::lenient(&manifest).unwrap();
        assert_eq!((plan.form, Plan::of(&manifest).is_ok()), (form, accepted));
        let (_, layer) = image.blobs.iter().find(|(blob, _)| *blob == plan.layer).unwrap();
        assert_eq!(plan.unpack(layer, 1000).unwrap(), WASM);
        assert!(plan.unpack(layer, 7).is_err(), "{format:?}");
    }
}

fn blobs(layout: &Layout, resolved: &Resolved) -> Result<Vec<(Descriptor, Bytes)>, LayoutError> {
    let all = std::iter::once(&resolved.manifest.config).chain(&resolved.manifest.layers);
    all.map(|blob| Ok((blob.clone(), layout.blob(blob, 1 << 20)?))).collect()
}

#[test]
fn layouts_hold_what_was_put_into_them() {
    let folder = tempfile::TempDir::new().unwrap();
    let image = build(&contents(), Format::Oci).unwrap();
    let other = build(&contents(), Format::Docker).unwrap();
    let layout = folder.path().join("layout");
    layout::write_folder(&layout, &other, "v1").unwrap();
    layout::write_folder(&layout, &image, "v1").unwrap();
    let opened = Layout::open(&layout).unwrap();
    let resolved = opened.manifest(None).unwrap();
    assert_eq!(resolved.digest, image.digest());
    assert_eq!(blobs(&opened, &resolved).unwrap(), image.blobs);
    layout::write_folder(&layout, &other, "v2").unwrap();
    assert!(matches!(Layout::open(&layout).unwrap().manifest(None), Err(LayoutError::Which { .. })));
    assert_eq!(Layout::open(&layout).unwrap().manifest(Some("v2")).unwrap().digest, other.digest());
    let archive = folder.path().join("layout.tar");
    layout::write_archive(std::fs::File::create(&archive).unwrap(), &image, "v1").unwrap();
    let opened = Layout::open(&archive).unwrap();
    assert_eq!(blobs(&opened, &opened.manifest(Some("v1")).unwrap()).unwrap(), image.blobs);
}

#[test]
fn damaged_layouts_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let image = build(&contents(), Format::Oci).unwrap();
    assert!(matches!(Layout::open(folder.path()), Err(LayoutError::NoLayout(_))));
    layout::write_folder(folder.path(), &image, "v1").unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let resolved = layout.manifest(None).unwrap();
    let blob = folder.path().join("blobs/sha256").join(resolved.manifest.layers[0].digest.hex());
    std::fs::write(&blob, "changed").unwrap();
    assert!(matches!(blobs(&layout, &resolved), Err(LayoutError::Damaged { .. })));
    std::fs::remove_file(&blob).unwrap();
    assert!(matches!(blobs(&layout, &resolved), Err(LayoutError::Missing { .. })));
}

/// Made for this test.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5z0PpYXoJJHUhw2J
vmWXsrlq9BmFshdqDobcwAD2wOWhRANCAASLNP7AmgiNrjbiWq2f5eYxXj8DZLMY
U8FztW/gRfM/VdpaINRBlMYiuJOrqGdQK2YvmL/drojeukPeKyF0ikZI
-----END PRIVATE KEY-----";

#[test]
fn a_signature_holds_for_its_key_and_its_image_only() {
    let key = PrivateKey::from_pem(KEY, "").unwrap();
    let image = build(&contents(), Format::Oci).unwrap();
    let other = build(&contents(), Format::Docker).unwrap();
    let signed = signature::sign("ghcr.io/a/b", &image.digest(), &key);
    assert_eq!(signature::verify(&signed, &image.digest(), &key.public_key()), Ok(()));
    assert_eq!(signature::verify(&signed, &other.digest(), &key.public_key()), Err(BadSignature::OtherImage));
    let stranger = PublicKey::from_pem(STRANGER).unwrap();
    assert_eq!(signature::verify(&signed, &image.digest(), &stranger), Err(BadSignature::Invalid));
    let forged = Signature {
        statement: String::from_utf8(signed.statement.to_vec())
            .unwrap()
            .replace(&image.digest().to_string(), &other.digest().to_string())
            .into(),
        ..signed
    };
    assert_eq!(signature::verify(&forged, &other.digest(), &key.public_key()), Err(BadSignature::Invalid));
}

const STRANGER: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEc2xJNT61TOIAeXauG/YrJYFqxS8u
M20rg+lxhnCfD4AxLgrCxcjhqRprEquUTlQXjntYwE3qwmMVG7p22KQjKw==
-----END PUBLIC KEY-----";

#[test]
fn signatures_are_added_to_those_that_are_there() {
    let key = PrivateKey::from_pem(KEY, "").unwrap();
    let digest = build(&contents(), Format::Oci).unwrap().digest();
    let first = signature::image(&signature::sign("a.test/a", &digest, &key), None).unwrap();
    let second = signature::image(&signature::sign("b.test/b", &digest, &key), Some(&manifest(&first))).unwrap();
    assert_eq!(manifest(&second).layers.len(), 2);
    // The same signature is there once: the algorithm is deterministic.
    let again = signature::image(&signature::sign("b.test/b", &digest, &key), Some(&manifest(&second))).unwrap();
    assert_eq!(again, second);
}

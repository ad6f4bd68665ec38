//! What registries say about the images that documents name.

use std::collections::BTreeMap;

use anyhow::Result;
use wasmplugin_deploy::document::Document;
use wasmplugin_deploy::image::archive::MAX_MODULE_SIZE;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::lint::{ImageFlaw, KnownImage, KnownModule};
use wasmplugin_deploy::pull_secret;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::registry::{Registry, RegistryError};
use wasmplugin_deploy::source::Source;
use wasmplugin_deploy::yaml::Node;

use super::module;
use crate::registry::{self, RegistryArguments};

/// Asks for each image once, with the Secret among the documents or this machine's logins; what came of it, and the modules in them.
pub(super) fn ask(
    documents: &[&Document],
    registries: &RegistryArguments,
) -> Result<(Vec<KnownImage>, Vec<KnownModule>)> {
    let machine = registries.registry()?;
    let (mut images, mut modules) = (Vec::new(), Vec::new());
    // One runtime for all, since connections are used again.
    registry::wait(async {
        for (url, secret) in urls(documents) {
            let Some(reference) = reference(url) else { continue };
            let client =
                secret.map_or_else(|| machine.clone(), |bytes| machine.with_keychain(Keychain::of_pull_secret(bytes)));
            let (mut flaw, found) = look(&client, &reference).await;
            match found.map(|bytes| module(Some(url.to_owned()), url, bytes.into())).transpose() {
                Ok(known) => modules.extend(known),
                Err(error) => flaw = flaw.or_else(|| Some(ImageFlaw::Refused(format!("{error:#}")))),
            }
            images.push(KnownImage { url: url.to_owned(), flaw });
        }
        Ok(())
    })?;
    Ok((images, modules))
}

/// Every `url`, with the Secret that it is to be asked with, where that is among the documents.
fn urls<'a>(documents: &[&'a Document]) -> BTreeMap<&'a str, Option<Vec<u8>>> {
    let field = |document: &&'a Document, name: &str| {
        let paths = [&["spec", name][..], &["spec", "wasm", name]];
        paths.into_iter().find_map(|path| document.root.at_path(path).and_then(Node::text))
    };
    let secret = |plugin: &&'a Document| {
        let name = field(plugin, "imagePullSecret")?;
        let named = |other: &&&Document| {
            other.kind_name() == "Secret" && other.name() == name && namespace(other) == namespace(plugin)
        };
        pull_secret::docker_config(&documents.iter().find(named)?.root).ok()
    };
    let plugins = documents.iter().filter(|document| document.kind().is_some());
    plugins.filter_map(|plugin| Some((field(plugin, "url")?, secret(plugin)))).collect()
}

fn namespace(document: &Document) -> Option<&str> {
    document.root.at_path(&["metadata", "namespace"]).and_then(Node::text)
}

/// The image that an admitted `url` names.
fn reference(url: &str) -> Option<Reference> {
    match Source::resolve(url).ok()? {
        Source::Remote(remote) if remote.is_image() => remote.reference.parse().ok(),
        _ => None,
    }
}

async fn look(client: &Registry, image: &Reference) -> (Option<ImageFlaw>, Option<bytes::Bytes>) {
    let resolved = match client.manifest(image).await {
        Ok(resolved) => resolved,
        Err(error) => return (Some(flaw(&error)), None),
    };
    let pinned = resolved.index.as_ref().is_some_and(|index| image.digest() == Some(index));
    let index = pinned.then(|| ImageFlaw::IndexPinned(resolved.digest.clone()));
    match client.extract(image, &resolved.manifest, false, MAX_MODULE_SIZE, &|_| ()).await {
        Ok(extracted) => (index, Some(extracted.module)),
        Err(error) => (index.or_else(|| Some(flaw(&error))), None),
    }
}

fn flaw(error: &RegistryError) -> ImageFlaw {
    let said = error.to_string();
    match error {
        RegistryError::NotFound { .. } => ImageFlaw::Missing(said),
        RegistryError::Manifest(_) | RegistryError::Image(_) | RegistryError::Digest { .. } => ImageFlaw::Refused(said),
        _ => ImageFlaw::Unreachable(said),
    }
}

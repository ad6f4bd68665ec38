//! What registries say about the images that documents name.

use std::collections::BTreeSet;

use anyhow::Result;
use wasmplugin_deploy::document::Document;
use wasmplugin_deploy::image::archive::MAX_MODULE_SIZE;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::lint::{ImageFlaw, KnownImage, KnownModule};
use wasmplugin_deploy::registry::{Registry, RegistryError};
use wasmplugin_deploy::source::Source;
use wasmplugin_deploy::yaml::Node;

use super::module;
use crate::registry::{self, RegistryArguments};

/// Where the two kinds have their `url`.
const URLS: [&[&str]; 2] = [&["spec", "url"], &["spec", "wasm", "url"]];

/// Asks for each image once; what came of it, and the modules in them.
pub(super) fn ask(
    documents: &[&Document],
    registries: &RegistryArguments,
) -> Result<(Vec<KnownImage>, Vec<KnownModule>)> {
    let client = registries.registry()?;
    let (mut images, mut modules) = (Vec::new(), Vec::new());
    for url in urls(documents) {
        let Some(reference) = reference(url) else { continue };
        let (flaw, found) = registry::wait(async { Ok(look(&client, &reference).await) })?;
        images.push(KnownImage { url: url.to_owned(), flaw });
        // A module that Envoy would not load has no schema to offer; that it is none is said elsewhere.
        modules.extend(found.and_then(|bytes| module(Some(url.to_owned()), url, bytes.into()).ok()));
    }
    Ok((images, modules))
}

fn urls<'a>(documents: &[&'a Document]) -> BTreeSet<&'a str> {
    let url = |document: &&'a Document| {
        document.kind()?;
        URLS.iter().find_map(|path| document.root.at_path(path).and_then(Node::text))
    };
    documents.iter().filter_map(url).collect()
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

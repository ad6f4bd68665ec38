//! Rules about images that their registry was asked for.

use super::{Findings, Plugin, Surroundings, rule};
use crate::finding;
use crate::image::digest::Digest;

/// An image that its registry was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// The `url` of the plugins that it is for.
    pub url: String,
    /// What is wrong with it, if anything.
    pub flaw: Option<ImageFlaw>,
}

/// What is wrong with an image; texts say what the registry or this crate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFlaw {
    /// The registry could not be asked.
    Unreachable(String),
    /// There is none under this tag or digest.
    Missing(String),
    /// The agent takes no module out of it, or Envoy would not load that.
    Refused(String),
    /// The pinned digest is that of an index; its image for linux/amd64 has this one.
    IndexPinned(Digest),
}

pub(super) fn check(plugin: &Plugin<'_>, surroundings: &Surroundings, findings: &mut Findings) {
    let Some((wasm, path)) = plugin.wasm else { return };
    let url = plugin.wasm_text("url");
    let asked = surroundings.images.iter().find(|image| image.url == url);
    let Some(flaw) = asked.and_then(|image| image.flaw.as_ref()) else { return };
    let (rule, message) = match flaw {
        ImageFlaw::Unreachable(reason) => (&rule::IMAGE_UNREACHABLE, reason.clone()),
        ImageFlaw::Missing(reason) => (&rule::IMAGE_MISSING, reason.clone()),
        ImageFlaw::Refused(reason) => (&rule::IMAGE_FORM, reason.clone()),
        ImageFlaw::IndexPinned(child) => (
            &rule::IMAGE_INDEX,
            format!("this is the digest of an index, and proxies compare that of its image for linux/amd64: `{child}`"),
        ),
    };
    let at = wasm.get("url").unwrap_or(wasm).at;
    findings.add(rule, at, finding::field(path, "url"), message);
}

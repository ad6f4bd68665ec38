//! From an image to its module: which layer it is in, by Istio's rules, and out of that layer.
//!
//! [`Plan::of`] decides from the manifest alone, so that nothing is downloaded in vain; [`Plan::unpack`] reads the layer.

use bytes::Bytes;

use super::archive::{self, BadArchive};
use super::manifest::{Descriptor, Manifest, media_type};

/// The ways in which an image can carry a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Docker's: `plugin.wasm` in the last layer, a tar archive in gzip.
    Docker,
    /// OCI's: the same with OCI's words. Named "compat" in the Wasm image specification.
    Oci,
    /// Solo's: the bare module and its configuration, two layers. Named "oci" in the Wasm image specification.
    Solo,
    /// CNCF's, as `wkg` writes it: the bare module, one layer. Istio refuses it.
    Cncf,
    /// The bare module in one layer of Solo's type. Istio refuses it.
    SoloSingle,
    /// OCI's with a tar archive that is not compressed. Istio refuses it.
    OciTar,
}

impl Form {
    /// A few words for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Docker => "Docker image, plugin.wasm in the last layer",
            Self::Oci => "OCI image, plugin.wasm in the last layer",
            Self::Solo => "Solo artifact of two layers",
            Self::Cncf => "CNCF Wasm artifact",
            Self::SoloSingle => "Solo layer without its configuration",
            Self::OciTar => "OCI image with an uncompressed layer",
        }
    }
}

/// Where in an image the module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How it is packed.
    pub form: Form,
    /// The layer that holds it.
    pub layer: Descriptor,
}

/// An image that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No layer of a form that Istio accepts.
    #[error("{reason}; {fix}")]
    Form {
        /// What Istio's agent says.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// The layer cannot be unpacked.
    #[error("the layer that should hold plugin.wasm: {0}; {REPACK}")]
    Archive(#[from] BadArchive),
    /// What came out is no module.
    #[error("fetched Wasm binary is invalid: it begins with {0}, where a module begins with `00 61 73 6d`; {REPACK}")]
    NotWasm(String),
    /// What came out is larger than allowed.
    #[error("the module has {size} bytes, and {limit} is the limit (`ISTIO_WASM_MAX_BINARY_SIZE_BYTES` in Istio)")]
    TooLarge {
        /// Its length.
        size: u64,
        /// The most that is allowed.
        limit: u64,
    },
}

/// The module in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The module.
    pub module: Bytes,
    /// How it was packed.
    pub form: Form,
}

/// What [`Plan::open`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The module.
    Module(Extracted),
    /// Another layer to look into, after which there is no further one.
    Elsewhere(Plan),
}

const REPACK: &str = "build the image anew with `cargo wasmplugin push plugin.wasm REFERENCE`";

impl Plan {
    /// Decides as Istio's agent does, and as Envoy Gateway and Higress, which took its code.
    ///
    /// # Errors
    ///
    /// Says why Istio refuses the image, and how to make one that it takes.
    pub fn of(manifest: &Manifest) -> Result<Self, Refusal> {
        let last = manifest.layers.last();
        let typed = |layer: &Descriptor, wanted: &str| layer.media_type == wanted;
        if manifest.media_type.as_deref() == Some(media_type::DOCKER_MANIFEST) {
            return match last {
                Some(layer) if typed(layer, media_type::DOCKER_LAYER) => Ok(Self::new(Form::Docker, layer)),
                layer => Err(wrong_last_layer(layer, media_type::DOCKER_LAYER)),
            };
        }
        if let Some(layer) = last.filter(|layer| typed(layer, media_type::OCI_LAYER)) {
            return Ok(Self::new(Form::Oci, layer));
        }
        let module = manifest.layers.iter().find(|layer| typed(layer, media_type::SOLO_LAYER));
        match (module, manifest.layers.len()) {
            (Some(layer), 2) => Ok(Self::new(Form::Solo, layer)),
            _ => Err(no_form(manifest)),
        }
    }

    /// Finds the module in every form that can be read, including those that Istio refuses.
    ///
    /// # Errors
    ///
    /// As for [`Plan::of`], where no form fits.
    pub fn lenient(manifest: &Manifest) -> Result<Self, Refusal> {
        Self::of(manifest).or_else(|refusal| {
            let alone = match manifest.layers.as_slice() {
                [layer] => Some(layer),
                _ => None,
            };
            let single = |form, wanted: &str| {
                alone.filter(|layer| layer.media_type == wanted).map(|layer| Self::new(form, layer))
            };
            let several = || manifest.layers.iter().find(|layer| layer.media_type == media_type::SOLO_LAYER);
            let archive = || manifest.layers.last().filter(|layer| layer.media_type == media_type::OCI_LAYER_TAR);
            single(Form::Cncf, media_type::CNCF_LAYER)
                .or_else(|| several().map(|layer| Self::new(Form::SoloSingle, layer)))
                .or_else(|| archive().map(|layer| Self::new(Form::OciTar, layer)))
                .ok_or(refusal)
        })
    }

    /// What Istio's agent tries next if the layer of an OCI image holds no `plugin.wasm`: an image of two layers may be
    /// Solo's as well.
    #[must_use]
    pub fn second(&self, manifest: &Manifest) -> Option<Self> {
        let module = manifest.layers.iter().find(|layer| layer.media_type == media_type::SOLO_LAYER);
        module
            .filter(|_| self.form == Form::Oci && manifest.layers.len() == 2)
            .map(|layer| Self::new(Form::Solo, layer))
    }

    /// Takes the module out of the layer, or says where Istio's agent looks next.
    ///
    /// # Errors
    ///
    /// As for [`Plan::unpack`], where there is nothing else to look at.
    pub fn open(self, manifest: &Manifest, layer: &Bytes, limit: u64) -> Result<Opened, Refusal> {
        match (self.unpack(layer, limit), self.second(manifest)) {
            (Err(Refusal::Archive(_)), Some(second)) => Ok(Opened::Elsewhere(second)),
            (module, _) => Ok(Opened::Module(Extracted { module: module?, form: self.form })),
        }
    }

    fn new(form: Form, layer: &Descriptor) -> Self {
        Self { form, layer: layer.clone() }
    }

    /// The module in the layer's bytes, which nobody has to trust: at most `limit` bytes come out.
    ///
    /// # Errors
    ///
    /// If the layer is broken, has no module in it, or more than `limit` bytes.
    pub fn unpack(&self, layer: &Bytes, limit: u64) -> Result<Bytes, Refusal> {
        let module = match self.form {
            Form::Docker | Form::Oci => archive::plugin_wasm(layer, true, limit)?.into(),
            Form::OciTar => archive::plugin_wasm(layer, false, limit)?.into(),
            Form::Solo | Form::Cncf | Form::SoloSingle => layer.clone(),
        };
        check(&module, limit)?;
        Ok(module)
    }
}

/// What Istio checks of a module: its first four bytes and that there are eight. A component passes.
pub(crate) fn check(module: &[u8], limit: u64) -> Result<(), Refusal> {
    if module.len() as u64 > limit {
        return Err(Refusal::TooLarge { size: module.len() as u64, limit });
    }
    if module.len() >= 8 && module.starts_with(b"\0asm") {
        return Ok(());
    }
    let first: Vec<_> = module.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Err(Refusal::NotWasm(if first.is_empty() { "nothing".to_owned() } else { format!("`{}`", first.join(" ")) }))
}

fn wrong_last_layer(layer: Option<&Descriptor>, wanted: &str) -> Refusal {
    let found = layer.map_or("no layer".to_owned(), |layer| format!("`{}`", layer.media_type));
    Refusal::Form {
        reason: format!("invalid media type {found}, where the last layer must be `{wanted}`"),
        fix: REPACK,
    }
}

fn no_form(manifest: &Manifest) -> Refusal {
    let count = manifest.layers.len();
    let has = |wanted: &str| manifest.layers.iter().any(|layer| layer.media_type == wanted);
    let Some(last) = manifest.layers.last() else {
        return Refusal::Form { reason: "number of layers must be at least 1 but got 0".to_owned(), fix: REPACK };
    };
    let archive = last.media_type.contains("tar");
    if archive {
        let fix = if last.media_type.ends_with("zstd") {
            "build it with `--output type=image,compression=gzip`, or with `cargo wasmplugin push`"
        } else {
            REPACK
        };
        let Refusal::Form { reason, .. } = wrong_last_layer(Some(last), media_type::OCI_LAYER) else {
            return wrong_last_layer(Some(last), media_type::OCI_LAYER);
        };
        return Refusal::Form { reason, fix };
    }
    if count != 2 {
        let fix = if has(media_type::CNCF_LAYER) {
            "Istio does not read CNCF artifacts (istio#39990): push the module with `cargo wasmplugin push`, without `--format cncf`"
        } else if has(media_type::SOLO_LAYER) {
            "Solo's form needs exactly `runtime-config.json` and the module: \
             push with `cargo wasmplugin push`, or give `oras push` both files"
        } else {
            REPACK
        };
        return Refusal::Form { reason: format!("number of layers must be 2 but got {count}"), fix };
    }
    let types: Vec<_> = manifest.layers.iter().map(|layer| format!("`{}`", layer.media_type)).collect();
    Refusal::Form {
        reason: format!("could not find a layer of type `{}` among {}", media_type::SOLO_LAYER, types.join(" and ")),
        fix: REPACK,
    }
}

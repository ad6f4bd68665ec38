//! Pulling: manifests, blobs, and the module inside an image.

use bytes::Bytes;

use super::{Call, Registry, RegistryError, transport};
use crate::image::digest::Digest;
use crate::image::extract::{Extracted, Opened, Plan};
use crate::image::manifest::{Descriptor, Document, Manifest, Resolved};
use crate::image::reference::Reference;

/// The most that a manifest or an index may have: what registries accept.
const MAX_MANIFEST: u64 = 4 << 20;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";

impl Registry {
    /// Pulls the manifest of an image; of an index the child for linux/amd64, as Istio's agent does on every machine.
    ///
    /// # Errors
    ///
    /// Says what the registry, the network, or the manifest itself lacks.
    pub async fn manifest(&self, image: &Reference) -> Result<Resolved, RegistryError> {
        let (bytes, digest) = self.document(image).await?;
        match Document::parse(&bytes)? {
            Document::Manifest(manifest) => Ok(Resolved { manifest, bytes, digest, index: None }),
            Document::Index(index) => {
                let child = image.at(&index.linux_amd64()?.digest);
                let (bytes, child) = self.document(&child).await?;
                match Document::parse(&bytes)? {
                    Document::Manifest(manifest) => {
                        Ok(Resolved { manifest, bytes, digest: child, index: Some(digest) })
                    }
                    Document::Index(_) => Err(RegistryError::Protocol {
                        host: image.registry().to_owned(),
                        what: format!("`{image}`"),
                        reason: "the child of the index is an index".to_owned(),
                    }),
                }
            }
        }
    }

    /// Pulls what stands under a tag or a digest: a manifest, or an index.
    ///
    /// # Errors
    ///
    /// As for [`Registry::manifest`].
    pub async fn document(&self, image: &Reference) -> Result<(Bytes, Digest), RegistryError> {
        let mut call = Call::get(image, format!("manifests/{}", image.identifier()), format!("`{image}`"));
        call.accept = Some(MANIFESTS);
        let mut tries = self.tries();
        loop {
            match self.document_once(&call).await {
                Err(error) if tries.another(&error).await => {}
                result => return result,
            }
        }
    }

    async fn document_once(&self, call: &Call<'_>) -> Result<(Bytes, Digest), RegistryError> {
        let response = self.succeeded(call, self.call(call).await?).await?;
        let bytes = transport::body(response, &call.what, MAX_MANIFEST, |_| ()).await?;
        let actual = Digest::of(&bytes);
        same(call, call.image.digest(), &actual)?;
        Ok((bytes, actual))
    }

    /// Pulls a blob, whose length and digest must be those of its descriptor; tells `progress` how many bytes have come.
    ///
    /// # Errors
    ///
    /// As for [`Registry::manifest`], or if the blob is larger than `limit`.
    pub async fn blob(
        &self,
        image: &Reference,
        blob: &Descriptor,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Bytes, RegistryError> {
        let what = format!("the blob `{}` of `{image}`", blob.digest);
        if blob.size > limit {
            return Err(RegistryError::TooLarge { host: image.registry().to_owned(), what, limit });
        }
        let call = Call::get(image, format!("blobs/{}", blob.digest), what);
        let mut tries = self.tries();
        loop {
            match self.blob_once(&call, blob, progress).await {
                Err(error) if tries.another(&error).await => {}
                result => return result,
            }
        }
    }

    async fn blob_once(
        &self,
        call: &Call<'_>,
        blob: &Descriptor,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Bytes, RegistryError> {
        let response = self.succeeded(call, self.call(call).await?).await?;
        let mut received = 0;
        let bytes = transport::body(response, &call.what, blob.size, |length| {
            received += length;
            progress(received);
        })
        .await?;
        if (bytes.len() as u64) < blob.size {
            return Err(RegistryError::Truncated {
                host: call.image.registry().to_owned(),
                what: call.what.clone(),
                received: bytes.len() as u64,
                reason: format!(", where the manifest says {}", blob.size),
            });
        }
        same(call, Some(&blob.digest), &Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Pulls the layer that holds the module, and takes the module out, by Istio's rules or (`lenient`) from every form
    /// that can be read.
    ///
    /// # Errors
    ///
    /// As for [`Registry::manifest`]; if the image holds no module, or one of more than `limit` bytes.
    pub async fn extract(
        &self,
        image: &Reference,
        manifest: &Manifest,
        lenient: bool,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Extracted, RegistryError> {
        let mut plan = if lenient { Plan::lenient(manifest)? } else { Plan::of(manifest)? };
        loop {
            // A layer may hold more than the module, and gzip may add a little.
            let layer = self.blob(image, &plan.layer, limit.saturating_mul(2), progress).await?;
            match plan.open(manifest, &layer, limit)? {
                Opened::Module(extracted) => return Ok(extracted),
                Opened::Elsewhere(next) => plan = next,
            }
        }
    }
}

fn same(call: &Call<'_>, expected: Option<&Digest>, actual: &Digest) -> Result<(), RegistryError> {
    match expected.filter(|expected| *expected != actual) {
        None => Ok(()),
        Some(expected) => Err(RegistryError::Digest {
            host: call.image.registry().to_owned(),
            what: call.what.clone(),
            expected: expected.clone(),
            actual: actual.clone(),
        }),
    }
}

//! Pulling: manifests, blobs, and the module inside an image.

use bytes::Bytes;

use super::{Call, Registry, RegistryError, transport};
use crate::image::digest::Digest;
use crate::image::extract::{Extracted, Plan};
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
        self.persist(async || {
            let response = self.succeeded(&call, self.call(&call).await?).await?;
            let bytes = transport::body(response, &call.what, MAX_MANIFEST, |_| ()).await?;
            let actual = Digest::of(&bytes);
            same(image, &call.what, image.digest(), &actual)?;
            Ok((bytes, actual))
        })
        .await
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
        let host = || image.registry().to_owned();
        if blob.size > limit {
            return Err(RegistryError::TooLarge { host: host(), what, limit });
        }
        let call = Call::get(image, format!("blobs/{}", blob.digest), what);
        self.persist(async || {
            let response = self.succeeded(&call, self.call(&call).await?).await?;
            let mut received = 0;
            let bytes = transport::body(response, &call.what, blob.size, |length| {
                received += length;
                progress(received);
            })
            .await?;
            if (bytes.len() as u64) < blob.size {
                let reason = format!(", where the manifest says {}", blob.size);
                return Err(RegistryError::Truncated {
                    host: host(),
                    what: call.what.clone(),
                    received: bytes.len() as u64,
                    reason,
                });
            }
            same(image, &call.what, Some(&blob.digest), &Digest::of(&bytes))?;
            Ok(bytes)
        })
        .await
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
        let plan = if lenient { Plan::lenient(manifest)? } else { Plan::of(manifest)? };
        plan.extract(manifest, limit, async |blob: &Descriptor, most| self.blob(image, blob, most, progress).await)
            .await
    }
}

fn same(image: &Reference, what: &str, expected: Option<&Digest>, actual: &Digest) -> Result<(), RegistryError> {
    match expected.filter(|expected| *expected != actual) {
        None => Ok(()),
        Some(expected) => Err(RegistryError::Digest {
            host: image.registry().to_owned(),
            what: what.to_owned(),
            expected: expected.clone(),
            actual: actual.clone(),
        }),
    }
}

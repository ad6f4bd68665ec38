//! Pushing: blobs first, then the manifest that names them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::{Access, Call, Registry, RegistryError, transport};
use crate::image::build::Image;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;

/// The piece of a blob after which progress is told.
const PIECE: usize = 64 << 10;

/// So many blobs are on their way at a time.
const AT_ONCE: usize = 4;

/// Told how many of how many bytes are there.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How much of each blob is there.
struct Sent {
    blobs: Vec<AtomicU64>,
    total: u64,
    progress: Progress,
}

impl Sent {
    fn new(content: &Image, progress: Progress) -> Self {
        let total = content.blobs.iter().map(|(descriptor, _)| descriptor.size).sum();
        Self { blobs: content.blobs.iter().map(|_| AtomicU64::new(0)).collect(), total, progress }
    }

    /// A blob that is sent again begins again.
    fn tell(&self, place: usize, bytes: u64) {
        if let Some(blob) = self.blobs.get(place) {
            blob.store(bytes, Ordering::Relaxed);
        }
        let sent = self.blobs.iter().map(|blob| blob.load(Ordering::Relaxed)).sum();
        (self.progress)(sent, self.total);
    }
}

impl Registry {
    /// Pushes an image, leaving out blobs that are there already, and gives back its digest.
    ///
    /// # Errors
    ///
    /// Says what the registry or the network lacks. What was pushed until then stays, without a name.
    pub async fn push(&self, image: &Reference, content: &Image, progress: Progress) -> Result<Digest, RegistryError> {
        let sent = Arc::new(Sent::new(content, progress));
        let blobs = content.blobs.iter().enumerate();
        let pushes = blobs.map(|(place, (descriptor, bytes))| {
            let sent = Arc::clone(&sent);
            let progress: Progress = Arc::new(move |bytes, _| sent.tell(place, bytes));
            async move {
                self.push_blob(image, descriptor, bytes, &progress).await?;
                progress(descriptor.size, descriptor.size);
                Ok::<_, RegistryError>(())
            }
        });
        // A registry answers three times per blob: waiting for one while another is on its way saves most of the time.
        stream::iter(pushes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.push_manifest(image, &content.manifest, &content.media_type).await
    }

    /// Pushes a manifest or an index, whose blobs must be there.
    ///
    /// # Errors
    ///
    /// As for [`Registry::push`].
    pub async fn push_manifest(
        &self,
        image: &Reference,
        manifest: &Bytes,
        media_type: &str,
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(manifest);
        let call = Call {
            image,
            access: Access::Push,
            method: Method::PUT,
            path: format!("manifests/{}", image.identifier()),
            accept: None,
            body: Some((manifest.clone(), media_type)),
            what: format!("the push of `{image}`"),
        };
        let mut tries = self.tries();
        let response = loop {
            match self.send_once(&call).await {
                Err(error) if tries.another(&error).await => {}
                result => break result?,
            }
        };
        let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match said.map(str::parse::<Digest>) {
            Some(Ok(stored)) if stored != digest => Err(RegistryError::Digest {
                host: image.registry().to_owned(),
                what: call.what.clone(),
                expected: digest,
                actual: stored,
            }),
            _ => Ok(digest),
        }
    }

    async fn push_blob(
        &self,
        image: &Reference,
        blob: &Descriptor,
        bytes: &Bytes,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let mut tries = self.tries();
        loop {
            match self.push_blob_once(image, blob, bytes, progress).await {
                Err(error) if tries.another(&error).await => {}
                result => return result,
            }
        }
    }

    async fn push_blob_once(
        &self,
        image: &Reference,
        blob: &Descriptor,
        bytes: &Bytes,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        if self.has_blob(image, blob).await? {
            return Ok(());
        }
        let call = Call {
            image,
            access: Access::Push,
            method: Method::POST,
            path: "blobs/uploads/".to_owned(),
            accept: None,
            body: Some((Bytes::new(), "application/octet-stream")),
            what: format!("the push of the blob `{}` to `{image}`", blob.digest),
        };
        let response = self.send_once(&call).await?;
        let session = location(&response, image.registry()).map_err(|reason| call.protocol(reason))?;
        let response = self.upload(&call, session, blob, bytes, progress).await?;
        self.succeeded(&call, response).await.map(drop)
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        self.succeeded(call, self.call(call).await?).await
    }

    async fn has_blob(&self, image: &Reference, blob: &Descriptor) -> Result<bool, RegistryError> {
        let call = Call {
            access: Access::Push,
            method: Method::HEAD,
            ..Call::get(image, format!("blobs/{}", blob.digest), format!("the blob `{}` of `{image}`", blob.digest))
        };
        let response = self.call(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => self.succeeded(&call, response).await.map(|_| true),
        }
    }

    /// Sends the whole blob in one request to where the registry wants it. Another host than the registry itself is
    /// not shown the token.
    async fn upload(
        &self,
        call: &Call<'_>,
        (mut url, own): (Url, bool),
        blob: &Descriptor,
        bytes: &Bytes,
        progress: &Progress,
    ) -> Result<Response, RegistryError> {
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let registry = call.image.registry();
        let request = self
            .client(&transport::host(&url))
            .put(url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes.len())
            .body(told_piecewise(bytes, progress));
        let token = self.remembered(|memory| memory.tokens.get(&(call.image.name(), call.access)).cloned());
        let request = match token.filter(|_| own) {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        };
        let began = std::time::Instant::now();
        request.send().await.map_err(|error| transport::failure(&error, registry, &call.what, began.elapsed()))
    }
}

/// Where the registry wants the blob, and whether that is the registry itself.
fn location(response: &Response, registry: &str) -> Result<(Url, bool), String> {
    let value = response.headers().get(LOCATION).ok_or("it names no `Location` for the upload")?;
    let value = value.to_str().map_err(|_| "its `Location` is no text")?;
    let url = response.url().join(value).map_err(|error| format!("its `Location` is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its `Location` is neither http nor https".to_owned());
    }
    if url.host_str().is_some_and(transport::is_metadata_literal) {
        return Err("its `Location` is a link-local address".to_owned());
    }
    // An answer that came by a redirect does not speak for the registry.
    let own = transport::host(response.url()) == registry && url.origin() == response.url().origin();
    Ok((url, own))
}

fn told_piecewise(bytes: &Bytes, progress: &Progress) -> Body {
    let (mut rest, total) = (bytes.clone(), bytes.len() as u64);
    let progress = Arc::clone(progress);
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then(|| {
            progress(total - rest.len() as u64, total);
            Ok::<_, std::io::Error>(piece)
        })
    });
    Body::wrap_stream(stream::iter(pieces))
}

//! From the URL of a plugin to its module: out of the cache, or from wherever the URL leads.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use wasmplugin_deploy::cache::Cache;
//! use wasmplugin_deploy::fetch::{FetchOptions, Fetcher, ModuleRequest};
//! use wasmplugin_deploy::registry::keychain::Keychain;
//!
//! let fetcher = Fetcher::new(Cache::open("/var/lib/istio/data")?, Keychain::of_this_machine(), FetchOptions::default())?;
//! let module = fetcher.module(&ModuleRequest::of("oci://ghcr.io/example/plugin:1")).await?;
//! println!("{} bytes, pinned by {}", module.bytes.len(), module.checksum);
//! # Ok(()) }
//! ```

mod http;
mod location;
pub mod unbox;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{Cache, CacheError, CachedModule, FetchResult, Lookup, PullPolicy};
use crate::image::archive::MAX_MODULE_SIZE;
use crate::image::digest::Digest;
use crate::image::extract::{self, Form, Refusal};
use crate::image::reference::{BadReference, Reference};
use crate::registry::keychain::Keychain;
use crate::registry::{BadTransport, Registry, RegistryError, RegistryOptions};
pub use http::HttpOptions;
pub use location::Location;

/// What Istio gives a fetch, retries included.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How modules are fetched.
#[derive(Clone)]
pub struct FetchOptions {
    /// How to talk to registries, and which hosts' certificates are not checked.
    pub registry: RegistryOptions,
    /// How web servers are asked.
    pub http: HttpOptions,
    /// The largest module, in bytes (`ISTIO_WASM_MAX_BINARY_SIZE_BYTES`). Istio cuts a larger one off there; here it is
    /// refused.
    pub max_size: u64,
    /// Takes modules out of images that Istio refuses, too.
    pub lenient: bool,
    /// Told how many bytes have come.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            registry: RegistryOptions::default(),
            http: HttpOptions::default(),
            max_size: MAX_MODULE_SIZE,
            lenient: false,
            progress: None,
        }
    }
}

impl std::fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchOptions")
            .field("registry", &self.registry)
            .field("http", &self.http)
            .field("max_size", &self.max_size)
            .finish_non_exhaustive()
    }
}

/// A module that is wanted: the fields of Istio's resources.
#[derive(Debug, Clone)]
pub struct ModuleRequest {
    /// `oci://`, `http://`, `https://` or `file://`, as istiod hands it on; without a scheme an image.
    pub url: String,
    /// The field `sha256`: of the manifest of an image, of the unpacked module from a web server; never compared for a
    /// file.
    pub sha256: Option<Digest>,
    /// The field `imagePullPolicy`.
    pub pull_policy: PullPolicy,
    /// The secret's `.dockerconfigjson`, if the resource names one; empty if it could not be read. Without it the
    /// fetcher's own keychain is asked.
    pub pull_secret: Option<Vec<u8>>,
    /// The resource, such as `<namespace>.<name>`.
    pub resource: String,
    /// The resource's version, a change of which makes [`PullPolicy::Always`] ask again.
    pub resource_version: String,
    /// The most time for everything.
    pub timeout: Duration,
}

impl ModuleRequest {
    /// The module at that URL, as a resource without further fields would want it.
    #[must_use]
    pub fn of(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            sha256: None,
            pull_policy: PullPolicy::Unspecified,
            pull_secret: None,
            resource: String::new(),
            resource_version: String::new(),
            timeout: TIMEOUT,
        }
    }
}

/// A module, there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its bytes, which begin as a module does; whether it is a valid one is for the host to say.
    pub bytes: Bytes,
    /// A file with the same bytes. Nothing if the cache cannot be written, for which the log has the reason.
    pub path: Option<PathBuf>,
    /// What pins it: the digest of the image's manifest, or of the module itself.
    pub checksum: Digest,
    /// Whether nobody had to be asked.
    pub cached: bool,
    /// How it was packed, if it was taken out of an image just now.
    pub form: Option<Form>,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A registry, or the image in it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A web server.
    #[error("cannot download the module: {0}")]
    Http(RegistryError),
    /// What the web server has.
    #[error("what `{url}` holds cannot be used: {refusal}")]
    Body {
        /// The URL.
        url: String,
        /// Why not.
        refusal: Refusal,
    },
    /// A file.
    #[error("cannot read `{path}`: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Another version than pinned.
    #[error("checksum mismatch: `{url}` has `{actual}`, and `{expected}` was asked for{hint}")]
    Checksum {
        /// The URL.
        url: String,
        /// The digest that is pinned.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
        /// What may have happened.
        hint: &'static str,
    },
    /// An unknown scheme.
    #[error("`{0}` has a scheme that cannot be fetched from; use `oci://`, `https://`, `http://` or `file://`")]
    Scheme(String),
    /// A URL that is none.
    #[error("`{url}` is no URL: {reason}")]
    Url {
        /// The text.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A name of an image that is none.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// Too slow.
    #[error("`{url}` could not be fetched within {} s: the server is too slow, or another process is still at it", after.as_secs_f32())]
    Timeout {
        /// The URL.
        url: String,
        /// The time that it had.
        after: Duration,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl FetchError {
    /// The word for it in `istio_agent_wasm_remote_fetch_count`.
    #[must_use]
    pub fn result(&self) -> FetchResult {
        match self {
            Self::Checksum { .. } | Self::Registry(RegistryError::Digest { .. }) => FetchResult::ChecksumMismatched,
            Self::Http(_) | Self::Body { .. } | Self::Url { .. } => FetchResult::DownloadFailure,
            Self::Registry(RegistryError::Image(_)) => FetchResult::FetchFailure,
            Self::Registry(_) | Self::Reference(_) => FetchResult::ManifestFailure,
            Self::File { .. } | Self::Scheme(_) | Self::Timeout { .. } | Self::Cache(_) => FetchResult::FetchFailure,
        }
    }
}

/// Fetches modules. Cheap to clone; clones share connections and the cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: Cache,
    registry: Registry,
    options: FetchOptions,
}

impl Fetcher {
    /// Fetches into that cache, with those credentials where a request brings none of its own.
    ///
    /// # Errors
    ///
    /// If a certificate authority cannot be read.
    pub fn new(cache: Cache, keychain: Keychain, options: FetchOptions) -> Result<Self, BadTransport> {
        Ok(Self { cache, registry: Registry::new(options.registry.clone(), keychain)?, options })
    }

    /// The cache, for its metrics and its purge.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The module at a URL. Those who want the same one at the same time, in this process or another, wait for the
    /// first of them.
    ///
    /// # Errors
    ///
    /// A [`FetchError`] says what is wrong and what to do about it.
    pub async fn module(&self, request: &ModuleRequest) -> Result<Module, FetchError> {
        let location = Location::parse(&request.url)?;
        if let Location::File(path) = &location {
            return file(path, self.options.max_size);
        }
        if request.pull_secret.is_some() && matches!(location, Location::Http(_)) {
            log::warn!("the pull secret is not used for `{}`: web servers are asked without credentials", request.url);
        }
        let found = tokio::time::timeout(request.timeout, self.fetch(request, &location)).await;
        let result =
            found.unwrap_or_else(|_| Err(FetchError::Timeout { url: request.url.clone(), after: request.timeout }));
        match &result {
            Ok(module) if module.cached => {}
            Ok(_) => self.cache.metrics().fetched(FetchResult::Success),
            Err(error) => self.cache.metrics().fetched(error.result()),
        }
        result
    }

    async fn fetch(&self, request: &ModuleRequest, location: &Location) -> Result<Module, FetchError> {
        let pinned = pinned(request, location)?;
        let name = location.module_name(&request.url);
        let lookup = Lookup {
            url: &request.url,
            name: &name,
            checksum: pinned,
            heeds_changes: request.pull_policy.heeds_changes(location.scheme(), location.path()),
            resource: &request.resource,
            version: &request.resource_version,
        };
        let found = self.cache.find(&lookup);
        self.cache.metrics().lookup(found.is_some());
        if let Some(module) = found {
            return Ok(Module::cached(module));
        }
        let _alone = self.cache.reserve(&name).await?;
        // Somebody else may have fetched it meanwhile.
        if let Some(module) = self.cache.find(&lookup) {
            return Ok(Module::cached(module));
        }
        let module = match location {
            Location::Image { reference, .. } => self.image(request, &lookup, reference).await?,
            Location::Http(url) => self.download(&lookup, url).await?,
            Location::File(path) => return file(path, self.options.max_size),
        };
        // A pinned version says nothing about what the URL stands for otherwise.
        if lookup.checksum.is_none() && module.path.is_some() {
            self.cache.note(&lookup, &module.checksum);
        }
        Ok(module)
    }

    async fn image(
        &self,
        request: &ModuleRequest,
        lookup: &Lookup<'_>,
        reference: &Reference,
    ) -> Result<Module, FetchError> {
        let own = request
            .pull_secret
            .as_ref()
            .map(|secret| self.registry.with_keychain(Keychain::of_pull_secret(secret.clone())));
        let registry = own.as_ref().unwrap_or(&self.registry);
        let pulled = registry.manifest(reference).await?;
        if let Some(expected) = lookup.checksum.filter(|expected| **expected != pulled.digest) {
            let hint = if pulled.index.as_ref() == Some(expected) {
                "; that is the digest of the index, and Istio compares the one of its child for linux/amd64: pin that one"
            } else {
                "; the tag may have moved since it was pinned"
            };
            return Err(FetchError::Checksum {
                url: request.url.clone(),
                expected: expected.clone(),
                actual: pulled.digest,
                hint,
            });
        }
        if let Some(module) = self.cache.module(lookup.name, &pulled.digest) {
            return Ok(Module { cached: false, ..Module::cached(module) });
        }
        let options = &self.options;
        let extracted = registry
            .extract(reference, &pulled.manifest, options.lenient, options.max_size, &|length| self.tell(length))
            .await?;
        let stored = self.store(lookup, &pulled.digest, extracted.module);
        Ok(Module { form: Some(extracted.form), ..stored })
    }

    async fn download(&self, lookup: &Lookup<'_>, url: &reqwest::Url) -> Result<Module, FetchError> {
        let client = self.registry.client(&crate::registry::transport::host(url));
        // An archive may be a little larger than the module in it.
        let limit = self.options.max_size.saturating_mul(2);
        let body = http::download(client, url, &self.options.http, limit, &|length| self.tell(length)).await?;
        let module = unbox::unbox(body, self.options.max_size)
            .map_err(|refusal| FetchError::Body { url: lookup.url.to_owned(), refusal })?;
        let actual = Digest::of(&module);
        if let Some(expected) = lookup.checksum.filter(|expected| **expected != actual) {
            return Err(FetchError::Checksum {
                url: lookup.url.to_owned(),
                expected: expected.clone(),
                actual,
                hint: "; it must be that of the module itself, not of an archive around it",
            });
        }
        Ok(self.store(lookup, &actual, module))
    }

    /// A module that cannot be stored is used all the same.
    fn store(&self, lookup: &Lookup<'_>, checksum: &Digest, bytes: Bytes) -> Module {
        let stored = self.cache.insert(lookup.name, checksum, &bytes);
        if let Err(error) = &stored {
            log::warn!("{error}; the module is used without the cache");
        }
        let path = stored.ok().map(|stored| stored.path);
        Module { bytes, path, checksum: checksum.clone(), cached: false, form: None }
    }

    fn tell(&self, length: u64) {
        if let Some(progress) = &self.options.progress {
            progress(length);
        }
    }
}

impl Module {
    fn cached(module: CachedModule) -> Self {
        let CachedModule { record, bytes, path } = module;
        Self { bytes, path: Some(path), checksum: record.checksum, cached: true, form: None }
    }
}

/// The version that is pinned, by the field or in the URL.
fn pinned<'a>(request: &'a ModuleRequest, location: &'a Location) -> Result<Option<&'a Digest>, FetchError> {
    let in_url = match location {
        Location::Image { reference, .. } => reference.digest(),
        Location::Http(_) | Location::File(_) => None,
    };
    match (&request.sha256, in_url) {
        (Some(field), Some(url)) if field != url => Err(FetchError::Checksum {
            url: request.url.clone(),
            expected: field.clone(),
            actual: url.clone(),
            hint: "; the URL's digest and the field `sha256` contradict each other",
        }),
        (Some(field), _) => Ok(Some(field)),
        (None, url) => Ok(url),
    }
}

/// Istio hands files to the proxy unseen; only what can be no module at all is refused here.
fn file(path: &std::path::Path, limit: u64) -> Result<Module, FetchError> {
    let failed = |reason: String| FetchError::File { path: path.display().to_string(), reason };
    let bytes: Bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?.into();
    extract::check(&bytes, limit).map_err(|refusal| failed(refusal.to_string()))?;
    let checksum = Digest::of(&bytes);
    Ok(Module { bytes, path: Some(path.to_path_buf()), checksum, cached: true, form: None })
}

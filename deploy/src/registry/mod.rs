//! Registries: where images are pulled from and pushed to, by the OCI distribution protocol.
//!
//! ```text
//! Registry::image / manifest ─► call ─► 401? ─► auth ◄── credentials ◄── helper
//! Registry::blob                 │                └────► realm
//! Registry::push                 └─► transport (TLS, limits, redirects)
//! ```
//!
//! Nothing that a registry says is trusted: lengths are limits to what is read, digests are compared, a token server
//! inside the own network is not asked, and credentials leave only for the registry and its token server.

mod auth;
pub mod credentials;
mod error;
mod helper;
pub mod hosts;
pub mod keychain;
mod pull;
mod push;
pub mod realm;
pub(crate) mod transport;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use crate::image::reference::Reference;
use auth::Challenge;
use credentials::Credentials;
pub use error::RegistryError;
use hosts::HostList;
use keychain::Keychain;
pub use push::Progress;
pub use transport::{BadTransport, TransportOptions};

/// How to talk to registries.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Registries whose certificate is not checked (`WASM_INSECURE_REGISTRIES` in Istio).
    pub insecure: HostList,
    /// Registries that are talked to in plain HTTP, credentials included. Those on this machine and in private
    /// networks are tried over TLS first; others fall back to HTTP if they answer TLS in plaintext, as in Istio, but
    /// are then not shown credentials.
    pub plain_http: HostList,
    /// Token servers on this machine or in private networks that may be asked.
    pub realms: HostList,
    /// Pauses before another try, one per further try.
    pub pauses: Vec<Duration>,
    /// How connections are made.
    pub transport: TransportOptions,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: HostList::default(),
            plain_http: HostList::default(),
            realms: HostList::default(),
            // Those of go-containerregistry.
            pauses: vec![Duration::from_secs(1), Duration::from_secs(3)],
            transport: TransportOptions::default(),
        }
    }
}

/// What may be done with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Access {
    Pull,
    Push,
}

/// All registries, with the credentials of one user. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    options: Arc<RegistryOptions>,
    keychain: Keychain,
    verified: Client,
    unverified: Client,
    memory: Arc<Mutex<Memory>>,
}

/// What was learnt from answers.
#[derive(Default)]
struct Memory {
    /// Whether a host speaks plain HTTP.
    plain: HashMap<String, bool>,
    /// Answers to challenges, by repository.
    tokens: HashMap<(String, Access), HeaderValue>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("options", &self.options)
            .field("keychain", &self.keychain)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Prepares to talk to registries; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If a certificate authority cannot be read.
    pub fn new(options: RegistryOptions, keychain: Keychain) -> Result<Self, BadTransport> {
        Ok(Self {
            verified: transport::client(&options.transport, true)?,
            unverified: transport::client(&options.transport, false)?,
            options: Arc::new(options),
            keychain,
            memory: Arc::default(),
        })
    }

    /// The same, as another user: connections are shared, tokens are not.
    #[must_use]
    pub fn with_keychain(&self, keychain: Keychain) -> Self {
        let plain = self.remembered(|memory| memory.plain.clone());
        Self { keychain, memory: Arc::new(Mutex::new(Memory { plain, tokens: HashMap::new() })), ..self.clone() }
    }

    /// A client that checks certificates unless the host is one of the insecure ones.
    pub(crate) fn client(&self, host: &str) -> &Client {
        if self.options.insecure.contains(host) { &self.unverified } else { &self.verified }
    }

    fn remembered<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another round of tries.
    fn tries(&self) -> Tries<'_> {
        Tries { pauses: self.options.pauses.iter() }
    }

    /// Sends a request about an image, with whatever the registry wants to see.
    async fn call(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let key = (call.image.name(), call.access);
        let remembered = self.remembered(|memory| memory.tokens.get(&key).cloned());
        let first = self.send(call, remembered).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        // Without a token, or with one that has expired since.
        self.remembered(|memory| memory.tokens.remove(&key));
        let credentials = self.keychain.resolve(call.image).await?;
        let token = match Challenge::of(&first) {
            Some(challenge) => self.authorize(&challenge, &credentials, call, first.url()).await?,
            None => None,
        };
        let Some(token) = token else { return Err(self.refused(call, first, &credentials).await) };
        let second = self.send(call, Some(token.clone())).await?;
        if second.status() == StatusCode::UNAUTHORIZED {
            return Err(self.refused(call, second, &credentials).await);
        }
        self.remembered(|memory| memory.tokens.insert(key, token));
        Ok(second)
    }

    async fn authorize(
        &self,
        challenge: &Challenge,
        credentials: &Credentials,
        call: &Call<'_>,
        asked: &Url,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let registry = call.image.registry();
        if asked.scheme() == "http" && *credentials != Credentials::Anonymous && !self.may_be_plain(registry) {
            return Err(RegistryError::Plaintext { host: registry.to_owned() });
        }
        let actions = match call.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", call.image.repository());
        let client = self.client(registry);
        auth::answer(challenge, credentials, &scope, client, &self.options.realms, &self.options.plain_http).await
    }

    /// Whether credentials may go to this registry in plaintext.
    fn may_be_plain(&self, registry: &str) -> bool {
        hosts::is_local(registry) || self.options.plain_http.contains(registry)
    }

    /// Sends a request once over TLS, and again in plaintext where that is what the registry speaks.
    async fn send(&self, call: &Call<'_>, token: Option<HeaderValue>) -> Result<Response, RegistryError> {
        let registry = call.image.registry();
        if transport::is_metadata_literal(registry) {
            let reason = "it is a link-local address, where clouds keep their metadata".to_owned();
            return Err(RegistryError::Unreachable { host: registry.to_owned(), reason });
        }
        let known = if self.options.plain_http.contains(registry) {
            Some(true)
        } else {
            self.remembered(|memory| memory.plain.get(registry).copied())
        };
        let began = Instant::now();
        let failed = |error: &reqwest::Error| transport::failure(error, registry, &call.what, began.elapsed());
        let response = match known {
            Some(plain) => self.request(call, plain, token)?.send().await.map_err(|error| failed(&error))?,
            None => match self.request(call, false, token.clone())?.send().await {
                Ok(response) => {
                    self.remembered(|memory| memory.plain.insert(registry.to_owned(), false));
                    response
                }
                Err(error)
                    if transport::answered_in_plaintext(&error)
                        || hosts::is_local(registry) && transport::hung_up(&error) =>
                {
                    // A local registry may also just hang up on TLS; what it says to HTTP then tells more.
                    let plain = self.request(call, true, token)?.send().await;
                    let response =
                        plain.map_err(|second| failed(if second.is_connect() { &error } else { &second }))?;
                    self.remembered(|memory| memory.plain.insert(registry.to_owned(), true));
                    if !hosts::is_local(registry) {
                        log::warn!("`{registry}` speaks plain HTTP: anybody on the way can change what it says");
                    }
                    response
                }
                Err(error) => return Err(failed(&error)),
            },
        };
        Ok(response)
    }

    fn request(
        &self,
        call: &Call<'_>,
        plain: bool,
        token: Option<HeaderValue>,
    ) -> Result<RequestBuilder, RegistryError> {
        let registry = call.image.registry();
        let origin = format!("{}://{registry}", if plain { "http" } else { "https" });
        let url = format!("{origin}/v2/{}/{}", call.image.repository(), call.path);
        let url = Url::parse(&url).map_err(|error| call.protocol(format!("`{url}` is no URL: {error}")))?;
        let mut request = self.client(registry).request(call.method.clone(), url);
        if let Some(accept) = call.accept {
            request = request.header("accept", accept);
        }
        if let Some((body, media_type)) = &call.body {
            request = request.header("content-type", *media_type).body(body.clone());
        }
        Ok(match token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        })
    }

    async fn refused(&self, call: &Call<'_>, response: Response, credentials: &Credentials) -> RegistryError {
        RegistryError::Refused {
            host: call.image.registry().to_owned(),
            what: call.what.clone(),
            status: response.status().as_u16(),
            said: transport::complaint(response).await,
            hint: auth::hint(credentials),
        }
    }

    /// Turns an answer that is no success into an error.
    async fn succeeded(&self, call: &Call<'_>, response: Response) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (host, what) = (call.image.registry().to_owned(), call.what.clone());
        Err(match status {
            StatusCode::NOT_FOUND if call.access == Access::Pull => RegistryError::NotFound { host, what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let credentials = self.keychain.resolve(call.image).await.unwrap_or_default();
                self.refused(call, response, &credentials).await
            }
            _ => {
                let said = transport::complaint(response).await;
                RegistryError::Status { host, what, status: status.as_u16(), said }
            }
        })
    }
}

/// The tries that are left.
struct Tries<'a> {
    pauses: std::slice::Iter<'a, Duration>,
}

impl Tries<'_> {
    /// Whether to try again, after a pause: nothing fails for good before it was tried often enough.
    async fn another(&mut self, error: &RegistryError) -> bool {
        let Some(pause) = self.pauses.next().filter(|_| error.is_temporary()) else { return false };
        log::debug!("{error}; another try in {} ms", pause.as_millis());
        tokio::time::sleep(*pause).await;
        true
    }
}

/// One request about an image.
#[derive(Debug, Clone)]
struct Call<'a> {
    image: &'a Reference,
    access: Access,
    method: Method,
    /// Below the repository.
    path: String,
    accept: Option<&'static str>,
    body: Option<(bytes::Bytes, &'a str)>,
    /// What is asked for, for messages.
    what: String,
}

impl<'a> Call<'a> {
    fn get(image: &'a Reference, path: String, what: String) -> Self {
        Self { image, access: Access::Pull, method: Method::GET, path, accept: None, body: None, what }
    }

    fn protocol(&self, reason: String) -> RegistryError {
        RegistryError::Protocol { host: self.image.registry().to_owned(), what: self.what.clone(), reason }
    }
}

//! Modules from web servers, with the patience of Istio's agent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Client, StatusCode, Url};

use super::FetchError;
use crate::registry::{RegistryError, transport};

/// How often and how long a web server is asked.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Attempts (`WASM_HTTP_REQUEST_MAX_RETRIES` in Istio).
    pub attempts: u32,
    /// The pause after the first, which doubles with each further one.
    pub pause: Duration,
    /// The most time for one attempt (`WASM_HTTP_REQUEST_TIMEOUT`).
    pub timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(500), timeout: Duration::from_secs(15) }
    }
}

/// Downloads a body of at most `limit` bytes.
pub(super) async fn download(
    client: &Client,
    url: &Url,
    options: &HttpOptions,
    limit: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Bytes, FetchError> {
    let (mut pause, mut left) = (options.pause, options.attempts);
    loop {
        left = left.saturating_sub(1);
        match attempt(client, url, options, limit, progress).await {
            Err(error) if left > 0 && may_pass(&error) => {
                log::debug!("{error}; another try in {} ms", pause.as_millis());
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result.map_err(FetchError::Http),
        }
    }
}

/// Network errors, and the server's own except those that say that it will never work.
fn may_pass(error: &RegistryError) -> bool {
    match error {
        RegistryError::Status { status, .. } => *status >= 500 && !matches!(status, 501 | 505 | 511),
        other => other.is_temporary(),
    }
}

async fn attempt(
    client: &Client,
    url: &Url,
    options: &HttpOptions,
    limit: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Bytes, RegistryError> {
    let host = transport::host(url);
    let what = shown(url);
    let began = Instant::now();
    let response = client
        .get(url.clone())
        .timeout(options.timeout)
        .send()
        .await
        .map_err(|error| transport::failure(&error, &host, &what, began.elapsed()))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(RegistryError::NotFound { host, what }),
        status => {
            let said = transport::complaint(response).await;
            return Err(RegistryError::Status { host, what, status: status.as_u16(), said });
        }
    }
    let mut received = 0;
    transport::body(response, &what, limit, |length| {
        received += length;
        progress(received);
    })
    .await
}

/// The URL without what may be secret in it.
fn shown(url: &Url) -> String {
    format!("`{}`", url.path())
}

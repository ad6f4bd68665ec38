//! HTTP to hosts that nobody has to trust: certificates, limits, redirects.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response, Url, redirect};

use super::error::RegistryError;
use super::hosts;

/// How connections are made.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Between two pieces of an answer.
    pub read_timeout: Duration,
    /// Authorities that are trusted besides this machine's own, each a PEM file's content.
    pub authorities: Vec<Vec<u8>>,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(15),
            authorities: Vec::new(),
        }
    }
}

/// No HTTP client can be made from the options.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}; a certificate authority must be a PEM file")]
pub struct BadTransport(String);

/// Makes a client; without `verified` it takes any certificate.
pub(crate) fn client(options: &TransportOptions, verified: bool) -> Result<Client, BadTransport> {
    // Kept if the process has chosen another one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bad = |error: reqwest::Error| BadTransport(reasons(&error));
    let mut builder = Client::builder()
        .user_agent(concat!("wasmplugin/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .redirect(redirect::Policy::custom(follow));
    let mut authorities = Vec::new();
    for pem in &options.authorities {
        let found = reqwest::Certificate::from_pem_bundle(pem).map_err(bad)?;
        if found.is_empty() {
            return Err(BadTransport("a file holds no certificate".to_owned()));
        }
        authorities.extend(found);
    }
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    if !verified {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(bad)
}

/// Follows ten redirects, as Go does, but none to a cloud's metadata service.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let to_metadata = attempt.url().host_str().and_then(hosts::address).is_some_and(hosts::is_metadata);
    if to_metadata {
        return attempt.error("it redirects to a link-local address");
    }
    if attempt.previous().len() > 10 { attempt.error("it redirects more than ten times") } else { attempt.follow() }
}

/// Reads a body to its end.
///
/// # Errors
///
/// If it is longer than `limit` or breaks off.
pub(crate) async fn body(
    mut response: Response,
    what: &str,
    limit: u64,
    mut progress: impl FnMut(u64),
) -> Result<Bytes, RegistryError> {
    let host = host(response.url());
    let announced = response.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(RegistryError::TooLarge { host, what: what.to_owned(), limit });
    }
    // A length is only a claim: memory is taken as bytes arrive.
    let mut bytes = BytesMut::with_capacity(usize::try_from(announced.unwrap_or(0).min(1 << 20)).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() as u64 + chunk.len() as u64 > limit => {
                return Err(RegistryError::TooLarge { host, what: what.to_owned(), limit });
            }
            Ok(Some(chunk)) => {
                progress(chunk.len() as u64);
                bytes.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(bytes.freeze()),
            Err(error) => {
                let received = bytes.len() as u64;
                return Err(RegistryError::Truncated {
                    host,
                    what: what.to_owned(),
                    received,
                    reason: format!(": {}", reasons(&error)),
                });
            }
        }
    }
}

/// The first words of an answer that is an error, fit for a terminal.
pub(crate) async fn complaint(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let text = said(&bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if text.trim().is_empty() { String::new() } else { format!(", `{}`", text.trim()) }
}

/// The messages in a registry's error document, or the text as it is.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return if text.trim_start().starts_with('<') { String::new() } else { text };
    };
    let one = |error: &serde_json::Value| {
        let field = |name: &str| error.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
        field("message").or_else(|| field("code")).map(str::to_owned)
    };
    let all: Vec<_> =
        value.get("errors").and_then(|errors| errors.as_array()).into_iter().flatten().filter_map(one).collect();
    if all.is_empty() { text } else { all.join(", ") }
}

/// What a failed request means.
pub(crate) fn failure(error: &reqwest::Error, host: &str, what: &str, waited: Duration) -> RegistryError {
    let reason = reasons(error);
    if certificate_problem(error) {
        return RegistryError::Certificate { host: host.to_owned(), reason };
    }
    if error.is_timeout() && !error.is_connect() {
        return RegistryError::Timeout { host: host.to_owned(), what: what.to_owned(), after: waited };
    }
    RegistryError::Unreachable { host: host.to_owned(), reason }
}

/// Whether the other side answered TLS with something that is none.
pub(crate) fn answered_in_plaintext(error: &reqwest::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

/// Whether no connection came about, for a reason that TLS has no part in.
pub(crate) fn hung_up(error: &reqwest::Error) -> bool {
    error.is_connect() && tls_error(error).is_none()
}

fn certificate_problem(error: &reqwest::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// The TLS library's error, which others wrap in several layers.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // The inner error of an I/O error is not its source but itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = match inner {
            Some(inner) => match inner.downcast_ref::<rustls::Error>() {
                Some(found) => return Some(found),
                None => Some(inner),
            },
            None => error.source(),
        };
    }
    None
}

/// The last cause of an error, which is the one that says something.
fn reasons(error: &reqwest::Error) -> String {
    let mut last = error.source();
    while let Some(next) = last.and_then(std::error::Error::source) {
        last = Some(next);
    }
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// A URL's host, with its port where that is not the scheme's own.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a host is written as an address of a metadata service.
pub(crate) fn is_metadata_literal(host: &str) -> bool {
    hosts::address(hosts::without_port(host)).is_some_and(|address: IpAddr| hosts::is_metadata(address))
}

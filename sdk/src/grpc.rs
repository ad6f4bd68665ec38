//! gRPC callouts: unary calls and streams to clusters of the proxy, with messages of `prost` or plain bytes.
//!
//! ```no_run
//! # use wasmplugin::{Cluster, Result};
//! # #[derive(Clone, PartialEq, prost::Message)]
//! # struct Question { #[prost(string, tag = "1")] text: String }
//! # type Reply = Question;
//! # async fn ask(cluster: Cluster) -> Result<()> {
//! let question = Question { text: "who?".to_owned() };
//! let reply: Reply = cluster.grpc("example.Oracle/Ask").metadata("x-tenant", "blue").call(&question).await?;
//! # Ok(()) }
//! ```

pub(crate) mod error;
mod inbox;

use std::time::Duration;

use prost::Message;

use crate::callout::Cluster;
use crate::headers::{Headers, Lineup};
use crate::policy::{Failed, Policy, Retry};
use crate::sys::{self, HostError, Status};
use crate::trace_context;
use crate::visible::Visible;
use error::Ending;
use inbox::Handle;

pub use error::{Code, GrpcError};
pub(crate) use inbox::{closed, metadata_received, received, trailers_received, waiting};

/// A call without a time-out of its own may take this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of a peer that a call keeps unless it says otherwise; gRPC libraries have the same.
const DEFAULT_LIMIT: usize = 4 * 1024 * 1024;

impl Cluster {
    /// A gRPC call to this cluster; the method is `package.Service/Method`.
    ///
    /// The cluster has to speak HTTP/2. Its `:authority` is the host in an Istio cluster name, else the whole name.
    pub fn grpc(&self, method: &str) -> Call {
        Call {
            cluster: self.name().to_owned(),
            authority: self.host().to_owned(),
            method: method.trim_start_matches('/').to_owned(),
            metadata: Lineup::default(),
            timeout: DEFAULT_TIMEOUT,
            limit: DEFAULT_LIMIT,
            policy: Policy::default(),
        }
    }
}

/// A gRPC call, until it is made.
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is made"]
pub struct Call {
    cluster: String,
    authority: String,
    method: String,
    metadata: Lineup,
    timeout: Duration,
    limit: usize,
    policy: Policy,
}

impl Call {
    /// Sets the `:authority`.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = authority.into();
        self
    }

    /// Adds a line of metadata. The value of a name that ends with `-bin` has to be base64.
    pub fn metadata(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.metadata.push(name, value.as_ref());
        self
    }

    /// Makes the call part of the trace that a request belongs to: see [`Callout::traced`](crate::callout::Callout::traced).
    pub fn traced(mut self, headers: &Headers) -> Self {
        for (name, value) in trace_context::lines(headers) {
            self.metadata.push(name, &value);
        }
        self
    }

    /// Sets how long one attempt of a unary call may take: 1 ms to about 24 days; 5 s unless set. The host has no limit
    /// for streams; [`time::timeout`](crate::time::timeout) around what is awaited gives one.
    pub fn timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sets how many bytes of the peer's messages are kept at a time, 4 MiB unless set. A unary answer, or messages of
    /// a stream that nobody takes, beyond it end the call with [`Code::RESOURCE_EXHAUSTED`].
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Tries a unary call again: see [`Retry`].
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.policy.retry = retry.into();
        self
    }

    /// Makes a unary call a second time when there is no answer after `delay`; the first good answer wins, and the other
    /// call is cancelled.
    pub fn hedge(mut self, delay: impl Into<Duration>) -> Self {
        self.policy.hedge = Some(delay.into());
        self
    }

    /// Sets how long a unary call may take with all its attempts.
    pub fn within(mut self, limit: impl Into<Duration>) -> Self {
        self.policy.within = Some(limit.into());
        self
    }

    /// Makes a unary call and waits for its answer. Dropping the future cancels the call.
    pub async fn call<M: Message + Default>(self, message: &impl Message) -> Result<M, GrpcError> {
        let answer = self.make(&message.encode_to_vec()).await?;
        M::decode(answer.as_slice()).map_err(|error| self.undecodable(&error))
    }

    /// As [`call`](Self::call), with messages in bytes.
    pub async fn call_bytes(self, message: &[u8]) -> Result<Vec<u8>, GrpcError> {
        self.make(message).await
    }

    /// Opens a stream.
    pub fn open(self) -> Result<Stream, GrpcError> {
        let stream = |service: &[u8], name: &str, method: &str, metadata: &[u8]| {
            sys::grpc_stream(service, name, method, metadata)
        };
        let token = self.begin(stream)?;
        Ok(Stream { handle: Handle::new(token, self.limit), finished: false, call: self })
    }

    async fn make(&self, message: &[u8]) -> Result<Vec<u8>, GrpcError> {
        let late = || self.error(Ending::new(Code::DEADLINE_EXCEEDED, "no answer in time, with all attempts"));
        self.policy.run(|| self.attempt(message), failed, late).await
    }

    async fn attempt(&self, message: &[u8]) -> Result<Vec<u8>, GrpcError> {
        // Envoy counts in a signed number, and takes 0 for "no time-out".
        let timeout = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32);
        let token = self.begin(|service, name, method, metadata| {
            sys::grpc_call(service, name, method, metadata, message, timeout)
        })?;
        let answer = Handle::new(token, self.limit).next().await.map_err(|ending| self.error(ending))?;
        answer.ok_or_else(|| self.error(Ending::new(Code::INTERNAL, "the call succeeded without an answer")))
    }

    fn begin(&self, call: impl FnOnce(&[u8], &str, &str, &[u8]) -> sys::Result<u32>) -> Result<u32, GrpcError> {
        let invalid = |text: String| self.error(Ending::new(Code::INVALID_ARGUMENT, text));
        let Some((name, method)) =
            self.method.rsplit_once('/').filter(|(name, method)| path_part(name) && path_part(method))
        else {
            return Err(invalid(format!(
                "`{}` is no method, expected `package.Service/Method`",
                Visible(&self.method)
            )));
        };
        let metadata = match self.metadata.is_empty() {
            true => Vec::new(),
            false => self.metadata.encode(&[]).map_err(|error| invalid(error.to_string()))?,
        };
        call(&service(&self.cluster, &self.authority), name, method, &metadata).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: HostError) -> GrpcError {
        let text = match error.status {
            Status::INTERNAL_FAILURE => {
                "the host does not know the cluster, or it has no healthy endpoint; check its name against the proxy's clusters"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        self.error(Ending::new(Code::UNAVAILABLE, text))
    }

    fn undecodable(&self, error: &prost::DecodeError) -> GrpcError {
        self.error(Ending::new(Code::INTERNAL, format!("the answer is not the message that was expected: {error}")))
    }

    fn error(&self, ending: Ending) -> GrpcError {
        let Ending { status, message, details } = ending;
        GrpcError { cluster: self.cluster.clone(), method: self.method.clone(), status, message, details }
    }
}

/// Whether this can stand in a path without becoming two parts or ending it.
fn path_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#'))
}

/// Envoy's message `GrpcService` with `envoy_grpc {cluster_name, authority}`.
///
/// A bare name would do for most clusters. But Envoy reads every argument as this message first, and a name such as
/// `authority` happens to be a valid one, about nothing.
fn service(cluster: &str, authority: &str) -> Vec<u8> {
    let mut target = Vec::with_capacity(cluster.len() + authority.len() + 8);
    prost::encoding::string::encode(1, &cluster.to_owned(), &mut target);
    prost::encoding::string::encode(2, &authority.to_owned(), &mut target);
    let mut service = Vec::with_capacity(target.len() + 4);
    prost::encoding::bytes::encode(1, &target, &mut service);
    service
}

/// A stream of messages in both directions. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub struct Stream {
    call: Call,
    handle: Handle,
    finished: bool,
}

impl Stream {
    /// Sends a message. What is sent after [`finish`](Self::finish) or the peer's end goes nowhere.
    pub fn send(&mut self, message: &impl Message) -> Result<(), GrpcError> {
        self.send_bytes(&message.encode_to_vec())
    }

    /// As [`send`](Self::send), with a message in bytes.
    pub fn send_bytes(&mut self, message: &[u8]) -> Result<(), GrpcError> {
        if self.finished || self.handle.slot.is_over() {
            return Ok(());
        }
        sys::grpc_send(self.handle.token, message, false).map_err(|error| self.call.refused(error))
    }

    /// Says that nothing more will be sent; the peer may go on.
    pub fn finish(&mut self) -> Result<(), GrpcError> {
        if self.finished || self.handle.slot.is_over() {
            return Ok(());
        }
        self.finished = true;
        sys::grpc_close(self.handle.token).map_err(|error| self.call.refused(error))
    }

    /// Waits for the next message; nothing once the peer has ended the stream with status 0.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, GrpcError> {
        let message = self.next_bytes().await?;
        message.map(|bytes| M::decode(bytes.as_slice())).transpose().map_err(|error| self.call.undecodable(&error))
    }

    /// As [`next`](Self::next), with the message in bytes.
    pub async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, GrpcError> {
        self.handle.next().await.map_err(|ending| self.call.error(ending))
    }

    /// The peer's initial metadata, which come before its first message; empty until then.
    #[must_use]
    pub fn metadata(&self) -> Headers {
        self.handle.slot.metadata.borrow().clone()
    }

    /// The peer's trailing metadata, which come with the end; empty until then.
    #[must_use]
    pub fn trailers(&self) -> Headers {
        self.handle.slot.trailers.borrow().clone()
    }
}

/// What a policy makes of an outcome.
fn failed<T>(outcome: &Result<T, GrpcError>) -> Option<Failed> {
    let error = outcome.as_ref().err()?;
    Some(match error.status {
        Code::UNAVAILABLE => Failed::Unreachable,
        Code::DEADLINE_EXCEEDED => Failed::Timeout,
        Code::INTERNAL if !error.is_from_peer() => Failed::Malformed,
        Code::UNKNOWN | Code::RESOURCE_EXHAUSTED | Code::INTERNAL => Failed::Server,
        Code::CANCELLED => Failed::Reset,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_envoys_message() {
        assert_eq!(service("authz", "h"), b"\x0a\x0a\x0a\x05authz\x12\x01h");
    }

    #[test]
    fn an_error_says_who_what_and_why() {
        let call = Cluster::named("authz").unwrap().grpc("a.B/C");
        let error = call.error(Ending::told(7, b"not you{via_upstream}"));
        assert_eq!(error.to_string(), "gRPC call `a.B/C` to cluster `authz`: permission denied: not you");
        assert!(error.is_from_peer());
        assert_eq!(Code(99).to_string(), "status 99");
    }
}

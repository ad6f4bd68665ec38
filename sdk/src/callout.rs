//! Requests that a plugin makes to clusters of the proxy, and waits for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{CalloutError, CalloutErrorKind, Error, Result};
use crate::head::status;
use crate::headers::{Headers, Lineup};
use crate::id_map::IdMap;
use crate::policy::Policy;
use crate::sys::{self, BufferKind, MapKind, Status};
use crate::visible::Visible;
use crate::{machinery, runtime, trace_context};

pub use crate::policy::{Failed, Retry};

/// A callout without a time-out of its own may take this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster of the proxy: where callouts go.
///
/// In configuration it is a string. In Istio a cluster has the name `outbound|8080||auth.default.svc.cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Deserialize), serde(try_from = "String"))]
pub struct Cluster {
    name: String,
}

impl Cluster {
    /// The cluster of this name; a name cannot be empty.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.is_empty() { Err(Error::app("a cluster name cannot be empty")) } else { Ok(Self { name }) }
    }

    /// The cluster that Istio makes for a port of a service, such as `auth.default.svc.cluster.local`.
    pub fn istio_outbound(port: u16, host: &str) -> Result<Self> {
        Self::named(format!("outbound|{port}||{host}"))
    }

    /// The same for one subset of the service, as a `DestinationRule` names it.
    pub fn istio_subset(port: u16, subset: &str, host: &str) -> Result<Self> {
        Self::named(format!("outbound|{port}|{subset}|{host}"))
    }

    /// The host in an Istio cluster name, else the whole name.
    pub(crate) fn host(&self) -> &str {
        self.name.rsplit('|').next().unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A `GET` request to this cluster.
    pub fn get(&self, path: &str) -> Callout {
        self.request("GET", path)
    }

    /// A `POST` request to this cluster.
    pub fn post(&self, path: &str) -> Callout {
        self.request("POST", path)
    }

    /// A request to this cluster; its `:authority` is the host in an Istio cluster name, else the whole name.
    pub fn request(&self, method: &str, path: &str) -> Callout {
        Callout {
            cluster: self.name.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            authority: self.host().to_owned(),
            headers: Lineup::default(),
            body: Vec::new(),
            trailers: Lineup::default(),
            timeout: DEFAULT_TIMEOUT,
            max_body: usize::MAX,
            policy: None,
        }
    }
}

impl TryFrom<String> for Cluster {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::named(name)
    }
}

/// What makes the attempts that a policy wants: a module whose callouts have none does not carry it.
type Runner = for<'a> fn(&'a Callout, &'a Policy) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A request to a cluster, until it is sent.
#[derive(Debug, Clone)]
#[must_use = "a callout does nothing until it is sent"]
pub struct Callout {
    cluster: String,
    method: String,
    path: String,
    authority: String,
    headers: Lineup,
    body: Vec<u8>,
    trailers: Lineup,
    timeout: Duration,
    max_body: usize,
    policy: Option<(Policy, Runner)>,
}

impl Callout {
    /// Sets the `:authority`, which the peer sees as `host`.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = authority.into();
        self
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Carries along all lines of some names, as far as they are there.
    pub fn headers_from(mut self, headers: &Headers, names: &[&str]) -> Self {
        for name in names {
            for value in headers.get_all(name) {
                self.headers.push(name, value.as_bytes());
            }
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and the `content-type` to go with it.
    #[cfg(feature = "json")]
    pub fn json(mut self, value: &impl serde::Serialize) -> Result<Self> {
        self.body = serde_json::to_vec(value)?;
        Ok(if self.headers.contains("content-type") { self } else { self.header("content-type", "application/json") })
    }

    /// Adds a trailer line.
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push(name, value.as_ref());
        self
    }

    /// Sets how long one attempt may take: 1 ms to about 24 days; 5 s unless set.
    pub fn timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sets how many bytes the answer's body may have. A larger one is
    /// [`CalloutErrorKind::TooLarge`], and never comes into the module's memory, which does not shrink again.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Makes the request part of the trace that another one belongs to: carries its `traceparent` and `tracestate` (W3C
    /// Trace Context) and `b3`, `x-b3-*`, as far as they are well-formed.
    ///
    /// It has to be asked for, as reading a request's headers costs a host call where nothing else needs them.
    pub fn traced(mut self, headers: &Headers) -> Self {
        for (name, value) in trace_context::lines(headers) {
            self.headers.push(name, &value);
        }
        self
    }

    /// Tries again. A number means up to so many times, when no answer came at all; [`Retry`] says more.
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.policy().retry = retry.into();
        self
    }

    /// Sends the request a second time when there is no answer after `delay`: the first good answer wins, and the other
    /// one is given up. An answer with a status from 500 to 599 is not good.
    pub fn hedge(mut self, delay: impl Into<Duration>) -> Self {
        self.policy().hedge = Some(delay.into());
        self
    }

    /// Sets how long all attempts together may take.
    pub fn within(mut self, limit: impl Into<Duration>) -> Self {
        self.policy().within = Some(limit.into());
        self
    }

    fn policy(&mut self) -> &mut Policy {
        let run: Runner =
            |callout, policy| Box::pin(policy.run(|| callout.attempt(), failed, || CalloutErrorKind::Timeout));
        &mut self.policy.get_or_insert_with(|| (Policy::default(), run)).0
    }

    /// Sends the request and waits for the answer.
    ///
    /// Dropping the future gives the answer up; the request itself cannot be called back.
    pub async fn send(self) -> Result<Answer, CalloutError> {
        let outcome = match &self.policy {
            None => self.attempt().await,
            Some((policy, run)) => run(&self, policy).await,
        };
        outcome.map_err(|kind| CalloutError { cluster: self.cluster, kind })
    }

    async fn attempt(&self) -> Outcome {
        let token = self.dispatch()?;
        Waiting::new(token, self.max_body).await
    }

    fn dispatch(&self) -> Result<u32, CalloutErrorKind> {
        let invalid = |error: Error| CalloutErrorKind::Invalid(error.to_string().into());
        self.check()?;
        let pseudo = [
            (":method", self.method.as_bytes()),
            (":path", self.path.as_bytes()),
            (":authority", self.authority.as_bytes()),
        ];
        let headers = self.headers.encode(&pseudo).map_err(invalid)?;
        let trailers =
            if self.trailers.is_empty() { Vec::new() } else { self.trailers.encode(&[]).map_err(invalid)? };
        // Envoy counts in a signed number, and takes 0 for "no time-out".
        let timeout = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32);
        sys::http_call(&self.cluster, &headers, &self.body, &trailers, timeout).map_err(|error| match error.status {
            Status::INTERNAL_FAILURE => CalloutErrorKind::NoHealthyUpstream,
            _ => CalloutErrorKind::Refused(error),
        })
    }

    /// Refuses what the host would refuse without saying why, or what the peer would.
    fn check(&self) -> Result<(), CalloutErrorKind> {
        let invalid = |text: String| Err(CalloutErrorKind::Invalid(text.into()));
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_graphic()) {
            return invalid(format!("`{}` is no method", Visible(&self.method)));
        }
        let path = self.path.as_bytes();
        if !(path.starts_with(b"/") || path == b"*") || path.iter().any(|byte| matches!(byte, b'#' | b' ')) {
            return invalid(format!("`{}` is no path: it has to begin with `/`", Visible(&self.path)));
        }
        if self.authority.is_empty() {
            return invalid("there is no `:authority`; the peer sees it as `host`".to_owned());
        }
        Ok(())
    }
}

/// How an attempt went wrong, if it did.
fn failed(outcome: &Outcome) -> Option<Failed> {
    match outcome {
        Ok(answer) => (500..600).contains(&answer.status).then_some(Failed::Server),
        Err(CalloutErrorKind::Unreachable | CalloutErrorKind::NoHealthyUpstream) => Some(Failed::Unreachable),
        Err(CalloutErrorKind::Reset) => Some(Failed::Reset),
        Err(CalloutErrorKind::Timeout) => Some(Failed::Timeout),
        Err(CalloutErrorKind::Malformed) => Some(Failed::Malformed),
        Err(CalloutErrorKind::TooLarge | CalloutErrorKind::Invalid(_) | CalloutErrorKind::Refused(_)) => None,
    }
}

/// What a cluster answered.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    trailers: Headers,
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header lines, `:status` among them.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, given away.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Reads the body as JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The trailer lines.
    #[must_use]
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

type Outcome = Result<Answer, CalloutErrorKind>;

/// What a callout and the exchange that waits for it share.
#[derive(Default)]
struct Slot {
    /// How many bytes the body may have.
    max_body: usize,
    outcome: RefCell<Option<Outcome>>,
    waker: Cell<Option<Waker>>,
}

thread_local! {
    static WAITING: RefCell<IdMap<Rc<Slot>>> = const { RefCell::new(IdMap::new()) };
}

/// The future of one attempt; dropped, it takes itself off the list, and a late answer finds nobody.
struct Waiting {
    token: u32,
    slot: Rc<Slot>,
}

impl Waiting {
    fn new(token: u32, max_body: usize) -> Self {
        machinery::callout_answered::used(answered);
        let slot = Rc::new(Slot { max_body, ..Slot::default() });
        WAITING.with_borrow_mut(|waiting| waiting.insert(token, Rc::clone(&slot)));
        Self { token, slot }
    }
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.slot.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(|waiting| waiting.remove(self.token));
    }
}

/// How many callouts have no answer yet.
pub(crate) fn waiting() -> usize {
    WAITING.with_borrow(IdMap::len)
}

/// Takes an answer from the host and wakes who waits for it; an answer that nobody waits for is dropped.
///
/// The bytes are there only during this callback, and only through the root context, which is active now.
fn answered(token: u32, headers: u32, body_size: usize) {
    let Some(slot) = WAITING.with_borrow_mut(|waiting| waiting.remove(token)) else { return };
    let outcome = if headers == 0 { Err(CalloutErrorKind::Reset) } else { read(body_size, slot.max_body) };
    slot.outcome.replace(Some(outcome));
    if let Some(waker) = slot.waker.take() {
        waker.wake();
    }
    runtime::run();
}

fn read(body_size: usize, max_body: usize) -> Outcome {
    let broken = |_| CalloutErrorKind::Reset;
    let headers = Headers::read(MapKind::CalloutHeaders).map_err(broken)?;
    let body = match body_size {
        _ if body_size > max_body => return Err(CalloutErrorKind::TooLarge),
        0 => Vec::new(),
        _ => sys::buffer_bytes(BufferKind::CalloutBody, 0, usize::MAX).map_err(|_| CalloutErrorKind::Reset)?,
    };
    let status = status(&headers).map_err(|_| CalloutErrorKind::Malformed)?;
    if let Some(failure) = failure_of_envoy(status, &headers, &body) {
        return Err(failure);
    }
    // A host without trailers answers an error for their map.
    let trailers = Headers::read(MapKind::CalloutTrailers).unwrap_or_default();
    Ok(Answer { status, headers, body, trailers })
}

/// What Envoy 1.40 itself answers for a peer that does not: three headers in this order and one of these texts.
fn failure_of_envoy(status: u16, headers: &Headers, body: &[u8]) -> Option<CalloutErrorKind> {
    const RESET: &[u8] = b"upstream connect error or disconnect/reset before headers";
    let mut names = headers.iter().map(|(name, _)| name);
    let form = [":status", "content-length", "content-type"];
    if headers.len() != form.len() || !form.iter().all(|name| names.next().is_some_and(|line| line == *name)) {
        return None;
    }
    match status {
        504 if body == b"upstream request timeout" => Some(CalloutErrorKind::Timeout),
        503 if body.starts_with(RESET) || body == b"no healthy upstream" => Some(CalloutErrorKind::Unreachable),
        502 if body.starts_with(RESET) => Some(CalloutErrorKind::Malformed),
        _ => None,
    }
}

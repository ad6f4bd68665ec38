//! Servers that a test plays: what they answer, and the record of what they saw.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::answer::Answer;
use super::grpc_answer::GrpcAnswer;
use super::message::{Headers, Request};

/// Servers of one name, played by a function of the test, with a record of what they saw.
#[derive(Clone)]
pub struct Cluster {
    name: String,
    script: Option<Script>,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// What the servers do.
#[derive(Clone)]
enum Script {
    Http(Arc<dyn Fn(&Request) -> Answer + Send + Sync>),
    Grpc(Arc<GrpcScript>),
    /// Asked again for each message.
    GrpcStream(Arc<GrpcScript>),
}

type GrpcScript = dyn Fn(&Request) -> GrpcAnswer + Send + Sync;

impl Cluster {
    /// A cluster that answers as the function says.
    pub fn new(name: impl Into<String>, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self { name: name.into(), script: Some(Script::Http(Arc::new(script))), seen: Arc::default() }
    }

    /// A cluster that speaks gRPC and answers each call, once it is whole, as the function says.
    pub fn grpc(name: impl Into<String>, script: impl Fn(&Request) -> GrpcAnswer + Send + Sync + 'static) -> Self {
        Self { name: name.into(), script: Some(Script::Grpc(Arc::new(script))), seen: Arc::default() }
    }

    /// A cluster that speaks gRPC and is asked what to say next after each message, and at the end of the call.
    pub fn grpc_stream(
        name: impl Into<String>,
        script: impl Fn(&Request) -> GrpcAnswer + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), script: Some(Script::GrpcStream(Arc::new(script))), seen: Arc::default() }
    }

    /// A cluster at whose address nobody listens.
    pub fn unreachable(name: impl Into<String>) -> Self {
        Self { name: name.into(), script: None, seen: Arc::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody listens.
    pub fn is_reachable(&self) -> bool {
        self.script.is_some()
    }

    /// Whether its servers speak gRPC, and so HTTP/2.
    pub fn speaks_grpc(&self) -> bool {
        matches!(self.script, Some(Script::Grpc(_) | Script::GrpcStream(_)))
    }

    /// What its servers have seen so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.seen).clone()
    }

    /// Records that a request begins; the engine then reports its parts.
    pub fn arrived(&self, headers: Headers) -> Arrival {
        let mut seen = lock(&self.seen);
        seen.push(Request::begun(headers));
        Arrival { cluster: self.clone(), place: seen.len() - 1 }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .field("reachable", &self.is_reachable())
            .field("seen", &lock(&self.seen).len())
            .finish()
    }
}

/// A request that is arriving at a cluster.
#[derive(Debug)]
pub struct Arrival {
    cluster: Cluster,
    place: usize,
}

impl Arrival {
    /// A piece of the body came.
    pub fn data(&mut self, data: &[u8]) {
        if let Some(request) = lock(&self.cluster.seen).get_mut(self.place) {
            request.more(data);
        }
    }

    /// The request is whole; says what to answer.
    pub fn end(self, trailers: Headers) -> Answer {
        let whole = lock(&self.cluster.seen).get_mut(self.place).map(|request| {
            request.end(trailers);
            request.clone()
        });
        // The record is free again: the script may look at it.
        match (&self.cluster.script, whole) {
            (Some(Script::Http(script)), Some(request)) => script(&request),
            (Some(Script::Grpc(script) | Script::GrpcStream(script)), Some(request)) => script(&request).as_http(),
            _ => Answer::unreachable(),
        }
    }

    /// A piece of a gRPC call came, perhaps the last; says what the server now says, in its order.
    ///
    /// A cluster that does not speak gRPC answers once, in plain HTTP.
    pub fn grpc(&mut self, data: &[u8], end: bool) -> Vec<GrpcAnswer> {
        let seen = |change: &mut dyn FnMut(&mut Request)| {
            let mut seen = lock(&self.cluster.seen);
            seen.get_mut(self.place).map(|request| {
                change(request);
                request.clone()
            })
        };
        let known = seen(&mut |_| ()).map_or(0, |request| request.messages().len());
        let Some(mut request) = seen(&mut |request| request.more(data)) else { return Vec::new() };
        let mut answers = Vec::new();
        if let Some(Script::GrpcStream(script)) = &self.cluster.script {
            let new = request.messages().len().saturating_sub(known);
            answers.extend((0..new).map(|_| script(&request)));
        }
        if end {
            request = seen(&mut |request| request.end(Headers::new())).unwrap_or(request);
            match &self.cluster.script {
                Some(Script::Grpc(script) | Script::GrpcStream(script)) => answers.push(script(&request)),
                Some(Script::Http(script)) => answers.push(GrpcAnswer::from_http(&script(&request))),
                None => {}
            }
        }
        answers
    }
}

/// A script that panicked (a failed assertion in a closure) must not hide the record from the test.
fn lock(seen: &Mutex<Vec<Request>>) -> MutexGuard<'_, Vec<Request>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A web server in this process that answers what a test tells it to: a registry, a token server, a file server, honest
//! or not.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use wasmplugin_deploy::image::build::Image;
use wasmplugin_deploy::image::digest::Digest;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, headers, body.
    Whole(u16, Vec<(String, String)>, Bytes),
    /// A length of the whole, but only half of the body; then the connection ends.
    Half(Bytes),
    /// Nothing, for ever.
    Silence,
    /// Bytes without an end.
    Endless,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self::Whole(200, Vec::new(), body.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Bytes::new())
    }

    pub(crate) fn with(status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Whole(status, headers, Bytes::new())
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

/// Told what is asked, and how often that path was asked before.
type Script = dyn Fn(&Asked, usize) -> Option<Answer> + Send + Sync;

/// A running server.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    pages: Arc<Mutex<HashMap<String, Answer>>>,
    script: Arc<Mutex<Option<Box<Script>>>>,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            pages: Arc::default(),
            script: Arc::default(),
        };
        tokio::spawn(peer.clone().serve(listener));
        peer
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Always answers that path so.
    pub(crate) fn page(&self, path: impl Into<String>, answer: Answer) {
        self.pages.lock().unwrap().insert(path.into(), answer);
    }

    /// Answers so, before any page is looked up.
    pub(crate) fn script(&self, script: impl Fn(&Asked, usize) -> Option<Answer> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Some(Box::new(script));
    }

    /// Offers an image under a tag, as a registry would.
    pub(crate) fn offer(&self, repository: &str, tag: &str, image: &Image) {
        let manifest =
            Answer::Whole(200, vec![("content-type".to_owned(), image.media_type.clone())], image.manifest.clone());
        self.page(format!("/v2/{repository}/manifests/{tag}"), manifest.clone());
        self.page(format!("/v2/{repository}/manifests/{}", image.digest()), manifest);
        for (blob, bytes) in &image.blobs {
            self.page(format!("/v2/{repository}/blobs/{}", blob.digest), Answer::ok(bytes.clone()));
        }
    }

    /// What was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// The paths of what was asked since the last time.
    pub(crate) fn take_paths(&self) -> Vec<String> {
        self.take_asked().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let peer = self.clone();
            tokio::spawn(async move {
                // What only a broken server says is written past hyper.
                let mut start = [0; 1024];
                let length = stream.peek(&mut start).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&start[..length]).into_owned();
                let mut words = text.split_whitespace();
                if let (Some(method), Some(path)) = (words.next(), words.next()) {
                    let asked = Asked { method: method.to_owned(), path: path.to_owned(), authorization: None };
                    match peer.answer(&asked) {
                        Answer::Half(body) => {
                            peer.asked.lock().unwrap().push(asked);
                            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                            let _ = stream.write_all(head.as_bytes()).await;
                            let _ = stream.write_all(&body[..body.len() / 2]).await;
                            return;
                        }
                        Answer::Silence => {
                            peer.asked.lock().unwrap().push(asked);
                            return std::future::pending().await;
                        }
                        Answer::Endless => {
                            peer.asked.lock().unwrap().push(asked);
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                            while stream.write_all(&[b' '; 65536]).await.is_ok() {}
                            return;
                        }
                        Answer::Whole(..) => {}
                    }
                }
                let service = service_fn(|request: Request<Incoming>| {
                    let peer = peer.clone();
                    async move { Ok::<_, Infallible>(peer.respond(&request)) }
                });
                // One request per connection, so that each is peeked at.
                let _ = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = Asked {
            method: request.method().to_string(),
            path: request.uri().to_string(),
            authorization: request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        };
        let answer = self.answer(&asked);
        self.asked.lock().unwrap().push(asked);
        let Answer::Whole(status, headers, body) = answer else { panic!("a broken answer on a second request") };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(hyper::header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        response
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let before = self.asked.lock().unwrap().iter().filter(|earlier| earlier.path == asked.path).count();
        let scripted = self.script.lock().unwrap().as_ref().and_then(|script| script(asked, before));
        let page = || self.pages.lock().unwrap().get(asked.path.split('?').next().unwrap_or_default()).cloned();
        scripted.or_else(page).unwrap_or(Answer::status(404))
    }
}

/// The digest of something else.
pub(crate) fn other_digest() -> Digest {
    Digest::of(b"something else")
}

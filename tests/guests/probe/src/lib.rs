//! Does what the path of a request asks for: the instrument with which scenarios reach every corner of the SDK.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future::poll_fn;
use wasmplugin::body::Bounded;
use wasmplugin::config;
use wasmplugin::error::ErrorKind;
use wasmplugin::future::{join, join_all, try_join};
use wasmplugin::{Cluster, Done, Error, Flow, Http, Reply, Request, RequestHead, ResponseHead, Result, time};

/// The configuration: three levels deep, so that errors have a path to name.
#[derive(serde::Deserialize, Default)]
struct Config {
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(serde::Deserialize)]
struct Route {
    retry: Retry,
}

#[derive(serde::Deserialize)]
struct Retry {
    #[expect(dead_code, reason = "only its errors are looked at")]
    backoff: config::Duration,
}

#[derive(Default)]
struct Probe {
    gate: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl TryFrom<Config> for Probe {
    type Error = wasmplugin::config::ConfigError;

    fn try_from(config: Config) -> Result<Self, Self::Error> {
        for (index, route) in config.routes.iter().enumerate() {
            let Retry { .. } = route.retry;
            log::debug!("route {index} is configured");
        }
        Ok(Self::default())
    }
}

impl Http for Probe {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        match request.path()? {
            "/hook-reply" => Ok(Reply::new(418).body("short and stout").into()),
            "/hook-error" => Err("the hook failed".into()),
            _ => Ok(Flow::Continue),
        }
    }

    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        if response.headers()?.contains("x-fail-response") {
            return Err("the response hook failed".into());
        }
        Ok(Flow::Continue)
    }

    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        let path = request.path()?.to_owned();
        match path.as_str() {
            "/reply" => request.reply(
                Reply::new(401)
                    .header("www-authenticate", "Basic")
                    .header("set-cookie", "a=1")
                    .header("set-cookie", "b=2")
                    .body("who are you?")
                    .details("no token"),
            ),
            "/grpc-reply" => request.reply(Reply::new(403).grpc_status(7).body("not yours")),
            "/bad-reply-header" => request.reply(Reply::new(200).header("x-a", "1\r\nx-b: 2")),
            "/error" => Err(Error::app("the handler failed")),
            "/panic" => panic(),
            "/census" => request.reply(Reply::new(200).body(wasmplugin::__private::census())),
            "/hang" => std::future::pending().await,
            "/sleep" => {
                time::sleep(Duration::from_millis(50)).await;
                request.pass()
            }
            "/headers" => report_headers(request),
            "/call" => call(request, Duration::from_secs(3)).await,
            "/call-deadline" => call(request, Duration::from_millis(200)).await,
            "/call-retry" => call_with_retry(request).await,
            "/call-late" => call_and_leave(request).await,
            "/call-unknown" => call_unknown(request).await,
            "/join" => join_calls(request).await,
            "/hold-gate" => self.hold_gate(request).await,
            "/open-gate" => self.open_gate(request),
            "/request-body" => request_body(request).await,
            "/request-body-small" => {
                let body = request.into_body(4).await?;
                body.pass()
            }
            "/request-chunks" => request_chunks(request).await,
            "/request-chunks-hold" => {
                let mut body = request.into_chunks()?;
                let _first = body.next().await?;
                time::sleep(Duration::from_secs(5)).await;
                body.pass()
            }
            "/duplex" => duplex(request).await,
            "/duplex-dropped" => {
                let (body, _) = request.into_duplex()?;
                body.pass()
            }
            "/bounded" => bounded(request).await,
            "/request-chunks-slow" => request_chunks_slow(request).await,
            "/buffered" => buffered(request).await,
            "/buffered-late" => {
                time::sleep(Duration::from_millis(50)).await;
                buffered(request).await
            }
            "/response-buffered" => response_buffered(request).await,
            "/response-head" => response_head(request).await,
            "/response-reply" => request.forward().await?.reply(Reply::new(502).body("replaced")),
            "/response-body" => response_body(request).await,
            "/response-body-call" => response_body_after_call(request).await,
            "/response-body-small" => request.forward().await?.into_body(4).await?.pass(),
            "/response-chunks-slow" => response_chunks_slow(request).await,
            "/response-hold" => {
                let response = request.forward().await?;
                time::sleep(Duration::from_millis(50)).await;
                response.pass()
            }
            "/response-panic" => {
                let _response = request.forward().await?;
                panic()
            }
            "/trailers" => trailers(request).await,
            _ => request.pass(),
        }
    }
}

wasmplugin::plugin!(Probe, config = Config);

fn service() -> Result<Cluster> {
    Cluster::named("service")
}

#[expect(clippy::panic, reason = "this is what the scenario asks for")]
fn panic() -> ! {
    panic!("the probe panics on request")
}

/// Tells the upstream what the plugin sees of repeated and odd headers, and changes some.
fn report_headers(mut request: Request) -> Result<Done> {
    let headers = request.headers()?;
    let all: Vec<_> = headers.get_all("X-Many").map(|value| value.to_string()).collect();
    let sole = headers.sole("x-many").is_err();
    let bytes = headers.get("x-bytes").map(|value| value.as_bytes().escape_ascii().to_string()).unwrap_or_default();
    let empty = headers.get("x-empty").is_some_and(wasmplugin::headers::HeaderValue::is_empty);
    request.set_header("x-all", all.join("|"))?;
    request.set_header("x-refused", sole.to_string())?;
    request.set_header("x-escaped", bytes)?;
    request.set_header("x-empty-seen", empty.to_string())?;
    request.remove_header("x-many")?;
    request.append_header("x-new", "1")?;
    request.append_header("x-new", "2")?;
    let after = request.headers()?.get_all("x-new").count();
    request.set_header("x-after", after.to_string())?;
    request.pass()
}

/// Asks the service and tells the upstream what came of it.
async fn call(mut request: Request, deadline: Duration) -> Result<Done> {
    let call = service()?.post("/ask").header("x-id", "7").body("question").trailer("x-sum", "1");
    let outcome = match call.timeout(deadline).send().await {
        Ok(answer) => {
            let trailer = answer.trailers().get("x-trailer").map(|value| format!(" {value}")).unwrap_or_default();
            format!("{} {}{trailer}", answer.status(), String::from_utf8_lossy(answer.body()))
        }
        Err(error) => format!("{:?}", error.kind),
    };
    request.set_header("x-outcome", outcome)?;
    request.pass()
}

async fn call_with_retry(mut request: Request) -> Result<Done> {
    let answer = service()?.get("/ask").retry(2).send().await?;
    request.set_header("x-outcome", answer.status().to_string())?;
    request.pass()
}

/// Does not wait for the answer, which then finds nobody.
async fn call_and_leave(request: Request) -> Result<Done> {
    let call = service()?.get("/ask").send();
    match time::timeout(Duration::from_millis(10), call).await {
        Some(_) => Err("the answer came too early".into()),
        None => request.pass(),
    }
}

async fn call_unknown(request: Request) -> Result<Done> {
    match Cluster::named("nowhere")?.get("/").send().await {
        Ok(_) => Err("an unknown cluster answered".into()),
        Err(error) => request.reply(Reply::new(503).body(error.to_string())),
    }
}

async fn join_calls(mut request: Request) -> Result<Done> {
    let service = service()?;
    let pair = join(service.get("/a").send(), service.get("/b").send());
    let three = join_all(["/c", "/d", "/e"].map(|path| service.get(path).send()));
    let ((a, b), three) = join(pair, three).await;
    let mut bodies = vec![a?.into_body(), b?.into_body()];
    for answer in three {
        bodies.push(answer?.into_body());
    }
    request.set_header("x-outcome", bodies.concat())?;
    request.pass()
}

impl Probe {
    /// Waits until another exchange opens the gate: work that one exchange does for others.
    async fn hold_gate(&self, request: Request) -> Result<Done> {
        poll_fn(|cx| {
            if self.gate.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        request.pass()
    }

    fn open_gate(&self, request: Request) -> Result<Done> {
        self.gate.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
        request.pass()
    }
}

async fn request_body(request: Request) -> Result<Done> {
    let mut body = request.into_body(1 << 20).await?;
    let reversed: Vec<u8> = body.bytes().iter().rev().copied().collect();
    if !reversed.is_empty() {
        body.replace(reversed)?;
    }
    body.pass()
}

/// Decides by the body, and changes both headers and body.
async fn buffered(request: Request) -> Result<Done> {
    let mut request = request.buffered(1000).await?;
    if request.bytes() == b"deny" {
        return request.reply(Reply::new(401).body("the body says no"));
    }
    let length = request.bytes().len();
    request.set_header("x-length", length.to_string())?;
    request.set_header(":path", format!("/length/{length}"))?;
    if length > 0 {
        let reversed: Vec<u8> = request.bytes().iter().rev().chain(b"!").copied().collect();
        request.replace(reversed)?;
    }
    request.pass()
}

async fn response_buffered(request: Request) -> Result<Done> {
    let mut response = request.forward().await?.buffered(1000).await?;
    let length = response.bytes().len();
    if response.bytes() == b"secret" {
        return response.reply(Reply::new(502).body("withheld"));
    }
    response.set_status(203)?;
    response.set_header("x-length", length.to_string())?;
    if length > 0 {
        response.replace(format!("{length} bytes"))?;
    }
    response.pass()
}

async fn request_chunks(request: Request) -> Result<Done> {
    let mut body = request.into_chunks()?;
    while let Some(chunk) = body.next().await? {
        body.send("<");
        body.send(chunk);
        body.send(">");
    }
    let mut response = body.forward().await?;
    response.set_header("x-chunked", "yes")?;
    response.pass()
}

/// Changes small bodies as a whole, and puts larger ones between brackets.
async fn bounded(request: Request) -> Result<Done> {
    let response = match request.into_bounded_body(4).await? {
        Bounded::Whole(mut body) => {
            let text = [b"whole: ", body.bytes()].concat();
            body.replace(text)?;
            body.forward().await?
        }
        Bounded::TooLarge(mut chunks) => {
            chunks.send("<");
            while let Some(chunk) = chunks.next().await? {
                chunks.send(chunk);
            }
            chunks.send(">");
            chunks.forward().await?
        }
    };
    match response.into_bounded_body(4).await? {
        Bounded::Whole(body) => body.pass(),
        Bounded::TooLarge(mut chunks) => {
            chunks.send("<");
            while let Some(chunk) = chunks.next().await? {
                chunks.send(chunk);
            }
            chunks.send(">");
            chunks.pass()
        }
    }
}

/// Changes the request's body and the response's head, whichever comes first.
async fn duplex(request: Request) -> Result<Done> {
    let (mut body, response) = request.into_duplex()?;
    let upload = async {
        while let Some(chunk) = body.next().await? {
            body.send(chunk.to_ascii_uppercase());
        }
        body.pass()
    };
    let download = async {
        let mut response = response.await?;
        let status = response.status()?;
        response.set_status(status + 1)?;
        response.pass()
    };
    let (Done { .. }, done) = try_join(upload, download).await?;
    Ok(done)
}

/// Waits a millisecond inside every chunk.
async fn request_chunks_slow(request: Request) -> Result<Done> {
    let mut body = request.into_chunks()?;
    while let Some(chunk) = body.next().await? {
        time::sleep(Duration::from_millis(1)).await;
        body.send(chunk.to_ascii_uppercase());
    }
    body.pass()
}

async fn response_head(request: Request) -> Result<Done> {
    let mut response = request.forward().await?;
    let status = response.status()?;
    response.set_status(status + 1)?;
    response.set_header("x-was", status.to_string())?;
    response.pass()
}

async fn response_body(request: Request) -> Result<Done> {
    let mut body = request.forward().await?.into_body(1 << 20).await?;
    let len = body.bytes().len();
    match body.replace(format!("{len} bytes")) {
        Ok(()) => body.pass(),
        // A response without a body keeps none.
        Err(error) if matches!(error.kind(), ErrorKind::NoBody) => body.pass(),
        Err(error) => Err(error),
    }
}

async fn response_body_after_call(request: Request) -> Result<Done> {
    let mut body = request.forward().await?.into_body(1 << 20).await?;
    let answer = service()?.get("/ask").send().await?;
    let joined = [body.bytes(), b" and ", answer.body()].concat();
    body.replace(joined)?;
    body.pass()
}

/// Waits inside every chunk, longer than the next one takes to arrive.
async fn response_chunks_slow(request: Request) -> Result<Done> {
    let mut body = request.forward().await?.into_chunks()?;
    while let Some(chunk) = body.next().await? {
        time::sleep(Duration::from_millis(20)).await;
        body.send(chunk.to_ascii_uppercase());
    }
    body.pass()
}

async fn trailers(request: Request) -> Result<Done> {
    let body = request.into_body(1 << 20).await?;
    if let Some(mut trailers) = body.trailers() {
        let sum = trailers.headers()?.get("x-sum").map(|value| value.to_string()).unwrap_or_default();
        trailers.set_header("x-sum", format!("{sum}!"))?;
    }
    body.pass()
}

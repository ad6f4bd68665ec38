//! Calls out as the path of a request asks for: gRPC calls and streams, retries, hedging, traces.

use std::rc::Rc;
use std::time::Duration;

use wasmplugin::callout::{Callout, Failed, Retry};
use wasmplugin::grpc::{Call, GrpcError};
use wasmplugin::{Cluster, Done, Http, Reply, Request, Result, time};

/// A time that is meant to run out.
const SOON: Duration = Duration::from_millis(200);
/// One that is not, on a busy machine either.
const LATE: Duration = Duration::from_secs(4);

/// The one message of the service.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

impl Text {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

struct CalloutProbe;

impl Http for CalloutProbe {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let outcome = match request.path()? {
            "/unary" => unary(oracle("Ask")?).await,
            "/unary-deadline" => unary(oracle("Ask")?.timeout(SOON)).await,
            "/unary-retry" => unary(oracle("Ask")?.retry(2)).await,
            "/unary-hedge" => unary(oracle("Ask")?.hedge(SOON)).await,
            "/unary-small" => unary(oracle("Ask")?.limit(3)).await,
            "/unary-late" => left(unary(oracle("Ask")?.timeout(LATE))).await,
            "/unary-traced" => unary(oracle("Ask")?.traced(request.headers()?)).await,
            "/unary-nowhere" => unary(Cluster::named("authority")?.grpc("example.Oracle/Ask")).await,
            "/unary-no-method" => unary(Cluster::named("oracle")?.grpc("Ask")).await,
            "/stream" => soon(talk()).await,
            "/stream-small" => soon(many(oracle("Talk")?.limit(4))).await,
            "/stream-left" => left(talk()).await,
            "/stream-nowhere" => oracle_stream_error(),
            "/get" => Ok(get(service()?.get("/ask")).await),
            "/retry-5xx" => Ok(get(service()?.get("/ask").retry(Retry::times(2).on(&[Failed::Server]))).await),
            "/retry-not" => Ok(get(service()?.get("/ask").retry(Retry::times(2).on(&[Failed::Timeout]))).await),
            "/hedge" => Ok(get(service()?.get("/ask").hedge(SOON)).await),
            "/hedge-late" => Ok(get(service()?.get("/ask").hedge(LATE)).await),
            "/within" => Ok(get(impatient()?).await),
            "/traced" => Ok(get(service()?.get("/ask").traced(request.headers()?)).await),
            "/no-path" => Ok(get(service()?.get("ask")).await),
            "/subset" => Ok(get(Cluster::istio_subset(80, "v1", "a.b")?.get("/ask")).await),
            "/census" => return request.reply(Reply::new(200).body(wasmplugin::__private::census())),
            _ => return request.pass(),
        };
        let outcome = outcome.unwrap_or_else(|error| format!("{:?} {error}", error.status));
        request.set_header("x-outcome", outcome.trim())?;
        request.pass()
    }
}

fn oracle(method: &str) -> Result<Call> {
    let call = Cluster::named("oracle")?.grpc(&format!("example.Oracle/{method}"));
    Ok(call.metadata("x-tenant", "blue").timeout(LATE))
}

fn service() -> Result<Cluster> {
    Cluster::named("service")
}

fn impatient() -> Result<Callout> {
    let retry = Retry::times(50).pause(Duration::from_millis(50));
    Ok(service()?.get("/ask").timeout(SOON * 2).retry(retry).within(SOON * 5))
}

async fn unary(call: Call) -> Result<String, GrpcError> {
    call.call::<Text>(&Text::new("question")).await.map(|answer| answer.text)
}

/// A stream has no time-out of its own.
async fn soon(what: impl Future<Output = Result<String, GrpcError>>) -> Result<String, GrpcError> {
    time::timeout(LATE, what).await.unwrap_or_else(|| Ok("late".to_owned()))
}

/// Does not wait for the end.
async fn left(what: impl Future<Output = Result<String, GrpcError>>) -> Result<String, GrpcError> {
    time::timeout(SOON, what).await.unwrap_or_else(|| Ok("left".to_owned()))
}

/// Sends one message, answers each answer with the next until there are three, then waits for the end.
async fn talk() -> Result<String, GrpcError> {
    let Ok(call) = oracle("Talk") else { return Ok(String::new()) };
    let mut stream = call.open()?;
    stream.send(&Text::new("one"))?;
    let mut heard = Vec::new();
    while let Some(answer) = stream.next::<Text>().await? {
        heard.push(answer.text);
        match heard.len() {
            1 => stream.send(&Text::new("two"))?,
            2 => {
                stream.send(&Text::new("three"))?;
                stream.finish()?;
            }
            _ => {}
        }
    }
    let (metadata, trailers) = (stream.metadata(), stream.trailers());
    let of = |value: Option<wasmplugin::headers::HeaderValue<'_>>| value.unwrap_or_default().to_string();
    Ok(format!("{} {}{}", heard.join(","), of(metadata.get("x-first")), of(trailers.get("x-last"))))
}

/// Lets messages pile up.
async fn many(call: Call) -> Result<String, GrpcError> {
    let mut stream = call.open()?;
    stream.send(&Text::new("one"))?;
    time::sleep(Duration::from_millis(50)).await;
    let mut count = 0;
    while stream.next::<Text>().await?.is_some() {
        count += 1;
    }
    Ok(count.to_string())
}

fn oracle_stream_error() -> Result<String, GrpcError> {
    match Cluster::named("nowhere") {
        Ok(cluster) => cluster.grpc("example.Oracle/Talk").open().map(|_| "opened".to_owned()),
        Err(error) => Ok(error.to_string()),
    }
}

async fn get(callout: Callout) -> String {
    match callout.send().await {
        Ok(answer) => format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())),
        Err(error) => error.to_string(),
    }
}

wasmplugin::plugin!(CalloutProbe);

//! `/exchanges/replay`: sends a request to one of the proxy's own listeners, as a client on this machine would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::board::Board;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the answer's body that are read.
const BODY: usize = 1 << 20;
/// Bytes of the answer's body that are shown.
const SHOWN: usize = 64 * 1024;

/// What is to be sent, and where.
struct Order {
    to: SocketAddr,
    request: Request<Full<Bytes>>,
}

/// Sends the request that the JSON describes (`listener`, `method`, `path`, `headers` as pairs, `body` or, if it is no
/// text, `body_base64`), and shows the answer.
pub(crate) async fn replay(board: &Board, described: &[u8]) -> Answer {
    let order = match read(board, described) {
        Ok(order) => order,
        Err(problem) => return Answer::refused(format!("{problem}\n")),
    };
    let to = order.to;
    match tokio::time::timeout(PATIENCE, send(board, order)).await {
        Ok(Ok(answer)) => Answer::json(&answer),
        Ok(Err(problem)) => Answer::refused(format!("no answer from {to}: {problem}\n")),
        Err(_) => Answer::refused(format!("no answer from {to} within {} s\n", PATIENCE.as_secs())),
    }
}

fn read(board: &Board, described: &[u8]) -> Result<Order, String> {
    let described: Value = serde_json::from_slice(described).map_err(|error| format!("this is not JSON: {error}"))?;
    let text = |name: &str| match described.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(format!("`{name}` has to be a text")),
    };
    let (listener, method, path) = (text("listener")?, text("method")?, text("path")?);
    let to = address(board, listener)?;
    let body = match described.get("body_base64").and_then(Value::as_str) {
        Some(base64) => STANDARD.decode(base64).map_err(|error| format!("`body_base64` is not in base64: {error}"))?,
        None => described.get("body").and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec(),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::try_from(method).map_err(|_| format!("`{method}` is no method"))?;
    let path = Some(path).filter(|path| path.starts_with('/')).and_then(|path| Uri::try_from(path).ok());
    *request.uri_mut() = path.ok_or("`path` has to be a path, which begins with `/`")?;
    let pairs = described.get("headers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for pair in pairs {
        let [name, value] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Err("`headers` have to be pairs of texts".to_owned());
        };
        let (name, value) = (name.as_str().unwrap_or_default(), value.as_str().unwrap_or_default());
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = parsed.ok_or_else(|| format!("the header `{name}` cannot be sent"))?;
        request.headers_mut().append(name, value);
    }
    // Those are about the connection and the body as they are now.
    for own in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(own);
    }
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::try_from(to.to_string()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(Order { to, request })
}

/// Where a listener takes plain HTTP.
fn address(board: &Board, listener: &str) -> Result<SocketAddr, String> {
    let settings = board.settings();
    let known = settings.listeners.iter().find(|known| known.name == listener);
    let (Some(known), Some(mut address)) = (known, board.addresses().get(listener).copied()) else {
        return Err(format!("there is no listener `{listener}`"));
    };
    if known.tls.as_ref().is_some_and(|tls| !tls.permissive) {
        return Err(format!(
            "`{listener}` wants a certificate of the mesh: replay the request where the client's proxy takes it"
        ));
    }
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        });
    }
    Ok(address)
}

async fn send(board: &Board, Order { to, request }: Order) -> Result<Value, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let socket = TcpStream::connect(to).await.map_err(|error: io::Error| text(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| text(&error))?;
    // It ends with its sender; why, the answer tells.
    tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(|error| text(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BODY).collect().await.map_err(|error| text(&error))?.to_bytes();
    let secrets = board.services.recorder().secrets();
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| match secrets.holds(name.as_str()) {
            true => [name.to_string(), format!("[redacted, {} bytes]", value.len())],
            false => [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()],
        })
        .collect();
    let shown = body.get(..SHOWN).unwrap_or(&body);
    Ok(json!({
        "status": parts.status.as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(shown),
        "body_bytes": body.len(),
    }))
}

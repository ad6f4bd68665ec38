//! What hyper asks for: the response to one request, and then its body.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Version};
use wasmplugin_host::worker::Item;

use crate::bodies::{self, Cut};
use crate::client::Client;
use crate::exchange::Exchange;
use crate::headers;
use crate::hub::Hub;
use crate::listener::Listener;
use crate::request_head::{Refusal, request_head};

/// Answers one request.
pub(crate) async fn serve(
    listener: Rc<Listener>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Cut> {
    client.request_begins();
    let hub = listener.hub();
    let (parts, body) = request.into_parts();
    let connection = client.facts(parts.version);
    let http1 = parts.version != Version::HTTP_2;
    let arrival = client.arrival(hub.inbound);
    match request_head(&parts, arrival, hub.path_normalization, || hub.thread.request_ids.next()) {
        Ok(head) => {
            drop(parts);
            let mut exchange = Exchange::open(Rc::clone(&hub), client, connection);
            exchange.begin(head, body, http1);
            let head = poll_fn(|cx| exchange.poll_item(cx)).await?;
            Ok(respond(&hub, exchange, head))
        }
        Err(refusal) => {
            // The plugins learn of it when it is over, as in Envoy.
            let mut exchange = Exchange::open(Rc::clone(&hub), client, connection);
            hub.stats.responses.count(refusal.status.as_u16());
            exchange.finish();
            Ok(refused(&hub, refusal, http1))
        }
    }
}

/// The response to a request that no plugin sees. Over HTTP/1.1 it is the last one: what follows may be anything.
fn refused(hub: &Hub, refusal: Refusal, http1: bool) -> Response<ResponseBody> {
    let mut response = headers::to_client(&Default::default(), &hub.thread.date, ResponseBody::Empty);
    *response.status_mut() = refusal.status;
    if !refusal.text.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        *response.body_mut() = ResponseBody::Text(refusal.text);
    }
    if http1 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The response that begins with these headers.
fn respond(hub: &Hub, mut exchange: Box<Exchange>, head: Item) -> Response<ResponseBody> {
    let (headers, end) = match head {
        Item::Headers(headers, end) => (headers, end),
        Item::Data(..) | Item::Trailers(_) => Default::default(),
    };
    let mut response = headers::to_client(&headers, &hub.thread.date, ResponseBody::Empty);
    hub.stats.responses.count(response.status().as_u16());
    if end {
        exchange.finish();
    } else {
        *response.body_mut() = ResponseBody::Exchange(exchange);
    }
    response
}

/// A response's body; it carries its exchange to the end.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Nothing.
    Empty,
    /// The proxy's own words.
    Text(&'static str),
    /// As the worker lets it pass.
    Exchange(Box<Exchange>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = self.get_mut();
        let exchange = match body {
            Self::Empty => return Poll::Ready(None),
            Self::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                *body = Self::Empty;
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            Self::Exchange(exchange) => exchange,
        };
        match exchange.poll_item(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(cut)) => {
                *body = Self::Empty;
                Poll::Ready(Some(Err(cut)))
            }
            Poll::Ready(Ok(item)) => {
                let end = !matches!(item, Item::Data(_, false));
                if end {
                    exchange.finish();
                    *body = Self::Empty;
                }
                Poll::Ready(bodies::frame(item).map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.len() as u64),
            Self::Empty | Self::Exchange(_) => SizeHint::default(),
        }
    }
}

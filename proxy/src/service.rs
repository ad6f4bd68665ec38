//! What hyper asks for: the response to one request, and then its body.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Version};
use wasmplugin_host::worker::Item;

use crate::bodies::{self, Cut};
use crate::chain::Chain;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::headers;
use crate::listener::Listener;
use crate::refusal::Refusal;
use crate::request_head::{asks_to_close, is_too_large, request_head};

/// Answers one request.
pub(crate) async fn serve(
    listener: Rc<Listener>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Cut> {
    client.request_begins();
    let chain = listener.chain();
    let (parts, body) = request.into_parts();
    let connection = client.facts(parts.version);
    let http1 = parts.version != Version::HTTP_2;
    let arrival = client.arrival(chain.inbound);
    let head = match is_too_large(&parts, chain.hub.thread.settings.max_header_size) {
        true => Err(Refusal::LARGE),
        false => request_head(&parts, arrival, chain.path_normalization, || chain.hub.thread.request_ids.next()),
    };
    // What follows a refused request may be anything.
    let refused = head.is_err();
    let last = http1 && (refused || asks_to_close(&parts));
    let mut exchange = Exchange::open(Rc::clone(&chain), client, connection, last);
    match head {
        Ok(head) => {
            drop(parts);
            exchange.begin(head, body, http1);
        }
        Err(refusal) => exchange.refuse(refusal.head(&parts), refusal.reply()),
    }
    let head = poll_fn(|cx| exchange.poll_item(cx)).await?;
    let mut response = respond(&chain, exchange, head);
    if refused && http1 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The response that begins with these headers.
fn respond(chain: &Chain, mut exchange: Box<Exchange>, head: Item) -> Response<ResponseBody> {
    let (headers, end) = match head {
        Item::Headers(headers, end) => (headers, end),
        Item::Data(..) | Item::Trailers(_) => Default::default(),
    };
    let mut response = headers::to_client(&headers, &chain.hub.thread.date, ResponseBody::Empty);
    chain.stats.responses.count(response.status().as_u16());
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
}

//! The body of a request, from the client to the worker.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use wasmplugin_host::worker::{ExchangeId, LocalReply};

use crate::chain::Chain;
use crate::headers;
use crate::lane::Lane;

/// How long the rest of a request is read that nobody wants any more. A client that is cut off while it sends
/// would lose the answer; Envoy leaves it as much time.
const DRAIN: Duration = Duration::from_secs(1);

/// Reads a request's body, no faster than it is taken.
pub(crate) async fn run(chain: Rc<Chain>, lane: Rc<Lane>, id: ExchangeId, mut body: Incoming, http1: bool) {
    let hub = &chain.hub;
    loop {
        let next = poll_fn(|cx| {
            if lane.over.get() {
                return Poll::Ready(Next::Over);
            }
            let limit = hub.thread.settings.buffer_limit;
            if !lane.up.has_room() || hub.ask(|worker| worker.request_backlog(id)) > limit {
                return lane.upload.sleep(cx);
            }
            // Both the body and the end of the exchange may wake this task.
            let _: Poll<()> = lane.upload.sleep(cx);
            let frame = ready!(Pin::new(&mut body).poll_frame(cx));
            Poll::Ready(Next::Frame(frame))
        })
        .await;
        lane.upload.awake();
        lane.active.set(Instant::now());
        let frame = match next {
            Next::Over => break,
            Next::Frame(frame) => frame,
        };
        let ended = body.is_end_stream() || !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if ended {
            lane.request_ended.set(Some(Instant::now()));
        }
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => hub.tell(|worker| worker.request_data(id, data, ended)),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let trailers = headers::from_trailers(&trailers);
                        hub.tell(|worker| worker.request_trailers(id, trailers));
                    }
                }
            },
            None => hub.tell(|worker| worker.request_data(id, Bytes::new(), true)),
            Some(Err(error)) if is_malformed(&error) => {
                chain.stats.protocol_errors.up();
                let reply = LocalReply::text(400, "Bad Request", "http1.codec_error");
                hub.tell(|worker| worker.reply(id, reply));
            }
            Some(Err(_)) => {
                chain.stats.client_resets.up();
                hub.tell(|worker| worker.downstream_reset(id));
                lane.cut.set(true);
                lane.driver.wake();
            }
        }
        if ended {
            return;
        }
    }
    if http1 {
        // Whether it ends or the time runs out: nobody is interested.
        drop(tokio::time::timeout(DRAIN, async { while let Some(Ok(_)) = body.frame().await {} }).await);
    }
}

enum Next {
    Frame(Option<Result<Frame<Bytes>, hyper::Error>>),
    Over,
}

/// Whether the client sent something that is not HTTP, rather than leaving.
fn is_malformed(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

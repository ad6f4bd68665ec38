//! Callouts of plugins, over real connections to real clusters.

use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::worker::{CalloutId, CalloutOutcome, CalloutRequest};

use crate::bodies::RequestBody;
use crate::headers;
use crate::hub::Hub;
use crate::upstream::Failure;

/// Sends a callout. The answer comes later, never from inside of this call.
pub(crate) fn start(hub: &Rc<Hub>, id: CalloutId, request: CalloutRequest) {
    hub.thread.stats.callouts.up();
    let task = {
        let hub = Rc::clone(hub);
        tokio::task::spawn_local(async move {
            let outcome = run(&hub, request).await;
            hub.callouts.borrow_mut().remove(&id);
            if outcome == CalloutOutcome::Failed {
                hub.thread.stats.callouts_failed.up();
            }
            hub.tell(|worker| worker.callout_answered(id, outcome));
        })
    };
    hub.callouts.borrow_mut().insert(id, task.abort_handle());
}

async fn run(hub: &Hub, callout: CalloutRequest) -> CalloutOutcome {
    let Some(cluster) = hub.thread.cluster(&callout.cluster) else { return CalloutOutcome::no_healthy_upstream() };
    let end = callout.body.is_empty() && callout.trailers.is_empty();
    let body = RequestBody::Whole { body: callout.body, trailers: callout.trailers };
    let request = match headers::to_server(&callout.headers, cluster.http2(), end, body) {
        Ok(request) => request,
        Err(headers::BadHeader(name)) => {
            log::warn!("a callout to cluster `{}` has a header `{name}` that cannot be sent", cluster.settings.name);
            return CalloutOutcome::reset_before_headers();
        }
    };
    let began = Instant::now();
    match cluster.send(request, |_| ()).await {
        Ok((response, lease)) => {
            let (parts, body) = response.into_parts();
            let head = headers::response_head(&parts, began.elapsed().as_millis());
            match collect(body, hub.thread.settings.callout_limit).await {
                Some((body, trailers)) => {
                    lease.give_back();
                    CalloutOutcome::Response { headers: head, body, trailers }
                }
                None => CalloutOutcome::Failed,
            }
        }
        Err(failure) => match failure {
            Failure::NoServer => CalloutOutcome::no_healthy_upstream(),
            Failure::Connect => CalloutOutcome::unreachable(),
            Failure::ConnectTimeout => connection_timeout(),
            Failure::Reset => CalloutOutcome::reset_before_headers(),
            Failure::Protocol => CalloutOutcome::malformed(),
        },
    }
}

/// The whole body; nothing if it breaks off or is larger than the limit.
async fn collect(mut body: Incoming, limit: usize) -> Option<(Bytes, HeaderMap)> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.ok()?.into_data() {
            Ok(data) => {
                if first.len() + all.len() + data.len() > limit {
                    return None;
                }
                if first.is_empty() && all.is_empty() {
                    // Most bodies are one piece, which need not be copied.
                    first = data;
                } else {
                    if all.is_empty() {
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&data);
                }
            }
            Err(frame) => trailers = headers::from_trailers(&frame.into_trailers().ok()?),
        }
    }
    Some((if all.is_empty() { first } else { all.freeze() }, trailers))
}

/// What Envoy hands to the plugin when the connection takes too long.
fn connection_timeout() -> CalloutOutcome {
    const BODY: &str = "upstream connect error or disconnect/reset before headers. reset reason: connection timeout";
    let mut headers = HeaderMap::response();
    headers.add(b":status", b"503");
    headers.add(b"content-length", BODY.len().to_string().as_bytes());
    headers.add(b"content-type", b"text/plain");
    CalloutOutcome::Response { headers, body: Bytes::from_static(BODY.as_bytes()), trailers: HeaderMap::new() }
}

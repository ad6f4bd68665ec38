//! What clients, servers and plugins say to each other in a test, as filters see it and back again.

use bytes::Bytes;

use crate::headers::{HeaderMap, Side};
use crate::test::{Answer, Ending, Headers};
use crate::worker::{CalloutOutcome, Protocol};

/// What a callout's plugin is told about an answer; nothing for one that never comes.
pub(super) fn outcome(answer: &Answer) -> Option<CalloutOutcome> {
    Some(match answer.how_it_ends() {
        Ending::Complete => CalloutOutcome::Response {
            headers: served(answer),
            body: answer
                .pieces()
                .fold(Vec::new(), |mut all, piece| {
                    all.extend_from_slice(piece);
                    all
                })
                .into(),
            trailers: to_map(answer.scripted_trailers().iter()),
        },
        Ending::Unreachable => CalloutOutcome::unreachable(),
        Ending::Reset => CalloutOutcome::reset_before_headers(),
        Ending::ResetAfterHeaders => CalloutOutcome::Failed,
        Ending::Malformed => CalloutOutcome::malformed(),
        Ending::Never => return None,
    })
}

/// An answer's headers as filters see them.
pub(super) fn served(answer: &Answer) -> HeaderMap {
    let mut map = to_map(answer.wire_headers().iter()).into_side(Side::Response);
    map.set(b"x-envoy-upstream-service-time", b"0");
    map
}

/// A request's headers as filters see them: Envoy's order, and what Envoy adds.
pub(super) fn received(headers: &Headers, number: u64, protocol: Protocol) -> HeaderMap {
    let mut pairs: Vec<(Bytes, Bytes)> = Vec::with_capacity(headers.len() + 2);
    if protocol != Protocol::Http2 {
        for name in [":authority", ":path", ":method", ":scheme"] {
            if let Some(value) = headers.get_bytes(name) {
                pairs.push((Bytes::from_static(name.as_bytes()), value.clone()));
            }
        }
    }
    for (name, value) in headers.iter() {
        // How the client framed its body is between it and the proxy.
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            continue;
        }
        if protocol == Protocol::Http2 || !name.starts_with(b":") {
            pairs.push((name.clone(), value.clone()));
        }
    }
    let mut map = HeaderMap::from_pairs(pairs).into_side(Side::Request);
    if map.get(b"x-forwarded-proto").is_none() {
        map.add(b"x-forwarded-proto", b"http");
    }
    if map.get(b"x-request-id").is_none() {
        map.add(b"x-request-id", format!("00000000-0000-4000-8000-{number:012x}").as_bytes());
    }
    map
}

/// Headers as a client or a server reads them.
pub(super) fn wire(map: HeaderMap) -> Headers {
    map.into_pairs().into_iter().collect()
}

/// Lines as filters see them, as they are.
pub(super) fn to_map<'a>(pairs: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> HeaderMap {
    HeaderMap::from_pairs(pairs.map(|(name, value)| (name.clone(), value.clone())).collect())
}

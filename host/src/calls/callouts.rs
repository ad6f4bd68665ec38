//! HTTP requests to other clusters.

use std::time::Duration;

use bytes::Bytes;

use super::{Answer, give_u32, number, take};
use crate::abi::Status;
use crate::callout::{CalloutId, CalloutRequest, Pending};
use crate::effect::Effect;
use crate::headers::HeaderMap;
use crate::ids::TokenKind;
use crate::memory::Memory;
use crate::pairs;
use crate::vm::VmState;

pub(crate) fn http_call(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [cluster, cluster_len, headers, headers_len, body, body_len, trailers, trailers_len, timeout, out] =
        take(arguments)?;
    let cluster = memory.read(cluster, cluster_len)?;
    let headers = memory.read(headers, headers_len)?;
    let body = memory.read(body, body_len)?;
    let trailers = memory.read(trailers, trailers_len)?;
    let begun = begin(state, cluster, headers, body, trailers, number(timeout));
    if let Err(status) = begun {
        state.watch_no_callout(cluster, status);
    }
    // The token is written on failure too, as 0.
    give_u32(memory, *begun.as_ref().unwrap_or(&0), out)?;
    begun.map(drop)
}

fn begin(
    state: &mut VmState,
    cluster: &[u8],
    headers: &[u8],
    body: &[u8],
    trailers: &[u8],
    timeout: u32,
) -> Result<u32, Status> {
    let cluster = std::str::from_utf8(cluster).map_err(|_| Status::BadArgument)?;
    if !state.services.has_cluster(cluster) || i32::try_from(timeout).is_err() {
        return Err(Status::BadArgument);
    }
    let mut map = HeaderMap::request();
    map.replace_all(pairs::decode(headers).unwrap_or_default());
    if [&b":method"[..], b":path", b":authority"].iter().any(|name| map.get(name).is_none()) {
        return Err(Status::BadArgument);
    }
    if !body.is_empty() {
        map.set(b"content-length", body.len().to_string().as_bytes());
    }
    let root = state.root().ok_or(Status::BadArgument)?;
    let asked = state.watch_callout(cluster, &map, body);
    let now = state.services.clock().now();
    let vm = state.vm_mut().ok_or(Status::InternalFailure)?;
    let (token, generation) = (vm.ids.token(TokenKind::Http), vm.generation);
    let timeout = (timeout != 0).then(|| Duration::from_millis(timeout.into()));
    state.last_callout += 1;
    let id = CalloutId(state.last_callout);
    let deadline = timeout.map(|timeout| now + timeout);
    state.expect(id, Pending { root, generation, token, deadline, grpc: None, asked });
    let request = CalloutRequest {
        cluster: cluster.to_owned(),
        headers: map,
        body: Bytes::copy_from_slice(body),
        trailers: HeaderMap::from_pairs(pairs::decode(trailers).unwrap_or_default()),
        timeout,
    };
    state.effects.push_back(Effect::Callout { id, request });
    Ok(token)
}

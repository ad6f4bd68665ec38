//! gRPC calls and streams to other clusters.

use std::time::Duration;

use bytes::Bytes;

use super::{Answer, give_u32, number, take};
use crate::abi::Status;
use crate::callout::{CalloutId, Pending};
use crate::effect::Effect;
use crate::grpc::{GrpcCall, GrpcRequest, framed};
use crate::grpc_service::Service;
use crate::headers::HeaderMap;
use crate::ids::TokenKind;
use crate::memory::Memory;
use crate::pairs;
use crate::vm::VmState;

/// What a plugin asks, as it lies in its memory.
struct Asked<'a> {
    service: &'a [u8],
    name: &'a [u8],
    method: &'a [u8],
    metadata: &'a [u8],
    timeout: u32,
}

pub(crate) fn call(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [
        service,
        service_len,
        name,
        name_len,
        method,
        method_len,
        metadata,
        metadata_len,
        message,
        message_len,
        timeout,
        out,
    ] = take(arguments)?;
    let asked = Asked {
        service: memory.read(service, service_len)?,
        name: memory.read(name, name_len)?,
        method: memory.read(method, method_len)?,
        metadata: memory.read(metadata, metadata_len)?,
        timeout: number(timeout),
    };
    let message = memory.read(message, message_len)?;
    let (id, token) = begin(state, &asked, GrpcCall::new(false))?;
    state.watch_sent(id, Some(message.len()), true);
    state.effects.push_back(Effect::GrpcData { id, data: framed(message), end: true });
    give_u32(memory, token, out)
}

pub(crate) fn stream(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [service, service_len, name, name_len, method, method_len, metadata, metadata_len, out] = take(arguments)?;
    let asked = Asked {
        service: memory.read(service, service_len)?,
        name: memory.read(name, name_len)?,
        method: memory.read(method, method_len)?,
        metadata: memory.read(metadata, metadata_len)?,
        timeout: 0,
    };
    let (_, token) = begin(state, &asked, GrpcCall::new(true))?;
    give_u32(memory, token, out)
}

fn begin(state: &mut VmState, asked: &Asked<'_>, call: GrpcCall) -> Result<(CalloutId, u32), Status> {
    let service = Service::read(asked.service, |name| state.services.has_cluster(name))?;
    let root = state.root().ok_or(Status::BadArgument)?;
    let now = state.services.clock().now();
    let timeout = (asked.timeout != 0).then(|| Duration::from_millis(asked.timeout.into()));
    let headers = headers(&service, asked, timeout);
    let recorded = state.watch_callout(&service.cluster, &headers, b"");
    let kind = if call.stream { TokenKind::GrpcStream } else { TokenKind::GrpcCall };
    let vm = state.vm_mut().ok_or(Status::InternalFailure)?;
    let (token, generation) = (vm.ids.token(kind), vm.generation);
    state.last_callout += 1;
    let id = CalloutId(state.last_callout);
    let deadline = timeout.map(|timeout| now + timeout);
    state.expect(id, Pending { root, generation, token, deadline, grpc: Some(Box::new(call)), asked: recorded });
    state.effects.push_back(Effect::Grpc { id, request: GrpcRequest { cluster: service.cluster, headers, timeout } });
    Ok((id, token))
}

/// The headers in Envoy's order.
fn headers(service: &Service, asked: &Asked<'_>, timeout: Option<Duration>) -> HeaderMap {
    let mut map = HeaderMap::request();
    map.add(b":method", b"POST");
    map.add(b":path", &[b"/", asked.name, b"/", asked.method].concat());
    map.add(b":authority", service.authority.as_bytes());
    map.add(b":scheme", b"http");
    map.add(b"te", b"trailers");
    if let Some(timeout) = timeout {
        map.add(b"grpc-timeout", format!("{}m", timeout.as_millis()).as_bytes());
    }
    map.add(b"content-type", b"application/grpc");
    for (name, value) in pairs::decode(asked.metadata).unwrap_or_default() {
        map.add(&name, &value);
    }
    map
}

pub(crate) fn send(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [token, message, message_len, end] = take(arguments)?;
    let message = memory.read(message, message_len)?;
    let token = number(token);
    if TokenKind::of(token) != Some(TokenKind::GrpcStream) {
        return Err(Status::BadArgument);
    }
    let id = state.grpc_id(token).ok_or(Status::NotFound)?;
    let end = number(end) != 0;
    // After its own end, or the peer's, what a plugin sends goes nowhere, and Envoy says `Ok`.
    if let Some(call) = state.grpc_call(id).filter(|call| !call.closed) {
        call.closed = end;
        state.watch_sent(id, Some(message.len()), end);
        state.effects.push_back(Effect::GrpcData { id, data: framed(message), end });
    }
    Ok(())
}

pub(crate) fn cancel(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [token] = take(arguments)?;
    let token = number(token);
    let id = known(state, token)?;
    state.forget_grpc(token);
    give_up(state, id);
    Ok(())
}

/// For a call the same as to cancel it; a stream goes on until the peer has ended it too.
pub(crate) fn close(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [token] = take(arguments)?;
    let token = number(token);
    let id = known(state, token)?;
    if TokenKind::of(token) == Some(TokenKind::GrpcCall) {
        give_up(state, id);
        return Ok(());
    }
    match state.grpc_call(id) {
        None => state.forget_grpc(token),
        Some(call) => {
            call.let_go = true;
            if !std::mem::replace(&mut call.closed, true) {
                state.watch_sent(id, None, true);
                state.effects.push_back(Effect::GrpcData { id, data: Bytes::new(), end: true });
            }
        }
    }
    Ok(())
}

fn known(state: &VmState, token: u32) -> Result<CalloutId, Status> {
    match TokenKind::of(token) {
        Some(TokenKind::GrpcCall | TokenKind::GrpcStream) => state.grpc_id(token).ok_or(Status::NotFound),
        _ => Err(Status::BadArgument),
    }
}

fn give_up(state: &mut VmState, id: CalloutId) {
    state.watch_given_up(id);
    if state.unexpect(id).is_some() {
        state.effects.push_back(Effect::CancelCallout(id));
    }
}

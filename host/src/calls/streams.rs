//! Continuing, closing and answering streams. All of it happens when the guest has returned.

use bytes::Bytes;

use super::{Answer, number, take};
use crate::abi::{Status, StreamKind};
use crate::exchange::{ExchangeId, LocalReply};
use crate::filter::Direction;
use crate::memory::Memory;
use crate::pairs;
use crate::recording::Event;
use crate::vm::{Deferred, Owner, VmState};

pub(crate) fn continue_stream(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind] = take(arguments)?;
    match StreamKind::from_u32(number(kind)) {
        Some(StreamKind::Request) => go_on(state, Direction::Request),
        Some(StreamKind::Response) => go_on(state, Direction::Response),
        Some(StreamKind::Downstream) => go_on_reading(state),
        Some(StreamKind::Upstream) => return Err(Status::Unimplemented),
        None => return Err(Status::BadArgument),
    }
    Ok(())
}

pub(crate) fn close_stream(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind] = take(arguments)?;
    match StreamKind::from_u32(number(kind)) {
        Some(StreamKind::Request | StreamKind::Response) => {
            if let Some((id, _)) = stream(state) {
                state.lint_close();
                state.watch(|| Event::Closed);
                state.deferred.push_back(Deferred::Close(id));
            }
        }
        Some(StreamKind::Downstream | StreamKind::Upstream) => {
            if let Some(Owner::Tcp(id, _)) = state.actor() {
                state.watch(|| Event::Closed);
                state.deferred.push_back(Deferred::CloseTcp(id));
            }
        }
        None => return Err(Status::BadArgument),
    }
    Ok(())
}

/// Of ABI 0.1.0.
pub(crate) fn continue_request(state: &mut VmState, _: &mut dyn Memory, _: &[u64]) -> Answer {
    go_on(state, Direction::Request);
    Ok(())
}

/// Of ABI 0.1.0.
pub(crate) fn continue_response(state: &mut VmState, _: &mut dyn Memory, _: &[u64]) -> Answer {
    go_on(state, Direction::Response);
    Ok(())
}

/// Of ABI 0.1.0.
pub(crate) fn clear_route_cache(state: &mut VmState, _: &mut dyn Memory, _: &[u64]) -> Answer {
    forget_route(state);
    Ok(())
}

/// Has the route chosen again behind the filters; until then properties tell the old one, as in Envoy.
pub(crate) fn forget_route(state: &mut VmState) {
    if let Some((exchange, _)) = state.stream_mut() {
        exchange.route_forgotten = true;
    }
}

pub(crate) fn send_local_response(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [code, details, details_len, body, body_len, headers, headers_len, grpc] = take(arguments)?;
    let details = memory.read(details, details_len)?;
    let body = memory.read(body, body_len)?;
    let headers = memory.read(headers, headers_len)?;
    let Some((id, place)) = stream(state) else { return Ok(()) };
    let reply = LocalReply {
        status: number(code),
        headers: pairs::decode(headers).unwrap_or_default(),
        body: Bytes::copy_from_slice(body),
        details: String::from_utf8_lossy(details).replace(' ', "_"),
        grpc_status: Some(number(grpc)).filter(|status| *status <= 16),
        flags: 0,
    };
    state.lint_reply(id, place);
    state.watch(|| Event::Reply((&reply).into()));
    state.deferred.push_back(Deferred::Reply(id, place, Box::new(reply)));
    Ok(())
}

/// Continuing either direction takes the request's headers and body out of the guest's reach at once.
fn go_on(state: &mut VmState, direction: Direction) {
    let Some((id, place)) = stream(state) else { return };
    state.lint_continue(id, place, direction);
    state.watch(|| Event::Continued { response: direction == Direction::Response });
    if let Some(filter) = state.exchanges.get_mut(id).and_then(|exchange| exchange.filters.get_mut(place)) {
        let request = &mut filter.request;
        request.map_open = false;
        request.in_body = false;
        request.trailers_open = false;
    }
    state.deferred.push_back(Deferred::Continue(id, place, direction));
}

/// Lets the bytes of a TCP client, or its new connection, go on; the window stays in the guest's reach.
fn go_on_reading(state: &mut VmState) {
    if let Some(Owner::Tcp(id, place)) = state.actor() {
        state.watch(|| Event::Continued { response: false });
        state.deferred.push_back(Deferred::ContinueTcp(id, place));
    }
}

fn stream(state: &VmState) -> Option<(ExchangeId, usize)> {
    match state.actor()? {
        Owner::Stream(id, place) => Some((id, place)),
        Owner::Root(_) | Owner::Tcp(..) => None,
    }
}

//! Bodies, configurations and callouts' answers as buffers.

use bytes::Bytes;

use super::{Answer, give, give_block, give_u32, number, size, take};
use crate::abi::{BufferKind, Status};
use crate::callback::Callback;
use crate::filter::{Buffer, Direction};
use crate::memory::Memory;
use crate::recording::Event;
use crate::vm::VmState;

pub(crate) fn get_bytes(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind, start, max, out, out_len] = take(arguments)?;
    let (kind, start, max) = (buffer_kind(kind)?, size(start), size(max));
    if kind.is_shown_in_pieces() {
        let whole = window(state, kind).ok_or(Status::NotFound)?.map_or(0, Buffer::len);
        let len = whole.saturating_sub(start).min(max);
        if len == 0 {
            return give_block(memory, 0, 0, out, out_len);
        }
        let block = state.allocate(memory, len)?;
        let mut at = block;
        for slice in window(state, kind).flatten().into_iter().flat_map(|buffer| buffer.slices(start, len)) {
            memory.write(at, slice)?;
            at += slice.len() as u64;
        }
        return give_block(memory, block, len, out, out_len);
    }
    let whole = flat(state, kind)?;
    let start = start.min(whole.len());
    let part = whole.slice(start..start.saturating_add(max).min(whole.len()));
    give(state, memory, &part, out, out_len)
}

pub(crate) fn get_status(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind, out_len, out_flags] = take(arguments)?;
    let kind = buffer_kind(kind)?;
    let len = if kind.is_shown_in_pieces() {
        window(state, kind).ok_or(Status::NotFound)?.map_or(0, Buffer::len)
    } else {
        flat(state, kind)?.len()
    };
    memory.write_usize(out_len, len as u64)?;
    give_u32(memory, 0, out_flags)
}

pub(crate) fn set_bytes(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind, start, len, bytes, bytes_len] = take(arguments)?;
    let kind = buffer_kind(kind)?;
    let bytes = memory.read(bytes, bytes_len)?;
    if let Some(upstream) = line(kind) {
        let (tcp, place) = state.tcp_mut().ok_or(Status::BadArgument)?;
        let window = tcp.window_mut(place, upstream).ok_or(Status::BadArgument)?;
        let before = window.len();
        if !window.replace(size(start), size(len), bytes) {
            return Err(Status::BadArgument);
        }
        let after = window.len();
        state.watch(|| Event::Body { response: upstream, before, after });
        return Ok(());
    }
    let direction = body(kind).ok_or(Status::BadArgument)?;
    let (exchange, place) = state.stream_mut().ok_or(Status::BadArgument)?;
    if exchange.ending {
        return Err(Status::BadArgument);
    }
    let flow = exchange.flow_mut(place, direction).ok_or(Status::BadArgument)?;
    let before = flow.window.len();
    if !flow.body_open() || !flow.window.replace(size(start), size(len), bytes) {
        return Err(Status::BadArgument);
    }
    let after = flow.window.len();
    state.watch(|| Event::Body { response: direction == Direction::Response, before, after });
    Ok(())
}

fn buffer_kind(argument: u64) -> Result<BufferKind, Status> {
    BufferKind::from_u32(number(argument)).ok_or(Status::BadArgument)
}

const fn body(kind: BufferKind) -> Option<Direction> {
    match kind {
        BufferKind::RequestBody => Some(Direction::Request),
        BufferKind::ResponseBody => Some(Direction::Response),
        _ => None,
    }
}

/// Whose bytes of a TCP connection these are: the upstream's or the client's.
const fn line(kind: BufferKind) -> Option<bool> {
    match kind {
        BufferKind::DownstreamData => Some(false),
        BufferKind::UpstreamData => Some(true),
        _ => None,
    }
}

impl BufferKind {
    /// Bodies and the bytes of connections are kept as they came.
    const fn is_shown_in_pieces(self) -> bool {
        body(self).is_some() || line(self).is_some()
    }
}

/// What the guest sees of a body: nothing for no exchange, an absent buffer outside of its time.
#[expect(clippy::option_option, reason = "no exchange and no buffer are different answers")]
fn window(state: &VmState, kind: BufferKind) -> Option<Option<&Buffer>> {
    if let Some(upstream) = line(kind) {
        let (tcp, place) = state.tcp()?;
        return Some(tcp.window(place, upstream));
    }
    let direction = body(kind)?;
    let (exchange, place) = state.stream()?;
    let flow = exchange.filters.get(place)?.flow(direction);
    Some(flow.body_open().then_some(&flow.window))
}

/// The buffers that are in one piece and cannot be changed.
fn flat(state: &VmState, kind: BufferKind) -> Result<Bytes, Status> {
    match kind {
        BufferKind::VmConfiguration => Ok(state.vm().map(|vm| vm.configuration.clone()).unwrap_or_default()),
        BufferKind::PluginConfiguration => match state.callback() {
            Some(Callback::Configure { .. }) => {
                let root = state.root().and_then(|root| state.roots.get(root));
                root.map(|root| root.configuration.clone()).ok_or(Status::NotFound)
            }
            _ => Err(Status::NotFound),
        },
        BufferKind::CalloutBody | BufferKind::GrpcMessage => {
            let delivery = state.running.delivery.as_ref().filter(|delivery| state.root() == Some(delivery.root));
            delivery.and_then(|delivery| delivery.buffer(kind)).cloned().ok_or(Status::NotFound)
        }
        // No foreign function keeps its argument.
        _ => Err(Status::NotFound),
    }
}

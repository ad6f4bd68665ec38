//! Header maps and trailers, of the exchange and of a callout's answer.

use super::{Answer, give, give_u32, number, streams, take};
use crate::abi::{AbiVersion, MapKind, Status};
use crate::filter::Direction;
use crate::headers::HeaderMap;
use crate::length::length;
use crate::memory::Memory;
use crate::pairs;
use crate::vm::VmState;

pub(crate) fn get_value(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, key, key_len, out, out_len] = take(arguments)?;
    let kind = kind(map)?;
    let key = memory.read(key, key_len)?;
    let value = match readable(state, kind) {
        Some(map) => map.get(key).cloned(),
        None if state.stream().is_some_and(|(exchange, _)| exchange.logging) => return Err(Status::NotFound),
        None => {
            state.lint_absent_map(kind);
            return Err(Status::BadArgument);
        }
    };
    match value {
        Some(value) => give(state, memory, &value, out, out_len),
        None if state.abi() == AbiVersion::V0_1_0 => give(state, memory, b"", out, out_len),
        None => Err(Status::NotFound),
    }
}

pub(crate) fn get_pairs(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, out, out_len] = take(arguments)?;
    let kind = kind(map)?;
    let mut blob = std::mem::take(&mut state.scratch);
    blob.clear();
    match readable(state, kind) {
        Some(map) => map.encode(&mut blob),
        None => state.lint_absent_map(kind),
    }
    let answer = give(state, memory, &blob, out, out_len);
    state.scratch = blob;
    answer
}

/// The bytes of all names and values; asking for trailers at the end of a body makes them, as in Envoy.
pub(crate) fn get_size(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, out] = take(arguments)?;
    let kind = kind(map)?;
    let size = match writable(state, kind) {
        Some(map) => map.byte_size(),
        None if own(kind).is_none() => return Err(Status::BadArgument),
        None => readable(state, kind).ok_or(Status::BadArgument)?.byte_size(),
    };
    give_u32(memory, length(size), out)
}

pub(crate) fn add(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, key, key_len, value, value_len] = take(arguments)?;
    let kind = kind(map)?;
    let (key, value) = (memory.read(key, key_len)?, memory.read(value, value_len)?);
    change(state, kind, |map| map.add(key, value))
}

pub(crate) fn replace(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, key, key_len, value, value_len] = take(arguments)?;
    let kind = kind(map)?;
    let (key, value) = (memory.read(key, key_len)?, memory.read(value, value_len)?);
    change(state, kind, |map| map.set(key, value))
}

pub(crate) fn remove(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, key, key_len] = take(arguments)?;
    let kind = kind(map)?;
    let key = memory.read(key, key_len)?;
    change(state, kind, |map| {
        map.remove(key);
    })
}

/// A malformed blob empties the map and answers Ok, as in Envoy.
pub(crate) fn set_pairs(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [map, blob, len] = take(arguments)?;
    let kind = kind(map)?;
    let pairs = pairs::decode(memory.read(blob, len)?);
    if pairs.is_none() {
        state.lint_malformed_pairs(kind);
    }
    change(state, kind, |map| map.replace_all(pairs.unwrap_or_default()))
}

fn kind(argument: u64) -> Result<MapKind, Status> {
    MapKind::from_u32(number(argument)).ok_or(Status::BadArgument)
}

/// The exchange's own maps: the direction, and whether these are its trailers.
const fn own(kind: MapKind) -> Option<(Direction, bool)> {
    match kind {
        MapKind::RequestHeaders => Some((Direction::Request, false)),
        MapKind::RequestTrailers => Some((Direction::Request, true)),
        MapKind::ResponseHeaders => Some((Direction::Response, false)),
        MapKind::ResponseTrailers => Some((Direction::Response, true)),
        _ => None,
    }
}

fn readable(state: &VmState, kind: MapKind) -> Option<&HeaderMap> {
    let Some((direction, trailers)) = own(kind) else {
        let delivery = state.running.delivery.as_ref().filter(|delivery| state.root() == Some(delivery.root))?;
        return delivery.map(kind);
    };
    let (exchange, place) = state.stream()?;
    let half = exchange.half(direction);
    if exchange.logging {
        return match kind {
            MapKind::RequestTrailers => None,
            _ if trailers => half.trailers.as_ref(),
            _ => half.headers.as_ref(),
        };
    }
    let flow = exchange.filters.get(place)?.flow(direction);
    if trailers {
        half.trailers.as_ref().filter(|_| flow.trailers_open)
    } else {
        half.headers.as_ref().filter(|_| flow.map_open)
    }
}

fn writable(state: &mut VmState, kind: MapKind) -> Option<&mut HeaderMap> {
    let (direction, trailers) = own(kind)?;
    let (exchange, place) = state.stream_mut()?;
    if exchange.ending {
        return None;
    }
    let flow = exchange.flow_mut(place, direction)?;
    if !trailers {
        return if flow.map_open { exchange.half_mut(direction).headers.as_mut() } else { None };
    }
    let makes_some = flow.in_body && flow.end;
    flow.trailers_open |= makes_some;
    if !flow.trailers_open {
        return None;
    }
    let half = exchange.half_mut(direction);
    if makes_some {
        half.trailers.get_or_insert_default();
    }
    half.trailers.as_mut()
}

fn change(state: &mut VmState, kind: MapKind, change: impl FnOnce(&mut HeaderMap)) -> Answer {
    let watched = state.is_watched();
    match writable(state, kind) {
        Some(map) => {
            let before = watched.then(|| map.clone());
            change(map);
            if let Some(before) = before {
                let after = map.clone();
                state.watch_headers(kind, &before, &after);
            }
            if kind == MapKind::RequestHeaders {
                // Up to ABI 0.2.1, the newest there is, every such change does this.
                streams::forget_route(state);
            }
            Ok(())
        }
        None => {
            state.lint_absent_map(kind);
            Err(Status::BadArgument)
        }
    }
}

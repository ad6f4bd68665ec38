//! Logging, time, timers, configuration, status and contexts.

use std::time::Duration;

use super::{Answer, give, give_u32, give_u64, number, take};
use crate::abi::{LogLevel, Status};
use crate::callback::Callback;
use crate::clock::nanos;
use crate::memory::Memory;
use crate::vm::{Deferred, VmState};

pub(crate) fn log(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [level, ptr, len] = take(arguments)?;
    let level = LogLevel::from_u32(number(level)).ok_or(Status::BadArgument)?;
    state.log(level, memory.read(ptr, len)?);
    Ok(())
}

pub(crate) fn get_log_level(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [out] = take(arguments)?;
    give_u32(memory, state.services.log_level(), out)
}

pub(crate) fn get_current_time(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [out] = take(arguments)?;
    give_u64(memory, nanos(state.services.clock().unix()), out)
}

/// The period belongs to the plugin, also when one of its streams sets it.
pub(crate) fn set_tick_period(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [period] = take(arguments)?;
    let period = number(period);
    let now = state.services.clock().now();
    if let Some(root) = state.root().and_then(|root| state.roots.get_mut(root)) {
        root.tick = (period != 0).then(|| Duration::from_millis(period.into()));
        root.next_tick = root.tick.map(|period| now + period);
    }
    Ok(())
}

/// Of ABI 0.1.0: the plugin's configuration while it is configured, the VM's anywhere else.
pub(crate) fn get_configuration(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [out, out_len] = take(arguments)?;
    let configuration = match state.callback() {
        Some(Callback::Configure { .. }) => {
            state.root().and_then(|root| state.roots.get(root)).map(|root| root.configuration.clone())
        }
        _ => state.vm().map(|vm| vm.configuration.clone()),
    };
    give(state, memory, &configuration.unwrap_or_default(), out, out_len)
}

pub(crate) fn get_status(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [out_code, out, out_len] = take(arguments)?;
    let root = state.root().and_then(|root| state.roots.get(root));
    let (code, message) = root.map(|root| (root.status, root.status_message.clone())).unwrap_or_default();
    give_u32(memory, code, out_code)?;
    give(state, memory, &message, out, out_len)
}

pub(crate) fn set_effective_context(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [context] = take(arguments)?;
    let context = number(context);
    let known = context == 0 || state.vm().is_some_and(|vm| vm.contexts.contains_key(&context));
    if !known {
        return Err(Status::BadArgument);
    }
    state.running.effective = context;
    state.watch_turn();
    Ok(())
}

/// A root that had answered `false` to its `proxy_on_done` is done now.
pub(crate) fn done(state: &mut VmState, _: &mut dyn Memory, _: &[u64]) -> Answer {
    let root = state.root().ok_or(Status::NotFound)?;
    let data = state.roots.get_mut(root).ok_or(Status::NotFound)?;
    if !std::mem::take(&mut data.pending_done) {
        return Err(Status::NotFound);
    }
    state.deferred.push_back(Deferred::Done(root));
    Ok(())
}

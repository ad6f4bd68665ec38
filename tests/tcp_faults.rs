//! Every host call answers every status, one at a time, in every TCP drive: no trap, no hang, nothing let through.

use std::collections::BTreeMap;

use wasmplugin_host::fault::{Faults, When};
use wasmplugin_host::test::{Engine, Proxy, TraceLine};

use crate::faults::{STATUSES, trap};
use crate::tcp_drives::{DRIVES, Drive, Ended};

/// Only so many occurrences of a host call fail one at a time.
const OCCURRENCES: u32 = 6;

/// From a tick and from an answer to a callout, no connection can be reached; and what cannot be closed stays.
const HANGS_FOR_EVER: &[&str] = &["proxy_set_effective_context", "proxy_close_stream"];

/// How often the drive makes each host call, without faults.
fn usual(drive: &Drive) -> BTreeMap<String, u32> {
    let mut proxy = drive.on(Engine::Wasm).start().unwrap();
    let got = drive.run(&mut proxy);
    assert_eq!(wrong(drive, &mut proxy, &got, true), None, "{}", drive.mode);
    let mut calls = BTreeMap::new();
    for line in proxy.trace() {
        if let TraceLine::Call { name, .. } = line
            && name.starts_with("env.proxy_")
        {
            *calls.entry(name.trim_start_matches("env.").to_owned()).or_default() += 1;
        }
    }
    calls
}

/// What is wrong after a drive, if anything.
fn wrong(drive: &Drive, proxy: &mut Proxy, got: &Ended, must_end: bool) -> Option<String> {
    if let Some(trap) = trap(proxy) {
        return Some(trap);
    }
    let text = String::from_utf8_lossy(got.as_deref().unwrap_or_default());
    let sent = Drive::sent(proxy);
    if !(drive.harmless)(&sent, &text) {
        return Some(format!("let through: the upstream got {sent:?}, the client {text:?}"));
    }
    if let Err(failure) = got
        && must_end
    {
        return Some(format!("no end: {failure}"));
    }
    let leaks = proxy.leaks();
    (must_end && !leaks.is_empty()).then(|| leaks.to_string())
}

/// Runs a drive with faults; what is wrong with it, if anything.
fn with(drive: &Drive, faults: Faults, must_end: bool) -> Option<String> {
    let mut proxy = match drive.on(Engine::Wasm).faults(faults).start() {
        Ok(proxy) => proxy,
        // Refusing to start is an answer; trapping is none.
        Err(error) => return error.to_string().contains("trap").then(|| format!("start: {error}")),
    };
    let got = drive.run(&mut proxy);
    wrong(drive, &mut proxy, &got, must_end)
}

#[test]
fn every_host_call_may_answer_anything_once() {
    let mut found = Vec::new();
    for drive in DRIVES {
        for (call, count) in usual(drive) {
            for at in 1..=count.min(OCCURRENCES) {
                for status in STATUSES {
                    let faults = Faults::new().call_number(&call, When::Nth(at), *status);
                    if let Some(wrong) = with(drive, faults, true) {
                        found.push(format!("{} {call} #{at} = {status}: {wrong}", drive.mode));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{} wrong:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_host_call_may_answer_anything_for_ever() {
    let mut found = Vec::new();
    for drive in DRIVES {
        for call in usual(drive).keys() {
            for status in STATUSES {
                let faults = Faults::new().call_number(call, When::Always, *status);
                let must_end = !HANGS_FOR_EVER.contains(&call.as_str());
                if let Some(wrong) = with(drive, faults, must_end) {
                    found.push(format!("{} {call} = {status}: {wrong}", drive.mode));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} wrong:\n{}", found.len(), found.join("\n"));
}

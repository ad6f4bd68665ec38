//! Every host call answers every status, one at a time, in every drive: no trap, no hang, nothing let through.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use wasmplugin_host::fault::{CalloutFault, Faults, When};
use wasmplugin_host::test::{Builder, Engine, Failure, Proxy, TraceLine};

use crate::drives::{COURSES, Course, Drive, Ended};

/// All statuses of the ABI but `Ok`, the two numbers that it leaves out, and one that nobody knows.
pub(crate) const STATUSES: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 77];

/// Only so many occurrences of a host call fail one at a time.
const OCCURRENCES: u32 = 8;

/// What sends a callout.
const CALLOUTS: &[&str] = &["env.proxy_http_call", "env.proxy_grpc_call", "env.proxy_grpc_stream"];

/// Where no answer is possible, because the one host call that would carry it always fails.
struct Exception {
    call: &'static str,
    /// Nothing in it: every drive.
    drives: &'static [&'static str],
    #[expect(dead_code, reason = "it is for the reader")]
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[Exception {
    call: "proxy_set_effective_context",
    drives: &[],
    reason: "an answer to a callout and a tick come to the root context; from there no exchange can be reached",
}];

impl Exception {
    fn is(call: &str, drive: &str) -> bool {
        EXCEPTIONS.iter().any(|exception| {
            exception.call == call && (exception.drives.is_empty() || exception.drives.contains(&drive))
        })
    }
}

/// What a drive does without faults.
struct Usual {
    calls: BTreeMap<String, u32>,
    callbacks: BTreeMap<String, u32>,
    callouts: u32,
    allocations: u32,
    ended: Ended,
}

fn builder(course: &Course) -> Builder {
    (course.setup)(course.plugin.on(Engine::Wasm)).trace(true)
}

fn usual(course: &Course, drive: &Drive) -> Usual {
    let mut proxy = builder(course).start().unwrap_or_else(|error| panic!("{}: {error}", drive.name));
    let ended = (drive.run)(&mut proxy);
    assert!((drive.harmless)(&proxy, &ended), "{}: {ended:?}", drive.name);
    assert!(!matches!(ended, Err(Failure::Hung(_) | Failure::Refused(_))), "{}: {ended:?}", drive.name);
    let mut usual = Usual { calls: BTreeMap::new(), callbacks: BTreeMap::new(), callouts: 0, allocations: 0, ended };
    for line in proxy.trace() {
        match line {
            TraceLine::Call { name, .. } if name.starts_with("env.proxy_") => {
                let name = name.trim_start_matches("env.");
                *usual.calls.entry(name.to_owned()).or_default() += 1;
            }
            TraceLine::Enter { name, .. } => *usual.callbacks.entry(name).or_default() += 1,
            TraceLine::Return { name, value: Some(0) } if CALLOUTS.contains(&name.as_str()) => usual.callouts += 1,
            _ => {}
        }
    }
    usual.allocations = usual.callbacks.remove("proxy_on_memory_allocate").unwrap_or_default();
    usual.callbacks.retain(|name, _| name.starts_with("proxy_on_"));
    usual
}

/// Runs a drive with faults; what is wrong with it, if anything.
fn wrong(course: &Course, drive: &Drive, usual: &Usual, faults: Faults, once: bool) -> Option<String> {
    let mut proxy = match builder(course).faults(faults).start() {
        Ok(proxy) => proxy,
        // Refusing to start is an answer; trapping is none.
        Err(error) => return error.to_string().contains("trap").then(|| format!("start: {error}")),
    };
    let ended = (drive.run)(&mut proxy);
    if let Some(trap) = trap(&mut proxy) {
        return Some(trap);
    }
    if !(drive.harmless)(&proxy, &ended) {
        return Some(format!("let through: {ended:?}, upstream saw {:?}", proxy.upstream_requests()));
    }
    match &ended {
        Ok(response) if (200..600).contains(&response.status()) => {}
        Err(Failure::Reset(_)) => {}
        other => return Some(format!("no answer: {other:?}")),
    }
    if !once {
        return None;
    }
    // Whoever comes next notices nothing.
    let next = (drive.run)(&mut proxy);
    if !same(&next, &usual.ended) {
        return Some(format!("the next exchange: {next:?}"));
    }
    // Until every timeout has come, a callout that nobody waits for any more is still open.
    proxy.advance(Duration::from_secs(10));
    if matches!(course.plugin.package, "probe" | "callout-probe") {
        let census = proxy.get("/census").send().map(|response| response.text());
        if census.as_deref() != Ok("0 exchanges, 0 tasks, 0 callouts, 0 timers") {
            return Some(format!("left behind: {census:?}"));
        }
    }
    let leaks = proxy.leaks();
    (!leaks.is_empty()).then(|| leaks.to_string())
}

fn same(one: &Ended, other: &Ended) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => (one.status(), one.text()) == (other.status(), other.text()),
        (Err(Failure::Reset(_)), Err(Failure::Reset(_))) => true,
        _ => false,
    }
}

/// A callback that began and never ended has trapped.
pub(crate) fn trap(proxy: &mut Proxy) -> Option<String> {
    let mut running = Vec::new();
    for line in proxy.trace() {
        match line {
            TraceLine::Enter { name, .. } => running.push(name),
            TraceLine::Leave { name, .. } if running.last() == Some(&name) => drop(running.pop()),
            _ => {}
        }
    }
    let name = running.first()?;
    let logs = proxy.logs();
    let panic = logs.iter().map(|line| line.text.as_str()).find(|text| text.contains("panicked")).unwrap_or_default();
    Some(format!("`{name}` trapped: {panic}"))
}

/// Runs a check of every drive on all cores, and fails with everything that is wrong.
fn sweep(check: impl Fn(&Course, &Drive, &mut Vec<String>) -> usize + Sync) {
    let all: Vec<(&Course, &Drive)> =
        COURSES.iter().flat_map(|course| course.drives.iter().map(move |drive| (course, drive))).collect();
    let next = AtomicUsize::new(0);
    let runs = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((course, drive)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut found = Vec::new();
                    runs.fetch_add(check(course, drive, &mut found), Ordering::Relaxed);
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).append(&mut found);
                }
            });
        }
    });
    println!("{} runs", runs.into_inner());
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{} of them wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_host_call_may_answer_anything_once() {
    sweep(|course, drive, found| {
        let usual = usual(course, drive);
        let mut runs = 0;
        for (call, count) in &usual.calls {
            for at in 1..=(*count).min(OCCURRENCES) {
                for status in STATUSES {
                    runs += 1;
                    let faults = Faults::new().call_number(call, When::Nth(at), *status);
                    if let Some(wrong) = wrong(course, drive, &usual, faults, true) {
                        found.push(format!(
                            "{}: {}: {call} #{at} = {status}: {wrong}",
                            course.plugin.package, drive.name
                        ));
                    }
                }
            }
        }
        runs
    });
}

#[test]
fn every_host_call_may_answer_anything_for_ever() {
    sweep(|course, drive, found| {
        let usual = usual(course, drive);
        let mut runs = 0;
        for call in usual.calls.keys() {
            for status in STATUSES {
                runs += 1;
                let faults = Faults::new().call_number(call, When::Always, *status);
                if let Some(wrong) = wrong(course, drive, &usual, faults, false)
                    && !(wrong.starts_with("no answer") && Exception::is(call, drive.name))
                {
                    found.push(format!("{}: {}: {call} = {status}: {wrong}", course.plugin.package, drive.name));
                }
            }
        }
        runs
    });
}

#[test]
fn memory_may_be_at_its_end() {
    sweep(|course, drive, found| {
        let usual = usual(course, drive);
        let mut runs = 0;
        for at in 1..=usual.allocations {
            runs += 1;
            let faults = Faults::new().allocation(When::Nth(at));
            if let Some(wrong) = wrong(course, drive, &usual, faults, true) {
                found.push(format!("{}: {}: allocation #{at}: {wrong}", course.plugin.package, drive.name));
            }
        }
        let faults = Faults::new().allocation(When::Always);
        if let Some(wrong) = wrong(course, drive, &usual, faults, false) {
            found.push(format!("{}: {}: no allocation: {wrong}", course.plugin.package, drive.name));
        }
        runs + 1
    });
}

#[test]
fn every_callout_may_end_in_every_way() {
    let ways = [
        CalloutFault::Timeout,
        CalloutFault::Unreachable,
        CalloutFault::Reset,
        CalloutFault::Slow(Duration::from_millis(100)),
        CalloutFault::Slow(Duration::from_secs(8)),
    ];
    sweep(|course, drive, found| {
        let usual = usual(course, drive);
        let mut runs = 0;
        let occurrences = (1..=usual.callouts).map(When::Nth).chain((usual.callouts > 0).then_some(When::Always));
        for when in occurrences {
            for way in ways {
                runs += 1;
                let faults = Faults::new().callout(when, way);
                if let Some(wrong) = wrong(course, drive, &usual, faults, when != When::Always) {
                    found.push(format!("{}: {}: callout {when:?} {way:?}: {wrong}", course.plugin.package, drive.name));
                }
            }
        }
        runs
    });
}

/// Callbacks of the root: what waits for them waits for ever once the plugin has trapped, as in Envoy.
const ROOTS: &[&str] = &[
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
];

/// The end of an exchange, which the client does not see any more.
const ENDS: &[&str] = &["proxy_on_log", "proxy_on_done", "proxy_on_delete"];

#[test]
fn a_trap_in_any_callback_closes_or_opens() {
    sweep(|course, drive, found| {
        let usual = usual(course, drive);
        let mut runs = 0;
        for (callback, count) in &usual.callbacks {
            for at in 1..=(*count).min(OCCURRENCES) {
                for open in [false, true] {
                    runs += 1;
                    if let Some(wrong) = wrong_after_trap(course, drive, callback, at, open) {
                        let policy = if open { "open" } else { "closed" };
                        found.push(format!(
                            "{}: {}: {callback} #{at} traps, {policy}: {wrong}",
                            course.plugin.package, drive.name
                        ));
                    }
                }
            }
        }
        runs
    });
}

fn wrong_after_trap(course: &Course, drive: &Drive, callback: &str, at: u32, open: bool) -> Option<String> {
    let faults = Faults::new().trap(callback, When::Nth(at));
    let Ok(mut proxy) = builder(course).fail_open(open).faults(faults).start() else {
        // A trap at the start refuses the start, whatever the policy.
        return (!matches!(callback, "proxy_on_context_create" | "proxy_on_configure"))
            .then(|| "the proxy did not start".to_owned());
    };
    let ended = (drive.run)(&mut proxy);
    if !open && !(drive.harmless)(&proxy, &ended) {
        return Some(format!("let through: {ended:?}"));
    }
    let root = ROOTS.contains(&callback);
    let defined = match &ended {
        Ok(_) if open || root || ENDS.contains(&callback) => true,
        Ok(response) => response.status() >= 400 || response.header("grpc-status").is_some(),
        Err(Failure::Reset(_)) => true,
        Err(Failure::Hung(_)) => root,
        Err(_) => false,
    };
    if !defined {
        return Some(format!("ended so: {ended:?}"));
    }
    let next = proxy.get("/next").send();
    let right = match &next {
        Ok(response) if open => response.status() == 200,
        Ok(response) => response.status() == 503 && response.body().is_empty(),
        Err(_) => false,
    };
    (!right).then(|| format!("the next exchange: {next:?}"))
}

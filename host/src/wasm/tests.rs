//! The door by itself: start-up, callbacks, host calls, limits and WASI, with modules written by hand.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::abi::{AbiVersion, LogLevel, Status};
use crate::callback::{Callback, Trap};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::module::{self, WASI_SIGNATURES};
use crate::sandbox::{Capabilities, Sandbox};
use crate::scripted::Script;
use crate::services::Services;
use crate::vm::VmData;
use crate::worker::{Options, Plugin};

/// What every module of these tests has: an ABI, a memory, an allocator that hands out 1024, 2048, ..., a log.
const COMMON: &str = r#"
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 0))
    (func $say (param $ptr i32) (param $len i32) (drop (call $log (i32.const 2) (local.get $ptr) (local.get $len))))
    (data (i32.const 16) "initialize start main tick headers created")"#;
const MALLOC: &str = r#"(func (export "malloc") (param i32) (result i32)
    (global.set $next (i32.add (global.get $next) (i32.const 1024))) (global.get $next))"#;
const NEWEST: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;

/// One guest with the state that travels through it, and what was logged.
struct Run {
    state: Option<Box<VmState>>,
    guest: Option<Box<dyn Guest>>,
    failure: String,
    lines: Arc<Mutex<Vec<(LogLevel, String)>>>,
}

impl Run {
    fn new(wat: &str) -> Run {
        Run::with(wat, Sandbox::OPEN, Settings::default()).0
    }

    fn with(wat: &str, sandbox: impl Into<Sandbox>, settings: Settings) -> (Run, Module) {
        let lines: Arc<Mutex<Vec<(LogLevel, String)>>> = Arc::default();
        let sink = Arc::clone(&lines);
        let services = Services::new(
            Clock::manual(Duration::from_secs(1_000_000_000)),
            Box::new(move |record| {
                sink.lock().unwrap().push((record.level, String::from_utf8_lossy(record.message).into_owned()))
            }),
        );
        let source = module::Module::from_bytes("test.wasm", wat::parse_str(wat).unwrap()).unwrap();
        let module = Module::compile(source, settings).unwrap();
        let mut state = VmState::new(Arc::new(services), Options::default());
        let plugin =
            Plugin { sandbox: sandbox.into(), ..Script::new(|callback, _| Ok(callback.assumed())).plugin("p") };
        state.vms.push(VmData::new(&plugin));
        let (state, started) = module.start(Box::new(state));
        let (guest, failure) = match started {
            Ok(guest) => (Some(guest), String::new()),
            Err(reason) => (None, reason),
        };
        (Run { state: Some(state), guest, failure, lines }, module)
    }

    fn call(&mut self, callback: Callback) -> Result<u32, Trap> {
        let mut state = self.state.take().unwrap();
        state.running.callback = Some(callback);
        let guest = self.guest.as_mut().unwrap_or_else(|| panic!("{}", self.failure));
        let (state, answer) = guest.call(state, callback);
        self.state = Some(state);
        answer
    }

    fn tick(&mut self) -> Result<u32, Trap> {
        self.call(Callback::Tick { root: 1 })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().drain(..).map(|(_, line)| line).collect()
    }
}

fn plugin(rest: &str) -> String {
    // Imports come before everything else.
    let (imports, rest) = rest.rsplit_once("#").unwrap_or(("", rest));
    format!("(module {imports} {COMMON} {MALLOC} {NEWEST} {rest})")
}

#[test]
fn reactors_start_with_initialize_and_then_main() {
    let run = Run::new(&plugin(
        r#"(func (export "_initialize") (call $say (i32.const 16) (i32.const 10)))
        (func (export "_start") (call $say (i32.const 27) (i32.const 5)))
        (func (export "main") (param i32 i32) (result i32) (call $say (i32.const 33) (i32.const 4)) (i32.const 0))
        (func (export "__main_void") (result i32) (unreachable))"#,
    ));
    assert_eq!(run.failure, "");
    assert_eq!(run.lines(), ["initialize", "main"]);
    let run = Run::new(&plugin(
        r#"(func (export "_initialize"))
        (func (export "__main_void") (result i32) (call $say (i32.const 33) (i32.const 4)) (i32.const 0))"#,
    ));
    assert_eq!(run.lines(), ["main"]);
}

#[test]
fn commands_start_with_start() {
    let mut run = Run::new(&format!(
        r#"(module {COMMON} {MALLOC} (func (export "proxy_abi_version_0_2_0"))
        (func (export "_start") (call $say (i32.const 27) (i32.const 5)))
        (func (export "main") (param i32 i32) (result i32) (unreachable)))"#
    ));
    assert_eq!(run.lines(), ["start"]);
    assert_eq!(run.guest.as_ref().unwrap().abi(), AbiVersion::V0_2_0);
    assert_eq!(run.call(Callback::VmStart { root: 1, config_len: 0 }), Ok(1), "what is not exported is assumed");
    assert_eq!(run.call(Callback::RequestHeaders { context: 2, count: 1, end: true }), Ok(0));
}

#[test]
fn host_calls_at_start_up_are_restricted() {
    let run = Run::new(&plugin(
        r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        # (func (export "_initialize") (drop (call $tick (i32.const 5))))"#,
    ));
    assert!(
        run.failure.contains("cannot start `test.wasm`: `_initialize` trapped: restricted_callback"),
        "{}",
        run.failure
    );
    assert!(run.failure.contains("`proxy_set_tick_period_milliseconds`"), "{}", run.failure);
    let run = Run::new(&plugin(
        r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        # (func (export "_initialize") (drop (call $yield)))"#,
    ));
    assert!(run.failure.contains("restricted_callback: `sched_yield`"), "{}", run.failure);
}

#[test]
fn a_start_function_that_traps() {
    let run = Run::new(&plugin(r#"(func $boom unreachable) (func (export "_initialize") (call $boom))"#));
    assert!(run.failure.contains("`_initialize` trapped: `unreachable` was executed"), "{}", run.failure);
    assert!(run.failure.contains("- boom\n  1:  0x"), "frames are named: {}", run.failure);
    let run = Run::new(&plugin("(func $boom unreachable) (start $boom)"));
    assert!(run.failure.contains("`unreachable` was executed"), "{}", run.failure);
}

#[test]
fn headers_have_two_arguments_in_the_first_abi() {
    let mut run = Run::new(&format!(
        r#"(module {COMMON} {MALLOC} (func (export "proxy_abi_version_0_1_0"))
        (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
            (i32.add (i32.mul (local.get 0) (i32.const 10)) (local.get 1))))"#
    ));
    assert_eq!(run.call(Callback::RequestHeaders { context: 4, count: 2, end: true }), Ok(42));
    let mut run = Run::new(&plugin(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local.get 2))"#,
    ));
    assert_eq!(run.call(Callback::RequestHeaders { context: 4, count: 2, end: true }), Ok(1));
}

#[test]
fn an_endless_loop_ends_at_the_time_limit() {
    let limits = Limits { time: Some(Duration::from_millis(100)), ..Limits::default() };
    let (mut run, _) = Run::with(
        &plugin(r#"(func (export "proxy_on_tick") (param i32) (loop $again (br $again)))"#),
        limits.clone(),
        Settings::default(),
    );
    let started = Instant::now();
    let trap = run.tick().unwrap_err();
    assert_eq!(trap.function, "proxy_on_tick");
    assert!(trap.reason.contains("time limit of 0.1 s"), "{trap}");
    assert!(started.elapsed() >= Duration::from_millis(100));
    let start_up = plugin(r#"(func (export "_initialize") (loop $again (br $again)))"#);
    let (run, _) = Run::with(&start_up, limits, Settings::default());
    assert!(run.failure.contains("time limit"), "{}", run.failure);
}

#[test]
fn memory_ends_at_its_limit() {
    let grow = plugin(r#"(func (export "proxy_on_done") (param i32) (result i32) (memory.grow (i32.const 100)))"#);
    let limits = Limits { memory: 64 * 65536, ..Limits::default() };
    let (mut run, _) = Run::with(&grow, limits, Settings::default());
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(u32::MAX), "growing fails, the guest lives on");
    assert_eq!(Run::new(&grow).call(Callback::Done { context: 1 }), Ok(2));
    let limits = Limits { memory: 65536, ..Limits::default() };
    let (run, _) = Run::with(&grow, limits, Settings::default());
    assert!(run.failure.contains("memory"), "{}", run.failure);
}

#[test]
fn what_is_not_among_the_capabilities_is_answered_and_told() {
    let wat = plugin(
        r#"(import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        # (func (export "_initialize") (drop (call $random (i32.const 200) (i32.const 8))))
        (func (export "proxy_on_done") (param i32) (result i32)
            (call $say (i32.const 16) (i32.const 10))
            (i32.add (call $time (i32.const 200))
                     (i32.mul (i32.const 100) (call $random (i32.const 200) (i32.const 8)))))"#,
    );
    let run = |names: &[&str]| {
        let (mut run, _) = Run::with(&wat, Capabilities::only(names.iter().copied()), Settings::default());
        let answer = run.call(Callback::Done { context: 1 }).unwrap();
        (answer, run.lines())
    };
    let told = |family: &str, name: &str| format!("Attempted call to restricted {family} capability: {name}");
    let (time, random) = ("proxy_get_current_time_nanoseconds", "random_get");
    assert_eq!(run(&["proxy_log", time, random]), (0, vec!["initialize".to_owned()]));
    let (answer, lines) = run(&["proxy_log"]);
    assert_eq!(answer, 7610);
    let refused = [told("WASI", random), "initialize".to_owned(), told("proxy-wasm", time), told("WASI", random)];
    assert_eq!(lines, refused);
    assert_eq!(run(&[time, random]), (0, vec![told("proxy-wasm", "proxy_log")]));
}

#[test]
fn an_allocator_is_restricted_as_well() {
    let allocator = r#"(func (export "malloc") (param i32) (result i32)
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8)))
        (call $say (i32.const 16) (i32.const 10)) (i32.const 1024))"#;
    let names = ["proxy_set_shared_data", "proxy_get_shared_data"];
    let (mut run, _) = Run::with(&shared(allocator), Capabilities::only(names), Settings::default());
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(0), "the allocator itself cannot be taken away");
    let told = |name| format!("Attempted call to restricted {name}");
    assert_eq!(run.lines(), [told("WASI capability: fd_write"), told("proxy-wasm capability: proxy_log")]);
}

#[test]
fn bad_pointers_are_answered_with_a_status() {
    let mut run = Run::new(&plugin(
        r#"(import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
        # (func (export "proxy_on_done") (param i32) (result i32)
            (i32.add (call $time (i32.const 131065))
            (i32.add (i32.mul (i32.const 100) (call $time (i32.const 131064)))
                     (i32.mul (i32.const 10000) (call $log (i32.const 2) (i32.const -1) (i32.const 2))))))"#,
    ));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(60_006));
}

/// A module that stores a shared value under "initialize" and answers what reading it back says.
fn shared(malloc: &str) -> String {
    format!(
        r#"(module
        (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        {COMMON} {malloc} {NEWEST}
        (func (export "proxy_on_done") (param i32) (result i32)
            (drop (call $set (i32.const 16) (i32.const 10) (i32.const 33) (i32.const 4) (i32.const 0)))
            (call $get (i32.const 16) (i32.const 10) (i32.const 200) (i32.const 204) (i32.const 208)))
        (func (export "proxy_on_tick") (param i32) (call $say (i32.load (i32.const 200)) (i32.load (i32.const 204)))))"#
    )
}

#[test]
fn bytes_come_through_the_guests_allocator() {
    let mut run = Run::new(&shared(MALLOC));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(Status::Ok as u32));
    assert_eq!(run.tick(), Ok(0));
    assert_eq!(run.lines(), ["main"]);
}

#[test]
fn an_allocator_without_memory_is_a_status() {
    let mut run = Run::new(&shared(r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(Status::InvalidMemoryAccess as u32));
    let mut run = Run::new(&shared(r#"(func (export "malloc") (param i32) (result i32) (i32.const -4))"#));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(Status::InvalidMemoryAccess as u32));
}

#[test]
fn an_allocator_may_log_and_little_else() {
    let mut run = Run::new(&shared(
        r#"(func (export "malloc") (param i32) (result i32)
            (call $say (i32.const 16) (i32.const 10))
            (i32.store (i32.const 300) (i32.const 27)) (i32.store (i32.const 304) (i32.const 5))
            (drop (call $write (i32.const 2) (i32.const 300) (i32.const 1) (i32.const 308)))
            (i32.const 1024))"#,
    ));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(0));
    assert_eq!(run.lines(), ["initialize", "start"]);
    let mut run = Run::new(&shared(
        r#"(func (export "malloc") (param i32) (result i32)
            (call $get (i32.const 16) (i32.const 10) (i32.const 200) (i32.const 204) (i32.const 208)))"#,
    ));
    let trap = run.call(Callback::Done { context: 1 }).unwrap_err();
    assert!(
        trap.reason.contains("restricted_callback: `proxy_get_shared_data` may not be called inside the allocator"),
        "{trap}"
    );
    let mut run = Run::new(&shared(r#"(func (export "malloc") (param i32) (result i32) unreachable)"#));
    let trap = run.call(Callback::Done { context: 1 }).unwrap_err();
    assert!(trap.reason.starts_with("`unreachable` was executed"), "{trap}");
}

#[test]
fn fuel_is_measured_on_request() {
    let wat = plugin(r#"(func (export "proxy_on_tick") (param i32) (drop (i32.add (i32.const 1) (i32.const 2))))"#);
    let (mut run, module) = Run::with(&wat, Limits::default(), Settings { fuel: true });
    let meter = Arc::clone(module.meter().unwrap());
    run.tick().unwrap();
    let first = meter.total();
    run.tick().unwrap();
    assert!(first > 0);
    assert_eq!(meter.used(), [FuelUse { callback: "proxy_on_tick", calls: 2, fuel: 2 * first }]);
    let limited = Limits { fuel: Some(1000), ..Limits::default() };
    let wat = plugin(r#"(func (export "proxy_on_tick") (param i32) (loop $again (br $again)))"#);
    let (mut run, _) = Run::with(&wat, limited.clone(), Settings { fuel: true });
    assert!(run.tick().unwrap_err().reason.contains("fuel"));
    let (run, _) = Run::with(&wat, limited, Settings::default());
    assert!(run.failure.contains("without measuring fuel"), "{}", run.failure);
}

#[test]
fn memories_and_tables_may_be_imported() {
    let mut run = Run::new(&format!(
        r#"(module
        (import "env" "memory" (memory 1))
        (import "env" "__indirect_function_table" (table 1 funcref))
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (func (export "malloc") (param i32) (result i32) i32.const 0)
        {NEWEST}
        (data (i32.const 8) "hello")
        (func (export "proxy_on_tick") (param i32) (drop (call $log (i32.const 2) (i32.const 8) (i32.const 5)))))"#
    ));
    run.tick().unwrap();
    assert_eq!(run.lines(), ["hello"]);
}

#[test]
fn every_import_links() {
    for &abi in AbiVersion::ALL {
        let mut wat = String::from("(module");
        let i64 = |val: &crate::imports::Val| if *val == crate::imports::Val::I64 { " i64" } else { " i32" };
        for import in crate::imports::IMPORTS.iter().filter(|import| import.abis.contains(&abi)) {
            let params: String = import.params.iter().map(i64).collect();
            wat += &format!(r#"(import "env" "{}" (func (param{params}) (result i32)))"#, import.name);
        }
        for module in module::WASI_MODULES {
            for signature in WASI_SIGNATURES {
                let params: String = signature.params.iter().map(i64).collect();
                let result = if signature.result { "(result i32)" } else { "" };
                wat += &format!(r#"(import "{module}" "{}" (func (param{params}) {result}))"#, signature.name);
            }
        }
        wat += r#"(import "env" "emscripten_notify_memory_growth" (func (param i32)))
            (import "env" "pthread_equal" (func (param i32 i32) (result i32)))"#;
        wat += &format!(
            r#"(func (export "{}")) {} (memory (export "memory") 1) (global $next (mut i32) (i32.const 0)))"#,
            abi.marker(),
            MALLOC
        );
        assert_eq!(Run::new(&wat).failure, "", "ABI {abi}");
    }
}

/// Calls one WASI function with these arguments in a callback.
fn wasi(name: &str, arguments: &[i64]) -> (u32, Run) {
    let signature = WASI_SIGNATURES.iter().find(|signature| signature.name == name).unwrap();
    let is_long = |val: &crate::imports::Val| *val == crate::imports::Val::I64;
    let params: String = signature.params.iter().map(|val| if is_long(val) { " i64" } else { " i32" }).collect();
    let values = signature.params.iter().enumerate().map(|(index, val)| {
        let value = arguments.get(index).copied().unwrap_or_default();
        if is_long(val) { format!("(i64.const {value})") } else { format!("(i32.const {value})") }
    });
    let values: String = values.collect();
    let mut run = Run::new(&plugin(&format!(
        r#"(import "wasi_snapshot_preview1" "{name}" (func $wasi (param{params}) (result i32)))
        # (data (i32.const 400) "\10\00\00\00\0a\00\00\00\1b\00\00\00\05\00\00\00\00\02\00\00\01\00\00\00")
        (data (i32.const 512) "\0a")
        (func (export "proxy_on_done") (param i32) (result i32) (call $wasi {values}))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.load (i32.const 600)))"#
    )));
    (run.call(Callback::Done { context: 1 }).unwrap(), run)
}

#[test]
fn standard_output_is_the_log() {
    let (status, mut run) = wasi("fd_write", &[1, 400, 3, 600]);
    assert_eq!(status, 0);
    assert_eq!(run.call(Callback::VmStart { root: 1, config_len: 0 }), Ok(16), "all bytes count");
    assert_eq!(*run.lines.lock().unwrap(), [(LogLevel::Info, "initializestart".to_owned())]);
    let (status, run) = wasi("fd_write", &[2, 416, 1, 600]);
    assert_eq!((status, run.lines.lock().unwrap().as_slice()), (0, &[(LogLevel::Error, String::new())][..]));
    assert_eq!(wasi("fd_write", &[3, 400, 1, 600]).0, 8);
    assert_eq!(wasi("fd_write", &[1, -8, 1, 600]).0, 21);
    assert_eq!(wasi("fd_write", &[1, 400, 1, -2]).0, 21);
    let (status, run) = wasi("fd_write", &[1, 400, 0, 600]);
    assert_eq!((status, run.lines().len()), (0, 0));
}

#[test]
fn the_clock_is_the_proxys() {
    let (status, mut run) = wasi("clock_time_get", &[0, 0, 600]);
    assert_eq!(status, 0);
    let low = run.call(Callback::VmStart { root: 1, config_len: 0 }).unwrap();
    assert_eq!(low, 1_000_000_000_000_000_000_u64 as u32);
    assert_eq!(wasi("clock_time_get", &[1, 0, 600]).0, 0);
    assert_eq!(wasi("clock_time_get", &[2, 0, 600]).0, 58);
    assert_eq!(wasi("clock_time_get", &[0, 0, -4]).0, 21);
    assert_eq!(wasi("clock_res_get", &[2, 600]).0, 58);
}

/// The answers of Envoy 1.40, taken from it.
#[test]
fn statuses_are_envoys() {
    for name in [
        "fd_allocate",
        "fd_datasync",
        "fd_fdstat_set_rights",
        "fd_filestat_set_size",
        "fd_filestat_set_times",
        "fd_sync",
        "fd_tell",
    ] {
        assert_eq!((name, wasi(name, &[1]).0, wasi(name, &[3]).0), (name, 0, 8));
    }
    let expected: [(&str, u32); 29] = [
        ("args_get", 0),
        ("args_sizes_get", 0),
        ("environ_get", 0),
        ("environ_sizes_get", 0),
        ("fd_advise", 0),
        ("fd_close", 0),
        ("fd_seek", 0),
        ("poll_oneoff", 0),
        ("sched_yield", 0),
        ("fd_filestat_get", 8),
        ("fd_prestat_get", 8),
        ("fd_renumber", 8),
        ("fd_readdir", 20),
        ("path_open", 44),
        ("fd_fdstat_set_flags", 52),
        ("fd_prestat_dir_name", 52),
        ("fd_pread", 52),
        ("fd_read", 52),
        ("path_create_directory", 58),
        ("path_filestat_get", 58),
        ("path_link", 58),
        ("path_readlink", 58),
        ("path_rename", 58),
        ("path_symlink", 58),
        ("path_unlink_file", 58),
        ("sock_accept", 58),
        ("sock_recv", 58),
        ("sock_send", 58),
        ("sock_shutdown", 58),
    ];
    for (name, status) in expected {
        assert_eq!((name, wasi(name, &[1]).0), (name, status));
    }
    assert_eq!(wasi("fd_fdstat_get", &[1, 600]).0, 0);
    assert_eq!(wasi("fd_fdstat_get", &[1, -8]).0, 0, "Envoy does not look");
    assert_eq!(wasi("fd_fdstat_get", &[0, 600]).0, 8);
    assert_eq!(wasi("random_get", &[600, 16]).0, 0);
    assert_eq!(wasi("random_get", &[-8, 16]).0, 21);
    assert_eq!(wasi("random_get", &[0, 65537]).0, 28);
    assert_eq!(wasi("environ_sizes_get", &[-8, 0]).0, 21);
}

#[test]
fn leaving_does_nothing() {
    let mut run = Run::new(&plugin(
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        # (func (export "proxy_on_done") (param i32) (result i32) (call $exit (i32.const 1)) (i32.const 7))"#,
    ));
    assert_eq!(run.call(Callback::Done { context: 1 }), Ok(7));
}

#[test]
fn random_numbers_repeat_under_a_clock_turned_by_hand() {
    let draw = || {
        let (_, mut run) = wasi("random_get", &[600, 16]);
        run.call(Callback::VmStart { root: 1, config_len: 0 }).unwrap()
    };
    assert_eq!(draw(), draw());
    let mut system = random::Random::System;
    assert_ne!(system.bytes(16), system.bytes(16));
}

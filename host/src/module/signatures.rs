//! The types of what a module imports besides the ABI, and of what it may export for the host to call.

use crate::abi::AbiVersion;
use crate::imports::Val;

/// A function's name, its parameters, and whether it answers with an `i32`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Val],
    pub(crate) result: bool,
}

const fn answers(name: &'static str, params: &'static [Val]) -> Signature {
    Signature { name, params, result: true }
}

const fn silent(name: &'static str, params: &'static [Val]) -> Signature {
    Signature { name, params, result: false }
}

const I: Val = Val::I32;
const L: Val = Val::I64;

/// Both names under which WASI is offered.
pub(crate) const WASI_MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// WASI as Envoy 1.40 registers it: `path_link` and `path_symlink` lack a parameter, `proc_raise` is missing.
pub(crate) const WASI_SIGNATURES: [Signature; 45] = [
    answers("args_get", &[I, I]),
    answers("args_sizes_get", &[I, I]),
    answers("environ_get", &[I, I]),
    answers("environ_sizes_get", &[I, I]),
    answers("clock_res_get", &[I, I]),
    answers("clock_time_get", &[I, L, I]),
    answers("fd_advise", &[I, L, L, I]),
    answers("fd_allocate", &[I, L, L]),
    answers("fd_close", &[I]),
    answers("fd_datasync", &[I]),
    answers("fd_fdstat_get", &[I, I]),
    answers("fd_fdstat_set_flags", &[I, I]),
    answers("fd_fdstat_set_rights", &[I, L, L]),
    answers("fd_filestat_get", &[I, I]),
    answers("fd_filestat_set_size", &[I, L]),
    answers("fd_filestat_set_times", &[I, L, L, I]),
    answers("fd_pread", &[I, I, I, L, I]),
    answers("fd_prestat_get", &[I, I]),
    answers("fd_prestat_dir_name", &[I, I, I]),
    answers("fd_pwrite", &[I, I, I, L, I]),
    answers("fd_read", &[I, I, I, I]),
    answers("fd_readdir", &[I, I, I, L, I]),
    answers("fd_renumber", &[I, I]),
    answers("fd_seek", &[I, L, I, I]),
    answers("fd_sync", &[I]),
    answers("fd_tell", &[I, I]),
    answers("fd_write", &[I, I, I, I]),
    answers("path_create_directory", &[I, I, I]),
    answers("path_filestat_get", &[I, I, I, I, I]),
    answers("path_filestat_set_times", &[I, I, I, I, L, L, I]),
    answers("path_link", &[I, I, I, I, I, I]),
    answers("path_open", &[I, I, I, I, I, L, L, I, I]),
    answers("path_readlink", &[I, I, I, I, I, I]),
    answers("path_remove_directory", &[I, I, I]),
    answers("path_rename", &[I, I, I, I, I, I]),
    answers("path_symlink", &[I, I, I, I]),
    answers("path_unlink_file", &[I, I, I]),
    answers("poll_oneoff", &[I, I, I, I]),
    silent("proc_exit", &[I]),
    answers("sched_yield", &[]),
    answers("random_get", &[I, I]),
    answers("sock_accept", &[I, I, I]),
    answers("sock_recv", &[I, I, I, I, I, I]),
    answers("sock_send", &[I, I, I, I, I]),
    answers("sock_shutdown", &[I, I]),
];

/// What compilers want from `env` besides the ABI.
pub(super) const RUNTIME_SIGNATURES: [Signature; 2] =
    [answers("pthread_equal", &[I, I]), silent("emscripten_notify_memory_growth", &[I])];

/// The exports that start a module or hand out memory.
const START_UP: [Signature; 6] = [
    silent("_initialize", &[]),
    silent("_start", &[]),
    answers("main", &[I, I]),
    answers("__main_void", &[]),
    answers("malloc", &[I]),
    answers("proxy_on_memory_allocate", &[I]),
];

/// The callbacks of every version; those whose arguments depend on it are in [`HEADERS_OLD`] and [`HEADERS_NEW`].
const CALLBACKS: [Signature; 28] = [
    silent("proxy_on_context_create", &[I, I]),
    answers("proxy_on_vm_start", &[I, I]),
    answers("proxy_validate_configuration", &[I, I]),
    answers("proxy_on_configure", &[I, I]),
    silent("proxy_on_tick", &[I]),
    silent("proxy_on_queue_ready", &[I, I]),
    answers("proxy_on_new_connection", &[I]),
    answers("proxy_on_downstream_data", &[I, I, I]),
    answers("proxy_on_upstream_data", &[I, I, I]),
    silent("proxy_on_downstream_connection_close", &[I, I]),
    silent("proxy_on_upstream_connection_close", &[I, I]),
    answers("proxy_on_request_body", &[I, I, I]),
    answers("proxy_on_request_trailers", &[I, I]),
    answers("proxy_on_request_metadata", &[I, I]),
    answers("proxy_on_response_body", &[I, I, I]),
    answers("proxy_on_response_trailers", &[I, I]),
    answers("proxy_on_response_metadata", &[I, I]),
    silent("proxy_on_http_call_response", &[I, I, I, I, I]),
    silent("proxy_on_grpc_receive_initial_metadata", &[I, I, I]),
    silent("proxy_on_grpc_receive", &[I, I, I]),
    silent("proxy_on_grpc_receive_trailing_metadata", &[I, I, I]),
    silent("proxy_on_grpc_close", &[I, I, I]),
    silent("proxy_on_foreign_function", &[I, I, I]),
    silent("proxy_on_log", &[I]),
    answers("proxy_on_done", &[I]),
    silent("proxy_on_delete", &[I]),
    silent("envoy_on_resolve_dns", &[I, I, I]),
    silent("envoy_on_stats_update", &[I, I]),
];

const HEADERS_OLD: [Signature; 2] =
    [answers("proxy_on_request_headers", &[I, I]), answers("proxy_on_response_headers", &[I, I])];

const HEADERS_NEW: [Signature; 2] =
    [answers("proxy_on_request_headers", &[I, I, I]), answers("proxy_on_response_headers", &[I, I, I])];

/// How the host would call the export of that name.
pub(super) fn export(abi: AbiVersion, name: &str) -> Option<Signature> {
    callback(abi, name).or_else(|| find(&START_UP, name))
}

/// How the host would call the callback of that name.
pub(super) fn callback(abi: AbiVersion, name: &str) -> Option<Signature> {
    let headers = if abi == AbiVersion::V0_1_0 { &HEADERS_OLD } else { &HEADERS_NEW };
    find(&CALLBACKS, name).or_else(|| find(headers, name))
}

/// The WASI function of that name.
pub(super) fn wasi(name: &str) -> Option<Signature> {
    find(&WASI_SIGNATURES, name)
}

/// The function of `env` that compilers want.
pub(super) fn runtime(name: &str) -> Option<Signature> {
    find(&RUNTIME_SIGNATURES, name)
}

fn find(table: &[Signature], name: &str) -> Option<Signature> {
    table.iter().find(|signature| signature.name == name).copied()
}

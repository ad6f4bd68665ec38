//! The callbacks that a module exports, looked up once and called with typed arguments.

use wasmtime::{AsContextMut, Instance, StoreContextMut, TypedFunc};

use super::data::Data;
use crate::callback::Callback;

/// The callbacks of one instance, in the order of [`index`].
pub(super) struct Exports([Option<Export>; NAMES.len()]);

/// A callback by the number of its arguments, and whether it answers.
pub(super) enum Export {
    Silent1(TypedFunc<u32, ()>),
    Silent2(TypedFunc<(u32, u32), ()>),
    Silent3(TypedFunc<(u32, u32, u32), ()>),
    Silent5(TypedFunc<(u32, u32, u32, u32, u32), ()>),
    Answer1(TypedFunc<u32, u32>),
    Answer2(TypedFunc<(u32, u32), u32>),
    Answer3(TypedFunc<(u32, u32, u32), u32>),
}

impl Exports {
    pub(super) fn of(instance: &Instance, mut store: impl AsContextMut<Data = Data>) -> Exports {
        Exports(NAMES.map(|name| Export::find(instance, &mut store, name)))
    }

    pub(super) fn get(&self, callback: Callback) -> Option<&Export> {
        self.0.get(index(callback)).and_then(Option::as_ref)
    }
}

impl Export {
    fn find(instance: &Instance, mut store: impl AsContextMut<Data = Data>, name: &str) -> Option<Export> {
        let function = instance.get_func(&mut store, name)?;
        let store = store.as_context_mut();
        // Loading made sure that the types are these; headers have two arguments in ABI 0.1.0 and three later.
        None.or_else(|| function.typed(&store).ok().map(Export::Silent1))
            .or_else(|| function.typed(&store).ok().map(Export::Silent2))
            .or_else(|| function.typed(&store).ok().map(Export::Silent3))
            .or_else(|| function.typed(&store).ok().map(Export::Silent5))
            .or_else(|| function.typed(&store).ok().map(Export::Answer1))
            .or_else(|| function.typed(&store).ok().map(Export::Answer2))
            .or_else(|| function.typed(&store).ok().map(Export::Answer3))
    }

    /// Calls the export; one that has no result answers 0.
    pub(super) fn call(&self, store: StoreContextMut<'_, Data>, callback: Callback) -> wasmtime::Result<u32> {
        let arguments = callback.arguments();
        let mut values = [0; 5];
        for (value, argument) in values.iter_mut().zip(arguments.as_slice()) {
            // Every argument of a callback was a `u32` to begin with.
            *value = *argument as u32;
        }
        let [a, b, c, d, e] = values;
        match self {
            Export::Silent1(function) => function.call(store, a).map(|()| 0),
            Export::Silent2(function) => function.call(store, (a, b)).map(|()| 0),
            Export::Silent3(function) => function.call(store, (a, b, c)).map(|()| 0),
            Export::Silent5(function) => function.call(store, (a, b, c, d, e)).map(|()| 0),
            Export::Answer1(function) => function.call(store, a),
            Export::Answer2(function) => function.call(store, (a, b)),
            Export::Answer3(function) => function.call(store, (a, b, c)),
        }
    }
}

/// Every callback that the host makes.
pub(super) const NAMES: [&str; 25] = [
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_upstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_connection_close",
    "proxy_on_foreign_function",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
];

/// A callback's place among [`NAMES`].
pub(super) const fn index(callback: Callback) -> usize {
    match callback {
        Callback::ContextCreate { .. } => 0,
        Callback::VmStart { .. } => 1,
        Callback::Configure { .. } => 2,
        Callback::Tick { .. } => 3,
        Callback::QueueReady { .. } => 4,
        Callback::RequestHeaders { .. } => 5,
        Callback::RequestBody { .. } => 6,
        Callback::RequestTrailers { .. } => 7,
        Callback::ResponseHeaders { .. } => 8,
        Callback::ResponseBody { .. } => 9,
        Callback::ResponseTrailers { .. } => 10,
        Callback::HttpCallResponse { .. } => 11,
        Callback::GrpcReceiveInitialMetadata { .. } => 12,
        Callback::GrpcReceive { .. } => 13,
        Callback::GrpcReceiveTrailingMetadata { .. } => 14,
        Callback::GrpcClose { .. } => 15,
        Callback::NewConnection { .. } => 16,
        Callback::DownstreamData { .. } => 17,
        Callback::UpstreamData { .. } => 18,
        Callback::DownstreamClose { .. } => 19,
        Callback::UpstreamClose { .. } => 20,
        Callback::ForeignFunction { .. } => 21,
        Callback::Log { .. } => 22,
        Callback::Done { .. } => 23,
        Callback::Delete { .. } => 24,
    }
}

//! The module's exports: the Proxy-Wasm callbacks under their names, each one line.
#![expect(unsafe_code, reason = "an export needs its exact name; nothing unsafe is done here")]

use crate::dispatch;
use crate::stream::Half;
use crate::sys;

macro_rules! exports {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        #[doc = concat!("`", stringify!($name), "` of the Proxy-Wasm specification 0.2.1.")]
        #[unsafe(no_mangle)]
        pub(crate) extern "C-unwind" fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(not(target_arch = "wasm32"))]
            let _guard = crate::last_words::Guard;
            $body
        }
    )*};
}

exports! {
    fn proxy_abi_version_0_2_1() {}

    fn proxy_on_memory_allocate(len: usize) -> *mut u8 {
        sys::allocate(len)
    }

    fn proxy_on_context_create(context: u32, root: u32) {
        dispatch::context_create(context, root);
    }

    fn proxy_on_configure(root: u32, size: usize) -> bool {
        dispatch::configure(root, size)
    }

    fn proxy_on_tick(root: u32) {
        dispatch::tick(root);
    }

    fn proxy_on_request_headers(context: u32, _count: usize, end: bool) -> u32 {
        dispatch::request_headers(context, end) as u32
    }

    fn proxy_on_request_body(context: u32, size: usize, end: bool) -> u32 {
        dispatch::body(context, Half::Request, size, end) as u32
    }

    fn proxy_on_request_trailers(context: u32, _count: usize) -> u32 {
        dispatch::trailers(context, Half::Request) as u32
    }

    fn proxy_on_response_headers(context: u32, _count: usize, end: bool) -> u32 {
        dispatch::response_headers(context, end) as u32
    }

    fn proxy_on_response_body(context: u32, size: usize, end: bool) -> u32 {
        dispatch::body(context, Half::Response, size, end) as u32
    }

    fn proxy_on_response_trailers(context: u32, _count: usize) -> u32 {
        dispatch::trailers(context, Half::Response) as u32
    }

    fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize, _trailers: usize) {
        dispatch::http_call_response(root, token, headers as u32, body_size);
    }

    fn proxy_on_queue_ready(root: u32, queue: u32) {
        dispatch::queue_ready(root, queue);
    }

    fn proxy_on_log(context: u32) {
        dispatch::log(context);
    }

    fn proxy_on_delete(context: u32) {
        dispatch::delete(context);
    }
}

/// What only plugins with gRPC callouts need.
#[cfg(feature = "grpc")]
mod grpc {
    use crate::dispatch;

    exports! {
        fn proxy_on_grpc_receive_initial_metadata(root: u32, token: u32, _headers: u32) {
            dispatch::grpc_metadata(root, token);
        }

        fn proxy_on_grpc_receive(root: u32, token: u32, size: usize) {
            dispatch::grpc_receive(root, token, size);
        }

        fn proxy_on_grpc_receive_trailing_metadata(root: u32, token: u32, _trailers: u32) {
            dispatch::grpc_trailers(root, token);
        }

        fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
            dispatch::grpc_close(root, token, status);
        }
    }
}

/// What a native host may call besides; a module leaves these out, so that the proxy need not enter it for nothing.
#[cfg(not(target_arch = "wasm32"))]
mod unused {
    use crate::tcp::callbacks;

    exports! {
        fn proxy_on_vm_start(_root: u32, _size: usize) -> bool { true }
        fn proxy_on_done(_context: u32) -> bool { true }
        // The macro defines these three in modules with a TCP plugin.
        fn proxy_on_new_connection(context: u32) -> u32 { callbacks::new_connection(context) }
        fn proxy_on_downstream_data(context: u32, size: usize, end: bool) -> u32 {
            callbacks::downstream_data(context, size, end)
        }
        fn proxy_on_upstream_data(context: u32, size: usize, end: bool) -> u32 {
            callbacks::upstream_data(context, size, end)
        }
        fn proxy_on_downstream_connection_close(_context: u32, _peer: u32) {}
        fn proxy_on_upstream_connection_close(_context: u32, _peer: u32) {}
        fn proxy_on_foreign_function(_context: u32, _function: u32, _size: usize) {}
    }
}

/// As above, as long as no plugin wants to know.
#[cfg(all(not(target_arch = "wasm32"), not(feature = "grpc")))]
mod unused_grpc {
    exports! {
        fn proxy_on_grpc_receive_initial_metadata(_root: u32, _token: u32, _headers: u32) {}
        fn proxy_on_grpc_receive(_root: u32, _token: u32, _size: usize) {}
        fn proxy_on_grpc_receive_trailing_metadata(_root: u32, _token: u32, _trailers: u32) {}
        fn proxy_on_grpc_close(_root: u32, _token: u32, _status: u32) {}
    }
}

//! The twin of `handler` on the raw `proxy-wasm` crate.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Handler));
}}

struct Handler;

impl Context for Handler {}

impl HttpContext for Handler {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_request_header("x-hello", Some("wasm"));
        Action::Continue
    }
}

//! The twin of `examples/hello` on the raw `proxy-wasm` crate.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Hello));
}}

struct Hello;

impl Context for Hello {}

impl HttpContext for Hello {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-hello", Some("wasm"));
        Action::Continue
    }
}

//! A handler that never waits: it changes a request header and lets the request pass.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct Handler;

impl Http for Handler {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        request.set_header("x-hello", "wasm")?;
        request.pass()
    }
}

wasmplugin::plugin!(Handler);

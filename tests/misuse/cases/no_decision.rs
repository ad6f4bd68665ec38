//! A handler ends with a decision.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct Forgetful;

impl Http for Forgetful {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        if request.headers()?.contains("x-stop") {
            return request.pass();
        }
        Ok(())
    }
}

fn main() {}

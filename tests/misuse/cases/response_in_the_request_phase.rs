//! There is no response before the request has been forwarded.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct TooEarly;

impl Http for TooEarly {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        if request.status()? == 200 {
            return request.pass();
        }
        request.pass()
    }
}

fn main() {}

//! An exchange is answered once.

use std::rc::Rc;

use wasmplugin::{Done, Http, Reply, Request, Result};

struct Twice;

impl Http for Twice {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        request.reply(Reply::new(401))?;
        request.reply(Reply::new(403))
    }
}

fn main() {}

//! A decision cannot be made up.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct Forger;

impl Http for Forger {
    async fn handle(self: Rc<Self>, _request: Request) -> Result<Done> {
        Ok(Done { _private: () })
    }
}

fn main() {}

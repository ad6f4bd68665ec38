//! Whoever takes the body has let the headers go.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct TooLate;

impl Http for TooLate {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let body = request.into_body(1024).await?;
        request.set_header("x-size", body.bytes().len().to_string())?;
        body.pass()
    }
}

fn main() {}

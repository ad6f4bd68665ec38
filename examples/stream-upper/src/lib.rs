//! Turns a response into capital letters, chunk by chunk, without keeping it.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

struct StreamUpper;

impl Http for StreamUpper {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        let mut body = request.forward().await?.into_chunks()?;
        while let Some(chunk) = body.next().await? {
            body.send(chunk.to_ascii_uppercase());
        }
        body.pass()
    }
}

wasmplugin::plugin!(StreamUpper);

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn every_chunk_is_in_capitals() {
        let mut proxy = Proxy::native(super::register)
            .upstream(|_| Answer::new(200).chunks(["chunk by ", "chunk"]))
            .start()
            .unwrap();
        assert_eq!(proxy.get("/").send().unwrap().text(), "CHUNK BY CHUNK");
    }
}

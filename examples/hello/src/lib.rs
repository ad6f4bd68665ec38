//! Adds a header to every response.

use wasmplugin::{Flow, Http, ResponseHead, Result};

struct Hello;

impl Http for Hello {
    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        response.set_header("x-hello", "wasm")?;
        Ok(Flow::Continue)
    }
}

wasmplugin::plugin!(Hello);

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::Proxy;

    #[test]
    fn every_response_says_hello() {
        let mut proxy = Proxy::native(super::register).start().unwrap();
        let answer = proxy.get("/").send().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("x-hello"), Some("wasm"));
    }
}

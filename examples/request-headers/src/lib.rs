//! Reads, sets and removes headers on both sides of an exchange.

use wasmplugin::{Flow, Http, RequestHead, ResponseHead, Result};

struct RequestHeaders;

impl Http for RequestHeaders {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let cookies = request.headers()?.get_all("cookie").count();
        request.set_header("x-cookies", cookies.to_string())?;
        request.remove_header("x-internal")?;
        Ok(Flow::Continue)
    }

    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        for name in ["server", "x-powered-by"] {
            response.remove_header(name)?;
        }
        Ok(Flow::Continue)
    }
}

wasmplugin::plugin!(RequestHeaders);

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn both_sides_see_changed_headers() {
        let upstream = |_: &wasmplugin_host::test::Request| Answer::new(200).header("x-powered-by", "steam");
        let mut proxy = Proxy::native(super::register).upstream(upstream).start().unwrap();
        let answer = proxy.get("/").header("cookie", "a=1").header("x-internal", "yes").send().unwrap();
        assert_eq!(answer.header("x-powered-by"), None);
        let seen = proxy.upstream_requests();
        assert_eq!(seen[0].header("x-cookies"), Some("1"));
        assert_eq!(seen[0].header("x-internal"), None);
    }
}

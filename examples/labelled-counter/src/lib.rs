//! Counts exchanges by method and status.

use wasmplugin::metrics::CounterFamily;
use wasmplugin::{Http, LogEntry};

struct LabelledCounter {
    requests: CounterFamily<2>,
}

impl Http for LabelledCounter {
    fn on_log(&self, entry: &LogEntry) {
        let method = entry.request_headers().unwrap_or_default();
        let code = entry.response_headers().unwrap_or_default();
        let values = [method.get(":method"), code.get(":status")];
        self.requests.inc(values.map(Option::unwrap_or_default), 1);
    }
}

wasmplugin::plugin!(LabelledCounter { requests: CounterFamily::new("requests_total", ["method", "code"]) });

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn each_pair_of_method_and_status_is_counted() {
        let upstream = |request: &wasmplugin_host::test::Request| match request.path() {
            "/missing" => Answer::new(404),
            _ => Answer::new(200),
        };
        let mut proxy = Proxy::native(super::register).upstream(upstream).start().unwrap();
        for path in ["/", "/", "/missing"] {
            proxy.get(path).send().unwrap();
        }
        assert_eq!(proxy.metric("method=.=GET;.;code=.=200;.;requests_total"), Some(2));
        assert_eq!(proxy.metric("method=.=GET;.;code=.=404;.;requests_total"), Some(1));
    }
}

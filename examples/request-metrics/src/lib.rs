//! Counts exchanges and records the size of requests.

use wasmplugin::metrics::{Counter, Gauge, Histogram};
use wasmplugin::{Flow, Http, LogEntry, RequestHead, Result};

struct RequestMetrics {
    total: Counter,
    active: Gauge,
    size: Histogram,
}

impl Http for RequestMetrics {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        self.total.inc(1);
        self.active.add(1);
        if let Some(length) = request.headers()?.get("content-length") {
            self.size.record(length.to_str()?.parse().unwrap_or_default());
        }
        Ok(Flow::Continue)
    }

    fn on_log(&self, _: &LogEntry) {
        self.active.add(-1);
    }
}

wasmplugin::plugin!(RequestMetrics {
    total: Counter::new("requests_total"),
    active: Gauge::new("requests_active"),
    size: Histogram::new("request_size"),
});

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::Proxy;

    #[test]
    fn requests_are_counted_and_measured() {
        let mut proxy = Proxy::native(super::register).start().unwrap();
        let upload = proxy.post("/").header("content-length", "5").open().unwrap();
        assert_eq!(proxy.metric("requests_active"), Some(1));
        proxy.send_data(&upload, "hello", true).unwrap();
        proxy.finish(upload).unwrap();
        assert_eq!(proxy.metric("requests_total"), Some(1));
        assert_eq!(proxy.metric("requests_active"), Some(0));
    }
}

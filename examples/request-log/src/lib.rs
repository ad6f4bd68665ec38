//! Writes a line to the log for every exchange.

use wasmplugin::{Http, LogEntry};

struct RequestLog;

impl Http for RequestLog {
    fn on_log(&self, entry: &LogEntry) {
        let request = entry.request_headers().unwrap_or_default();
        let response = entry.response_headers().unwrap_or_default();
        let [method, path] = [":method", ":path"].map(|name| request.get(name).unwrap_or_default());
        match response.get(":status").unwrap_or_default() {
            status if status.as_bytes().starts_with(b"5") => log::warn!("{method} {path} {status}"),
            status => log::info!("{method} {path} {status}"),
        }
    }
}

wasmplugin::plugin!(RequestLog);

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Answer, LogLevel, Proxy};

    #[test]
    fn every_exchange_leaves_a_line() {
        let upstream = |request: &wasmplugin_host::test::Request| match request.path() {
            "/broken" => Answer::new(502),
            _ => Answer::new(200),
        };
        let mut proxy = Proxy::native(super::register).upstream(upstream).start().unwrap();
        for path in ["/", "/broken"] {
            proxy.get(path).send().unwrap();
        }
        let logs: Vec<_> = proxy.logs().into_iter().map(|line| (line.level, line.text)).collect();
        let expected = [(LogLevel::Info, "GET / 200".to_owned()), (LogLevel::Warn, "GET /broken 502".to_owned())];
        assert_eq!(logs, expected);
    }
}

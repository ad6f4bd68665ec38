//! `request-log` writes a line per exchange.

use wasmplugin_host::test::{Answer, LogLevel, Request};

use crate::engines::on_every_engine;

on_every_engine! { request_log as "request-log";
    fn every_exchange_leaves_one_line(proxy) {
        let upstream = |request: &Request| Answer::new(if request.path() == "/broken" { 502 } else { 200 });
        let mut proxy = proxy.upstream(upstream).start()?;
        for path in ["/a?b=c", "/broken"] {
            proxy.get(path).send()?;
        }
        let lines: Vec<_> = proxy.logs().into_iter().map(|line| (line.level, line.text)).collect();
        let expected = [(LogLevel::Info, "GET /a?b=c 200".to_owned()), (LogLevel::Warn, "GET /broken 502".to_owned())];
        assert_eq!(lines, expected);
        Ok(())
    }
}

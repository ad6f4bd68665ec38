//! `request-metrics` counts exchanges over all workers.

use crate::engines::on_every_engine;

on_every_engine! { request_metrics as "request-metrics";
    fn the_gauge_is_what_is_under_way(proxy) {
        let mut proxy = proxy.workers(2).start()?;
        let upload = proxy.post("/").header("content-length", "5").open()?;
        assert!(proxy.waiting(&upload));
        assert_eq!(proxy.metric("requests_active"), Some(1));
        proxy.send_data(&upload, "hello", true)?;
        proxy.finish(upload)?;
        proxy.get("/").send()?;
        assert_eq!(proxy.metric("requests_active"), Some(0));
        assert_eq!(proxy.metric("requests_total"), Some(2));
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn sizes_are_samples_of_a_histogram(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.histogram("request_size"), None);
        for body in ["hello", "you"] {
            proxy.post("/").body(body).send()?;
        }
        let samples = proxy.histogram("request_size").unwrap();
        assert_eq!(samples.count, 2);
        assert!((samples.sum - 8.0).abs() < 0.4, "{samples:?}");
        let page = proxy.prometheus();
        for line in ["# TYPE requests_total counter", "requests_total{} 2", "request_size_bucket{le=\"1\"} 0", "request_size_count{} 2"] {
            assert!(page.lines().any(|have| have == line), "no `{line}` in {page}");
        }
        Ok(())
    }
}

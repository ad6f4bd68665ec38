//! What all workers share is exact: counters, cells, and metrics, with and without labels.

use crate::engines::on_every_engine;

/// Requests at once, and additions in each.
const REQUESTS: usize = 400;
const ADDITIONS: usize = 500;

on_every_engine! { shared_state as "shared-state";
    fn four_workers_lose_no_addition(proxy) {
        let mut proxy = proxy.workers(4).start()?;
        assert_eq!(proxy.get("/").header("x-name", "ada").send()?.text(), "0 since ada");
        let mut open = Vec::new();
        for _ in 0..REQUESTS {
            open.push(proxy.get(&format!("/{ADDITIONS}")).header("x-name", "bob").open()?);
        }
        for answer in proxy.finish_all(open) {
            assert_eq!(answer?.status(), 200, "{:?}", proxy.logs());
        }
        let sum = REQUESTS * ADDITIONS;
        assert_eq!(proxy.get("/").send()?.text(), format!("{sum} since ada"));
        assert_eq!(proxy.metric("name=.=bob;.;additions"), Some(sum as u64));
        Ok(())
    }

    fn labels_gauges_and_histograms_reach_the_proxy(proxy) {
        let mut proxy = proxy.start()?;
        for name in ["a;.;b=.=c", "", "c:/d \"e\" \\", "too", "many"] {
            assert_eq!(proxy.get("/7").header("x-name", name).send()?.status(), 200);
        }
        assert_eq!(proxy.metric("name=.=a%3B.%3Bb%3D.=c;.;additions"), Some(7));
        assert_eq!(proxy.metric("name=.=;.;additions"), Some(7));
        assert_eq!(proxy.metric("name=.=c:/d \"e\" \\;.;additions"), Some(7));
        assert_eq!(proxy.metric("name=.=other;.;additions"), Some(14));
        assert_eq!(proxy.metric("last"), Some(6));
        assert_eq!(proxy.findings(), []);
        Ok(())
    }
}

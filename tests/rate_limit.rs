//! `rate-limit` lets nobody pass more often than the bucket allows, however many workers there are.

use std::time::{Duration, Instant};

use serde_json::json;
use wasmplugin_host::test::Builder;

use crate::engines::on_every_engine;

fn limited(proxy: Builder, per_second: u32, burst: u32) -> Builder {
    proxy.config(json!({"header": "x-user", "limit": {"per_second": per_second, "burst": burst}}))
}

on_every_engine! { rate_limit as "rate-limit";
    fn who_asks_too_often_is_told_when_to_come_back(proxy) {
        let mut proxy = limited(proxy, 1, 2).start()?;
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(proxy.get("/").header("x-user", "ada").send()?);
        }
        assert_eq!(answers.iter().map(|answer| answer.status()).collect::<Vec<_>>(), [200, 200, 429]);
        assert_eq!(answers[2].header("retry-after"), Some("1"));
        assert_eq!(proxy.get("/").header("x-user", "bob").send()?.status(), 200);
        proxy.advance(Duration::from_millis(1_100));
        assert_eq!(proxy.get("/").header("x-user", "ada").send()?.status(), 200);
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn four_workers_share_one_bucket(proxy) {
        const BURST: u32 = 50;
        const PER_SECOND: u32 = 20;
        let mut proxy = limited(proxy, PER_SECOND, BURST).workers(4).start()?;
        let begin = Instant::now();
        let mut open = Vec::new();
        for _ in 0..400 {
            open.push(proxy.get("/").header("x-user", "ada").open()?);
        }
        let mut passed = 0;
        for answer in proxy.finish_all(open) {
            passed += u32::from(answer?.status() == 200);
        }
        let most = f64::from(BURST) + f64::from(PER_SECOND) * begin.elapsed().as_secs_f64();
        assert!(passed >= BURST && f64::from(passed) <= most, "{passed} passed, at most {most} may");
        assert_eq!(proxy.upstream_requests().len(), passed as usize);
        Ok(())
    }

    fn a_limit_of_nothing_is_refused(proxy) {
        let error = limited(proxy, 0, 1).start().map(drop).unwrap_err().to_string();
        assert!(error.contains("`limit.per_second`"), "{error}");
        Ok(())
    }
}

/// The module, for tests of what it says about itself.
pub(crate) fn module() -> std::path::PathBuf {
    PLUGIN.module()
}

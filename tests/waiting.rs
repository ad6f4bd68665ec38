//! Timers, exchanges that wait for each other, and a panic while others wait.

use std::time::Duration;

use wasmplugin_host::test::{Engine, Failure};

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn a_sleep_ends(proxy) {
        let mut proxy = proxy.start()?;
        let exchanges: Vec<_> = (0..20).map(|_| proxy.get("/sleep").open()).collect::<Result<_, _>>()?;
        for answer in proxy.finish_all(exchanges) {
            assert_eq!(answer?.status(), 200);
        }
        assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        Ok(())
    }

    fn one_exchange_wakes_others(proxy) {
        let mut proxy = proxy.start()?;
        let held: Vec<_> = (0..5).map(|_| proxy.get("/hold-gate").open()).collect::<Result<_, _>>()?;
        proxy.advance(Duration::from_millis(100));
        assert_eq!(proxy.upstream_requests(), []);
        assert_eq!(proxy.get("/open-gate").send()?.status(), 200);
        for answer in proxy.finish_all(held) {
            assert_eq!(answer?.status(), 200);
        }
        assert_eq!(proxy.upstream_requests().len(), 6);
        Ok(())
    }

    fn a_panic_answers_everybody_who_waits(proxy) {
        let mut proxy = proxy.start()?;
        let held: Vec<_> = (0..5).map(|_| proxy.get("/hold-gate").open()).collect::<Result<_, _>>()?;
        proxy.advance(Duration::from_millis(100));
        assert_eq!(proxy.get("/panic").send()?.status(), 503);
        for answer in proxy.finish_all(held) {
            assert_eq!(answer?.status(), 503);
        }
        assert_eq!(proxy.upstream_requests(), []);
        // Natively the message goes to the test's own output.
        let logs = proxy.logs();
        let told = logs.iter().any(|line| line.text.contains("the probe panics on request"));
        assert!(told || proxy.engine() == Engine::Native, "{logs:?}");
        // The VM is gone, and under the default policy it stays so.
        assert_eq!(proxy.get("/").send()?.status(), 503);
        Ok(())
    }

    fn a_panic_answers_those_whose_response_waits(proxy) {
        let mut proxy = proxy.start()?;
        let held = proxy.get("/hold-gate").open()?;
        proxy.advance(Duration::from_millis(100));
        assert_eq!(proxy.get("/response-panic").send()?.status(), 503);
        assert_eq!(proxy.finish(held)?.status(), 503);
        Ok(())
    }

    fn an_exchange_that_nobody_wakes_hangs_and_is_seen(proxy) {
        let mut proxy = proxy.patience(Duration::from_millis(500)).start()?;
        match proxy.get("/hang").send() {
            Err(Failure::Hung(_)) => Ok(()),
            other => Err(format!("expected a hung exchange, got {other:?}").into()),
        }
    }
}

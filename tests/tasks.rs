//! What happens beside the exchanges: background tasks, singletons, queues, a leader, work that outlives its exchange.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmplugin_host::test::{Answer, Builder, Engine, Failure, Proxy, Request};

use crate::engines::on_every_engine;

/// The service of the background task answers; other paths take a while.
fn served(proxy: Builder) -> Builder {
    proxy.cluster("service", |request: &Request| match request.path() {
        "/answer" => Answer::new(200).body("the answer"),
        _ => Answer::new(200).body("slow").after(Duration::from_millis(300)),
    })
}

fn text(proxy: &mut Proxy, path: &str) -> Result<String, Failure> {
    Ok(proxy.get(path).send()?.text())
}

fn asked(proxy: &Proxy, path: &str) -> usize {
    proxy.cluster_requests("service").iter().filter(|request| request.path() == path).count()
}

/// Lets time pass until it is so; a real Envoy takes its time.
fn until(proxy: &mut Proxy, mut so: impl FnMut(&mut Proxy) -> Result<bool, Failure>) -> Result<(), String> {
    for _ in 0..200 {
        if so(proxy).map_err(|failure| failure.to_string())? {
            return Ok(());
        }
        proxy.advance(Duration::from_millis(50));
    }
    Err(format!("it never was so: {:?}", proxy.logs()))
}

on_every_engine! { tasks as "tasks";
    fn the_background_task_answers_everybody_who_waits(proxy) {
        let mut proxy = served(proxy).start()?;
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(proxy.get("/watch").open()?);
        }
        for answer in proxy.finish_all(open) {
            assert_eq!(answer?.text(), "the answer");
        }
        assert_eq!(proxy.findings(), []);
        let changed = proxy.get("/changed").open()?;
        assert!(proxy.waiting(&changed), "nothing changes");
        proxy.abort(changed);
        let leaks = proxy.leaks();
        assert!(leaks.is_empty(), "{leaks}");
        Ok(())
    }

    fn a_background_task_that_fails_starts_again(proxy) {
        let asked = AtomicU64::new(0);
        let mut proxy = proxy
            .cluster("service", move |_: &Request| match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Answer::reset_after_headers(),
                _ => Answer::new(200).body("at last"),
            })
            .start()?;
        assert_eq!(text(&mut proxy, "/watch")?, "at last");
        let expected = "the background task failed and starts again in 1 s: callout to cluster `service`";
        assert!(proxy.logs().iter().any(|line| line.text.starts_with(expected)), "{:?}", proxy.logs());
        Ok(())
    }

    fn what_ends_with_an_exchange_wakes_another(proxy) {
        let mut proxy = served(proxy).start()?;
        let waiting = proxy.get("/logged").open()?;
        assert!(proxy.waiting(&waiting));
        assert_eq!(proxy.get("/").send()?.status(), 200);
        assert!(proxy.waiting(&waiting));
        assert_eq!(proxy.get("/").send()?.status(), 200);
        assert_eq!(proxy.finish(waiting)?.text(), "2");
        Ok(())
    }

    fn one_computation_serves_all_even_if_who_began_it_leaves(proxy) {
        let mut proxy = served(proxy).start()?;
        let first = proxy.get("/once").open()?;
        until(&mut proxy, |proxy| Ok(asked(proxy, "/once") == 1))?;
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(proxy.get("/once").open()?);
        }
        proxy.abort(first);
        for answer in proxy.finish_all(others) {
            assert_eq!(answer?.text(), "slow");
        }
        assert_eq!(text(&mut proxy, "/once")?, "slow");
        assert_eq!(asked(&proxy, "/once"), 1);
        text(&mut proxy, "/once-forgotten")?;
        assert_eq!(text(&mut proxy, "/once")?, "slow");
        assert_eq!(asked(&proxy, "/once"), 2);
        let leaks = proxy.leaks();
        assert!(leaks.is_empty(), "{leaks}");
        Ok(())
    }

    fn a_computation_that_fails_is_tried_again(proxy) {
        let asked = AtomicU64::new(0);
        let mut proxy = proxy
            .cluster("service", move |request: &Request| match request.path() {
                "/once" if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Answer::reset_after_headers().after(Duration::from_secs(2))
                }
                _ => Answer::new(200).body("fine"),
            })
            .start()?;
        let both = [proxy.get("/once").open()?, proxy.get("/once").open()?];
        for answer in proxy.finish_all(both) {
            assert_eq!(answer?.status(), 503);
        }
        assert_eq!(text(&mut proxy, "/once")?, "fine");
        Ok(())
    }

    fn shielded_work_outlives_its_exchange(proxy) {
        let mut proxy = served(proxy).start()?;
        let left = proxy.get("/shielded").open()?;
        until(&mut proxy, |proxy| Ok(asked(proxy, "/slow") == 1))?;
        proxy.abort(left);
        assert_eq!(proxy.get("/shielded-in-a-hook").send()?.status(), 200);
        until(&mut proxy, |proxy| Ok(text(proxy, "/counts")?.starts_with("1 hooks, 1 outlived")))?;
        assert_eq!(text(&mut proxy, "/shielded")?, "slow");
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn shielded_work_is_bounded(proxy) {
        let mut proxy = served(proxy).start()?;
        // One of the thousand is the background task.
        assert_eq!(text(&mut proxy, "/shielded-many")?, "1001");
        assert_eq!(text(&mut proxy, "/shielded")?, "slow");
        Ok(())
    }

    fn one_of_all_workers_leads(proxy) {
        let mut proxy = served(proxy).workers(4).start()?;
        until(&mut proxy, |proxy| Ok(text(proxy, "/counts")?.ends_with("1 led")))?;
        // Until each of them had its chance.
        until(&mut proxy, |proxy| Ok(asked(proxy, "/answer") >= 4))?;
        assert!(text(&mut proxy, "/counts")?.ends_with(" 1 led"));
        if proxy.engine() != Engine::Envoy {
            proxy.advance(Duration::from_secs(59));
            assert!(text(&mut proxy, "/counts")?.ends_with(" 1 led"));
            proxy.advance(Duration::from_secs(3));
            assert!(text(&mut proxy, "/counts")?.ends_with(" 2 led"), "a minute later again");
        }
        Ok(())
    }

    fn a_singleton_gets_what_all_workers_send(proxy) {
        let singleton = proxy.clone().root_id("collector").name("collector");
        let mut proxy = served(proxy).workers(4).singleton(singleton).start()?;
        let send = |proxy: &mut Proxy, word: &str| proxy.get("/send").header("x-word", word.to_owned()).send();
        until(&mut proxy, |proxy| Ok(send(proxy, "a")?.status() == 200))?;
        for word in ["b", "c", "d", "e"] {
            assert_eq!(send(&mut proxy, word)?.status(), 200);
        }
        until(&mut proxy, |proxy| Ok(text(proxy, "/received")? == "abcde"))?;
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn a_queue_that_nobody_registered_is_an_error(proxy) {
        let mut proxy = served(proxy).start()?;
        assert_eq!(proxy.get("/send").header("x-word", "a").send()?.status(), 500);
        let expected = "host call `proxy_resolve_shared_queue` answered: not found";
        assert!(proxy.logs().iter().any(|line| line.text.ends_with(expected)), "{:?}", proxy.logs());
        Ok(())
    }

    fn two_keys_of_one_slot_displace_each_other_or_not(proxy) {
        let mut proxy = served(proxy).workers(2).start()?;
        assert_eq!(text(&mut proxy, "/put")?, "true");
        assert_eq!(text(&mut proxy, "/keep")?, "false");
        assert_eq!(text(&mut proxy, "/names")?, r#"Some("ada") None"#);
        assert_eq!(text(&mut proxy, "/displace")?, "true");
        assert_eq!(text(&mut proxy, "/names")?, r#"None Some("bob")"#);
        assert_eq!(text(&mut proxy, "/keep")?, "false", "it has a value already");
        proxy.advance(Duration::from_millis(2_100));
        assert_eq!(text(&mut proxy, "/names")?, "None None");
        assert_eq!(text(&mut proxy, "/put")?, "true");
        assert_eq!([text(&mut proxy, "/take")?, text(&mut proxy, "/take")?], ["true", "false"]);
        assert_eq!(text(&mut proxy, "/keep")?, "true");
        Ok(())
    }

    fn an_unknown_root_id_is_refused_with_those_known(proxy) {
        let error = proxy.root_id("collecter").start().map(drop).unwrap_err().to_string();
        let expected = "no plugin of this module has the root id `collecter`; known are `collector`, ``";
        assert!(error.contains(expected), "{error}");
        Ok(())
    }

    fn a_singleton_among_the_filters_refuses_everything(proxy) {
        let mut proxy = proxy.root_id("collector").start()?;
        assert_eq!(proxy.get("/").send()?.status(), 500);
        assert!(proxy.upstream_requests().is_empty());
        let expected = "a singleton takes none, so it must not be among the filters";
        assert!(proxy.logs().iter().any(|line| line.text.ends_with(expected)), "{:?}", proxy.logs());
        Ok(())
    }
}

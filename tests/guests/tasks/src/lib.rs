//! Shows what happens beside the exchanges: background tasks, singletons, queues, and what exchanges share; by the path.

use std::rc::Rc;
use std::time::Duration;

use wasmplugin::background::Singleton;
use wasmplugin::once::Once;
use wasmplugin::shared::{Collision, Shared, SharedMap};
use wasmplugin::shielded::shielded;
use wasmplugin::time::sleep;
use wasmplugin::watch::Watch;
use wasmplugin::{Cluster, Done, Flow, Http, LogEntry, Reply, Request, RequestHead, Result};

const SHARED: Shared = Shared::of("tasks");

/// What the root id `""` runs: a handler, and a background task that asks `service` again and again.
#[derive(Default)]
struct Tasks {
    answer: Watch<Option<String>>,
    key: Once<String>,
    logged: Watch<u64>,
}

impl Tasks {
    async fn ask(path: &'static str) -> Result<String> {
        let answer = Cluster::named("service")?.get(path).send().await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }
}

fn names(collision: Collision) -> SharedMap<String> {
    SHARED.map("names", 1, Duration::from_secs(2)).on_collision(collision)
}

impl Http for Tasks {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        match request.path()? {
            "/shielded-in-a-hook" => {
                drop(shielded(async {
                    sleep(Duration::from_millis(20)).await;
                    SHARED.counter("hooks").add(1)
                }));
                Ok(Flow::Continue)
            }
            _ => Ok(Flow::Continue),
        }
    }

    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        let path = request.path()?.to_owned();
        let text = match path.split_once('/').map_or("", |(_, path)| path) {
            "watch" => self.answer.wait_for(Option::is_some).await.unwrap_or_default(),
            "changed" => self.answer.changed().await.unwrap_or_default(),
            "logged" => self.logged.wait_for(|times| *times > 1).await.to_string(),
            "once" => self.key.get_or_try_init(|| Self::ask("/once")).await?,
            "once-forgotten" => {
                self.key.clear();
                String::new()
            }
            "shielded" => {
                let work = async {
                    let answer = Self::ask("/slow").await?;
                    SHARED.counter("outlived").add(1)?;
                    Result::<String>::Ok(answer)
                };
                shielded(work).await??
            }
            "shielded-many" => {
                let mut refused = 0;
                let work = (0..2_000).map(|_| shielded(sleep(Duration::from_millis(5)))).collect::<Vec<_>>();
                for work in work {
                    refused += u32::from(work.await.is_err());
                }
                refused.to_string()
            }
            "counts" => format!(
                "{} hooks, {} outlived, {} led",
                SHARED.counter("hooks").value()?,
                SHARED.counter("outlived").value()?,
                SHARED.counter("led").value()?
            ),
            "send" => {
                let word = request.headers()?.get("x-word").unwrap_or_default().to_str()?.to_owned();
                SHARED.queue::<String>("words").send(&word)?;
                String::new()
            }
            "received" => SHARED.cell::<String>("received").get()?.unwrap_or_default(),
            "put" => names(Collision::Overwrite).insert("a", &"ada".to_owned())?.to_string(),
            "displace" => names(Collision::Overwrite).insert("b", &"bob".to_owned())?.to_string(),
            "keep" => names(Collision::Keep).insert_if_absent("b", &"bob".to_owned())?.to_string(),
            "take" => names(Collision::Keep).remove("a")?.to_string(),
            "names" => {
                let names = names(Collision::Keep);
                format!("{:?} {:?}", names.get("a")?, names.get("b")?)
            }
            _ => return request.pass(),
        };
        request.reply(Reply::new(200).body(text))
    }

    async fn background(self: Rc<Self>) -> Result<()> {
        let leader = SHARED.leader("office").lease(Duration::from_secs(3));
        let lead = leader.run(Duration::from_secs(60), async || SHARED.counter("led").add(1).map(drop));
        let ask = async {
            loop {
                self.answer.set(Some(Self::ask("/answer").await?));
                sleep(Duration::from_secs(600)).await;
            }
        };
        wasmplugin::future::race(lead, ask).await
    }

    fn on_log(&self, _entry: &LogEntry) {
        self.logged.set(self.logged.get() + 1);
    }
}

/// What the root id `collector` runs: it puts together what the others send.
struct Collector;

impl Singleton for Collector {
    async fn run(self: Rc<Self>) -> Result<()> {
        let words = SHARED.queue::<String>("words").consume()?;
        loop {
            let word = words.next().await?;
            SHARED.cell::<String>("received").update(|words| words.unwrap_or_default() + &word)?;
        }
    }
}

wasmplugin::plugin!("collector" => Collector: Singleton; "" => Tasks {
    answer: Watch::default(),
    key: Once::default(),
    logged: Watch::default(),
});

//! Adds to shared state as often as the path asks for: `/100` adds one a hundred times; `/` tells what there is.

use wasmplugin::metrics::{CounterFamily, Gauge, Histogram};
use wasmplugin::shared::Shared;
use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

const SHARED: Shared = Shared::of("shared-state");

struct SharedState {
    additions: CounterFamily<1>,
    last: Gauge,
    sizes: Histogram,
}

impl Http for SharedState {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let (counter, first) = (SHARED.counter("sum"), SHARED.cell::<String>("first"));
        let times = request.path()?.trim_start_matches('/').parse::<u64>().unwrap_or_default();
        for _ in 0..times {
            counter.add(1)?;
        }
        let name = request.headers()?.get("x-name").unwrap_or_default();
        self.additions.inc([name], times);
        self.last.set(times);
        self.last.add(-1);
        self.sizes.record(times);
        let first = first.get_or_insert_with(|| String::from_utf8_lossy(name.as_bytes()).into_owned())?;
        Ok(Reply::new(200).body(format!("{} since {first}", counter.value()?)).into())
    }
}

wasmplugin::plugin!(SharedState {
    additions: CounterFamily::new("additions", ["name"]).limit(3),
    last: Gauge::new("last"),
    sizes: Histogram::new("sizes"),
});

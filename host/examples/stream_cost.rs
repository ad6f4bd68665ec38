//! What one exchange costs in a module, without sockets: time, host calls, and fuel.
//!
//! Run with `cargo run --release -p wasmplugin-host --features wasm --example stream_cost -- [module.wasm]`;
//! without a path it builds and measures `examples/hello`.

#[cfg(feature = "wasm")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::run(std::env::args().nth(1))
}

#[cfg(not(feature = "wasm"))]
fn main() {
    eprintln!("add `--features wasm`");
}

#[cfg(feature = "wasm")]
mod measure {
    use std::error::Error;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use wasmplugin_host::clock::Clock;
    use wasmplugin_host::entrance::Entrance;
    use wasmplugin_host::headers::HeaderMap;
    use wasmplugin_host::module::{self, build};
    use wasmplugin_host::services::Services;
    use wasmplugin_host::wasm::{Module, Settings};
    use wasmplugin_host::worker::{ChainId, Code, Connection, Options, Plugin, Worker};

    /// Exchanges per round; the fastest of the rounds counts, because a machine is only ever disturbed upwards.
    const EXCHANGES: u32 = 20_000;
    const ROUNDS: u32 = 15;

    pub(super) fn run(path: Option<String>) -> Result<(), Box<dyn Error>> {
        let path = match path {
            Some(path) => path.into(),
            None => build::wasm(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello"))?,
        };
        let source = module::Module::read(&path)?;
        println!("{}: {} bytes, ABI {}", path.display(), source.info().size, source.abi());

        let started = Instant::now();
        let module = Module::compile(source.clone(), Settings::default())?;
        println!("compile        {:>9.1?}", started.elapsed());
        let started = Instant::now();
        let mut worker = start(&module)?;
        println!("start          {:>9.1?}", started.elapsed());

        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..EXCHANGES {
                exchange(&mut worker);
            }
            best = best.min(started.elapsed() / EXCHANGES);
        }
        println!("exchange       {best:>9.1?}");

        let module = Module::compile(source, Settings { fuel: true })?;
        let mut worker = start(&module)?;
        let before = worker.counters();
        if let Some(meter) = module.meter() {
            meter.reset();
            exchange(&mut worker);
            let counters = worker.counters();
            println!("callbacks      {:>9}", counters.callbacks - before.callbacks);
            println!("host calls     {:>9}", counters.host_calls - before.host_calls);
            println!("fuel           {:>9}", meter.total());
            for used in meter.used() {
                println!("  {:<30} {:>6}", used.callback, used.fuel);
            }
        }
        Ok(())
    }

    fn start(module: &Module) -> Result<Worker, Box<dyn Error>> {
        let services = Services::new(Clock::manual(Duration::from_secs(1)), Box::new(|_| {}));
        let plugin = Plugin::new("plugin", Code::Wasm(Arc::new(module.clone())));
        let mut worker = Worker::new(Arc::new(services), Options::default());
        worker.add_chain(&[plugin], Entrance::default())?;
        Ok(worker)
    }

    /// A GET that is answered with a short body.
    fn exchange(worker: &mut Worker) {
        let id = worker.open(ChainId::FIRST, Connection::default());
        let mut request = HeaderMap::request();
        for (name, value) in
            [(":authority", "a"), (":path", "/"), (":method", "GET"), (":scheme", "http"), ("user-agent", "x")]
        {
            request.add(name.as_bytes(), value.as_bytes());
        }
        worker.request_headers(id, request, true);
        let mut response = HeaderMap::response();
        for (name, value) in [(":status", "200"), ("content-length", "5"), ("content-type", "text/plain")] {
            response.add(name.as_bytes(), value.as_bytes());
        }
        worker.response_headers(id, response, false);
        worker.response_data(id, Bytes::from_static(b"hello"), true);
        worker.finished(id);
        while worker.next_effect().is_some() {}
    }
}

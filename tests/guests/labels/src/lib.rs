//! Counts under whatever labels the request asks for, in hexadecimal so that any bytes can be asked for.

use wasmplugin::metrics::{CounterFamily, GaugeFamily, HistogramFamily};
use wasmplugin::{Flow, Http, RequestHead, Result};

struct Labels {
    requests: CounterFamily<2>,
    last: GaugeFamily<1>,
    sizes: HistogramFamily<1>,
}

impl Http for Labels {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let headers = request.headers()?;
        let [one, two] = ["x-one", "x-two"].map(|name| bytes(headers.get(name).unwrap_or_default().as_bytes()));
        self.requests.inc([&one, &two], 1);
        self.last.set([&one], 7);
        self.sizes.record([&one], 3);
        Ok(Flow::Continue)
    }
}

wasmplugin::plugin!(Labels {
    requests: CounterFamily::new("label_requests", ["one", "two"]),
    last: GaugeFamily::new("label_last", ["one"]),
    sizes: HistogramFamily::new("label_sizes", ["three"]),
});

fn bytes(hexadecimal: &[u8]) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hexadecimal.chunks(2).filter_map(byte).collect()
}

//! All counters as Prometheus reads them, under Envoy's names where Envoy counts the same.

use wasmplugin_host::prometheus::{Page, label};

use crate::board::Board;
use crate::stats::{ClusterStats, Count, WorkerStats};

/// Everything that the proxy and its plugins have counted.
pub(crate) fn render(board: &Board) -> String {
    let mut page = Page::default();
    page.plugins(&board.services.metrics().snapshot(), &[]);
    listener(&mut page, board);
    clusters(&mut page, board);
    vms(&mut page, board);
    page.into_text()
}

fn listener(page: &mut Page, board: &Board) {
    let prefix = label("envoy_http_conn_manager_prefix", &board.settings.stat_prefix);
    let mut one = |name: &str, kind, which: fn(&WorkerStats) -> &Count| {
        let value = board.workers.iter().map(|worker| which(&worker.stats).get()).sum();
        page.family(name, kind, [(prefix.clone(), value)]);
    };
    one("envoy_http_downstream_cx_total", "counter", |stats| &stats.connections);
    one("envoy_http_downstream_cx_active", "gauge", |stats| &stats.connections_active);
    one("envoy_http_downstream_cx_idle_timeout", "counter", |stats| &stats.connection_timeouts);
    one("envoy_http_downstream_cx_protocol_error", "counter", |stats| &stats.protocol_errors);
    one("envoy_http_downstream_rq_total", "counter", |stats| &stats.requests);
    one("envoy_http_downstream_rq_active", "gauge", |stats| &stats.requests_active);
    one("envoy_http_downstream_rq_rx_reset", "counter", |stats| &stats.client_resets);
    one("envoy_http_downstream_rq_tx_reset", "counter", |stats| &stats.server_resets);
    one("envoy_http_downstream_rq_idle_timeout", "counter", |stats| &stats.idle_timeouts);
    let overflow = "envoy_listener_downstream_cx_overflow";
    page.family(overflow, "counter", [(String::new(), board.overflows.get())]);
    let classes = sum(board.workers.iter().map(|worker| worker.stats.responses.get()));
    let by_class = (1..).zip(classes);
    page.family(
        "envoy_http_downstream_rq_xx",
        "counter",
        by_class.map(|(class, value)| (format!("{},{prefix}", label("envoy_response_code_class", class)), value)),
    );
    let counts = sum(board.workers.iter().map(|worker| worker.stats.times.buckets()));
    let count = counts.iter().sum();
    let cumulated = counts.iter().scan(0, |below, count| {
        *below += count;
        Some(*below)
    });
    let micros: u64 = board.workers.iter().map(|worker| worker.stats.times.micros()).sum();
    let millis = format!("{}.{:03}", micros / 1000, micros % 1000);
    page.histogram("envoy_http_downstream_rq_time", &prefix, cumulated, count, &millis);
}

fn clusters(page: &mut Page, board: &Board) {
    type Which = fn(&ClusterStats) -> &Count;
    let one = |page: &mut Page, name: &str, kind, which: Which| {
        let values = board.settings.clusters.iter().enumerate().map(|(index, cluster)| {
            let counts = board.workers.iter().filter_map(|worker| worker.stats.clusters.get(index));
            (label("envoy_cluster_name", &cluster.name), counts.map(|stats| which(stats).get()).sum())
        });
        page.family(name, kind, values);
    };
    one(page, "envoy_cluster_upstream_cx_total", "counter", |stats| &stats.connections);
    one(page, "envoy_cluster_upstream_cx_active", "gauge", |stats| &stats.connections_active);
    one(page, "envoy_cluster_upstream_cx_connect_fail", "counter", |stats| &stats.connect_failures);
    one(page, "envoy_cluster_upstream_cx_connect_timeout", "counter", |stats| &stats.connect_timeouts);
    one(page, "envoy_cluster_upstream_rq_total", "counter", |stats| &stats.requests);
    one(page, "envoy_cluster_upstream_rq_active", "gauge", |stats| &stats.requests_active);
    one(page, "envoy_cluster_upstream_rq_timeout", "counter", |stats| &stats.timeouts);
    one(page, "envoy_cluster_upstream_rq_rx_reset", "counter", |stats| &stats.resets);
    let classes = board.settings.clusters.iter().enumerate().flat_map(|(index, cluster)| {
        let name = label("envoy_cluster_name", &cluster.name);
        let counts = board.workers.iter().filter_map(|worker| worker.stats.clusters.get(index));
        let classes = sum(counts.map(|stats| stats.responses.get()));
        (1..).zip(classes).map(move |(class, value): (u32, u64)| {
            (format!("{},{name}", label("envoy_response_code_class", class)), value)
        })
    });
    page.family("envoy_cluster_upstream_rq_xx", "counter", classes);
}

fn vms(page: &mut Page, board: &Board) {
    let mut one = |name: &str, kind, which: fn(&WorkerStats) -> &Count| {
        let value = board.workers.iter().map(|worker| which(&worker.stats).get()).sum();
        page.family(name, kind, [(String::new(), value)]);
    };
    one("envoy_wasm_envoy_wasm_runtime_wasmtime_active", "gauge", |stats| &stats.vms);
    one("envoy_wasm_envoy_wasm_runtime_wasmtime_created", "counter", |stats| &stats.vms_started);
    one("wasmplugin_callouts_total", "counter", |stats| &stats.callouts);
    one("wasmplugin_callouts_failed_total", "counter", |stats| &stats.callouts_failed);
    one("wasmplugin_host_calls_total", "counter", |stats| &stats.host_calls);
    one("wasmplugin_traps_total", "counter", |stats| &stats.traps);
    let failed = board.settings.plugins.iter().enumerate().map(|(index, plugin)| {
        let counts = board.workers.iter().filter_map(|worker| worker.stats.failed.get(index));
        let labels = format!("{},{}", label("place", index), label("plugin", &plugin.name));
        (labels, counts.map(Count::get).sum())
    });
    page.family("wasmplugin_plugin_failed_workers", "gauge", failed);
    page.family("wasmplugin_workers", "gauge", [(String::new(), board.workers.len() as u64)]);
}

fn sum<const N: usize>(rows: impl Iterator<Item = [u64; N]>) -> [u64; N] {
    rows.fold([0; N], |mut total, row| {
        for (total, more) in total.iter_mut().zip(row) {
            *total += more;
        }
        total
    })
}

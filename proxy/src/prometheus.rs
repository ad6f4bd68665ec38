//! All counters as Prometheus reads them, under Envoy's names where Envoy counts the same.

use wasmplugin_host::prometheus::{Page, label};

use crate::board::Board;
use crate::numbers::{Number, Scope, numbers, of_listeners};

/// Everything that the proxy and its plugins have counted.
pub(crate) fn render(board: &Board) -> String {
    let settings = board.settings();
    let mut page = Page::default();
    page.plugins(&board.services.metrics().snapshot(), &settings.stats_tags);
    let mut numbers = numbers(board);
    // A family is told in one piece.
    numbers.sort_by(|one, other| (one.scope.family(), &one.name).cmp(&(other.scope.family(), &other.name)));
    for family in numbers.chunk_by(|one, other| one.scope.family() == other.scope.family() && one.name == other.name) {
        let Some(first) = family.first() else { continue };
        let name = format!("{}{}", first.scope.family(), first.name);
        page.family(&name, first.kind.name(), family.iter().map(|number| (labels(number), number.value)));
    }
    times(&mut page, board);
    page.into_text()
}

fn labels(number: &Number) -> String {
    let scope = match &number.scope {
        Scope::Http(prefix) => Some(label("envoy_http_conn_manager_prefix", prefix)),
        Scope::Cluster(name) => Some(label("envoy_cluster_name", name)),
        Scope::Listener | Scope::Server | Scope::Own => None,
    };
    let own = number.labels.iter().map(|(name, value)| label(name, value));
    own.chain(scope).collect::<Vec<_>>().join(",")
}

fn times(page: &mut Page, board: &Board) {
    for (prefix, stats) in of_listeners(board) {
        let prefix = label("envoy_http_conn_manager_prefix", prefix);
        let counts = stats.iter().map(|stats| stats.times.buckets());
        let counts = counts.reduce(|mut total, row| {
            for (total, more) in total.iter_mut().zip(row) {
                *total += more;
            }
            total
        });
        let counts = counts.unwrap_or_default();
        let count = counts.iter().sum();
        let cumulated = counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        });
        let micros: u64 = stats.iter().map(|stats| stats.times.micros()).sum();
        let millis = format!("{}.{:03}", micros / 1000, micros % 1000);
        page.histogram("envoy_http_downstream_rq_time", &prefix, cumulated, count, &millis);
    }
}

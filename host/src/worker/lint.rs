//! Mistakes that show only where messages pass from filter to filter.

use super::parts::Worker;
use crate::abi::StopKind;
use crate::exchange::ExchangeId;
use crate::filter::Direction;
use crate::finding::{Finding, FindingKind};
use crate::tcp::TcpId;

impl Worker {
    fn report(&mut self, id: ExchangeId, place: usize, callback: &'static str, kind: FindingKind, message: String) {
        let filter = self.state.exchanges.get(id).and_then(|exchange| exchange.filters.get(place));
        let root = filter.and_then(|filter| self.state.roots.get(filter.root));
        let plugin = root.map_or("", |root| &root.name).to_owned();
        self.state.report(Finding { kind, plugin, callback, message });
    }

    /// A stop that follows a continue from the same callback stays.
    pub(crate) fn lint_stop(&mut self, id: ExchangeId, place: usize, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(flow) = exchange.flow_mut(place, direction) else { return };
        if std::mem::take(&mut flow.idle_continue) && self.state.findings.is_some() {
            let message =
                "the stream was continued and then paused by the same callback; what follows is never let through"
                    .to_owned();
            self.report(id, place, "", FindingKind::ContinueThenPause, message);
        }
    }

    /// A continue from a callback that then answers `Continue`.
    pub(crate) fn lint_twice(&mut self, id: ExchangeId, place: usize, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(flow) = exchange.flow_mut(place, direction) else { return };
        flow.idle_continue = false;
        if self.state.findings.is_some() {
            let message = "the callback continued the stream and answered `Continue`; Envoy passes the headers twice";
            self.report(id, place, "", FindingKind::ContinueTwice, message.to_owned());
        }
    }

    /// A body that is longer or shorter than announced breaks the connection it travels on.
    pub(crate) fn lint_length(&mut self, id: ExchangeId, direction: Direction) {
        if self.state.findings.is_none() {
            return;
        }
        let Some(exchange) = self.state.exchanges.get(id) else { return };
        let half = exchange.half(direction);
        let bodiless = direction == Direction::Response && exchange.is_head();
        if let Some(declared) = half.declared()
            && declared != half.left
            && !bodiless
        {
            let message = format!("`content-length` says {declared}, but the body has {} bytes", half.left);
            let last = match direction {
                Direction::Request => exchange.filters.len().saturating_sub(1),
                Direction::Response => 0,
            };
            self.report(id, last, "", FindingKind::ContentLength, message);
        }
    }

    /// A pause of the upstream's last bytes: no callback of theirs comes any more, and nothing else releases them.
    pub(crate) fn lint_held_end(&mut self, id: TcpId, place: usize) {
        let message = "the end of the upstream's bytes was paused; Envoy never shows it again";
        self.report_tcp(id, place, "proxy_on_upstream_data", message);
    }

    /// Bytes of a client that a plugin held until the connection was over.
    pub(crate) fn lint_lost(&mut self, id: TcpId) {
        let Some(tcp) = self.state.tcp.get(&id) else { return };
        let bytes = tcp.downstream.window.len();
        let holder = tcp.filters.iter().rposition(|filter| filter.downstream_open);
        if let Some(place) = holder.filter(|_| bytes > 0) {
            let message = format!("the connection ended while the plugin held {bytes} bytes of the client");
            self.report_tcp(id, place, "", &message);
        }
    }

    fn report_tcp(&mut self, id: TcpId, place: usize, callback: &'static str, message: &str) {
        let filter = self.state.tcp.get(&id).and_then(|tcp| tcp.filters.get(place));
        let root = filter.and_then(|filter| self.state.roots.get(filter.root));
        let plugin = root.map_or("", |root| &root.name).to_owned();
        self.state.report(Finding { kind: FindingKind::LeftWaiting, plugin, callback, message: message.to_owned() });
    }

    /// A stream that is over although a plugin held it, with nobody having gone away.
    pub(crate) fn lint_end(&mut self, id: ExchangeId) {
        if self.state.findings.is_none() {
            return;
        }
        let Some(exchange) = self.state.exchanges.get(id) else { return };
        if exchange.local || !exchange.response.ended {
            return;
        }
        let waiting: Vec<usize> = exchange
            .filters
            .iter()
            .enumerate()
            .filter(|(_, filter)| matches!(filter.request.stop, Some(StopKind::AllWatermark | StopKind::AllBuffer)))
            .map(|(place, _)| place)
            .collect();
        for place in waiting {
            let message = "the exchange ended while the plugin held the request".to_owned();
            self.report(id, place, "", FindingKind::LeftWaiting, message);
        }
    }
}

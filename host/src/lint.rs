//! Mistakes of plugins that a real proxy passes over in silence, or dies of.

use crate::abi::MapKind;
use crate::callback::Callback;
use crate::exchange::ExchangeId;
use crate::filter::Direction;
use crate::vm::{Deferred, VmState};

pub use crate::finding::{Finding, FindingKind};

impl VmState {
    fn found(&mut self, kind: FindingKind, message: impl FnOnce() -> String) {
        if self.findings.is_none() {
            return;
        }
        let plugin = self.root().and_then(|root| self.roots.get(root)).map_or("", |root| &root.name).to_owned();
        let callback = self.callback().map_or("", Callback::name);
        self.report(Finding { kind, plugin, callback, message: message() });
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        if let Some(findings) = &mut self.findings {
            findings.push(finding);
        }
    }

    pub(crate) fn lint_absent_map(&mut self, kind: MapKind) {
        let name = match kind {
            MapKind::RequestHeaders => "the request's headers",
            MapKind::RequestTrailers => "the request's trailers",
            MapKind::ResponseHeaders => "the response's headers",
            MapKind::ResponseTrailers => "the response's trailers",
            MapKind::GrpcInitialMetadata => "a gRPC callout's initial metadata",
            MapKind::GrpcTrailingMetadata => "a gRPC callout's trailing metadata",
            MapKind::CalloutHeaders => "a callout's headers",
            MapKind::CalloutTrailers => "a callout's trailers",
        };
        self.found(FindingKind::AbsentMap, || format!("{name} cannot be reached or changed at this time"));
    }

    pub(crate) fn lint_malformed_pairs(&mut self, kind: MapKind) {
        self.found(FindingKind::MalformedPairs, || {
            format!("header map {} was set from malformed bytes, which empties it", kind as u32)
        });
    }

    /// Continuing the response where there is none kills Envoy.
    pub(crate) fn lint_continue(&mut self, id: ExchangeId, _place: usize, direction: Direction) {
        if self.findings.is_none() || direction == Direction::Request {
            return;
        }
        let Some(exchange) = self.exchanges.get(id) else { return };
        let in_trailers = matches!(self.callback(), Some(Callback::ResponseTrailers { .. }));
        let absent = exchange.response.headers.is_none() && !exchange.ending;
        if absent || in_trailers {
            let when = if absent { "before there is a response" } else { "from its trailers" };
            self.found(FindingKind::Crash, || format!("continuing the response {when} crashes Envoy 1.40"));
        }
    }

    pub(crate) fn lint_close(&mut self) {
        if matches!(
            self.callback(),
            Some(
                Callback::ResponseTrailers { .. }
                    | Callback::Log { .. }
                    | Callback::Done { .. }
                    | Callback::Delete { .. }
            )
        ) {
            self.found(FindingKind::Crash, || "closing the stream in this callback crashes Envoy 1.40".to_owned());
        }
    }

    pub(crate) fn lint_reply(&mut self, id: ExchangeId, place: usize) {
        if self.findings.is_none() {
            return;
        }
        if matches!(self.callback(), Some(Callback::Log { .. } | Callback::Done { .. } | Callback::Delete { .. })) {
            self.found(FindingKind::Crash, || "a local reply in this callback crashes Envoy 1.40".to_owned());
        }
        let exchange = self.exchanges.get(id);
        if matches!(self.callback(), Some(Callback::HttpCallResponse { .. }))
            && exchange.is_some_and(|exchange| exchange.request.passed && exchange.response.headers.is_none())
        {
            let bytes = exchange.map_or(0, |exchange| exchange.request.left);
            self.found(FindingKind::BeforeDecision, || {
                format!("the request had reached the upstream, with {bytes} bytes of its body, before it was refused")
            });
        }
        let before = self.exchanges.get(id).and_then(|exchange| exchange.filters.get(place));
        let queued = self
            .deferred
            .iter()
            .any(|action| matches!(action, Deferred::Reply(other, at, _) if *other == id && *at == place));
        if queued || before.is_some_and(|filter| filter.replied) {
            self.found(FindingKind::SecondReply, || "a second local reply for one stream is dropped".to_owned());
        }
    }
}

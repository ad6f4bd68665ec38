//! Mistakes of plugins that a real proxy passes over in silence, or dies of.

use std::fmt;

use crate::abi::{MapKind, StopKind};
use crate::exchange::ExchangeId;
use crate::filter::Direction;
use crate::guest::Callback;
use crate::vm::VmState;
use crate::worker::Worker;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub kind: FindingKind,
    /// The plugin's name.
    pub plugin: String,
    /// The callback during which it was noticed; empty if none ran.
    pub callback: &'static str,
    /// What is wrong, in words.
    pub message: String,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Envoy 1.40 would crash, with all its workers.
    Crash,
    /// A stream was continued and then paused by the same callback: nothing continues it any more.
    ContinueThenPause,
    /// A stream was continued by a callback that then lets it continue once more: headers pass twice.
    ContinueTwice,
    /// A second local reply for one stream; only the first counts.
    SecondReply,
    /// A body does not have the length that `content-length` says.
    ContentLength,
    /// A callout decided against a request that had reached the upstream before.
    BeforeDecision,
    /// A header map was used while it does not exist.
    AbsentMap,
    /// A header map was set from bytes that are no pairs, which empties it.
    MalformedPairs,
    /// A stream ended while a plugin still held it.
    LeftWaiting,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`", self.plugin)?;
        if !self.callback.is_empty() {
            write!(f, " in `{}`", self.callback)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl VmState {
    fn found(&mut self, kind: FindingKind, message: impl FnOnce() -> String) {
        if self.findings.is_none() {
            return;
        }
        let plugin = self.root().and_then(|root| self.roots.get(root)).map_or("", |root| &root.name).to_owned();
        let callback = self.callback().map_or("", Callback::name);
        self.report(Finding { kind, plugin, callback, message: message() });
    }

    fn report(&mut self, finding: Finding) {
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
            .any(|action| matches!(action, crate::vm::Deferred::Reply(other, at, _) if *other == id && *at == place));
        if queued || before.is_some_and(|filter| filter.replied) {
            self.found(FindingKind::SecondReply, || "a second local reply for one stream is dropped".to_owned());
        }
    }
}

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
        let Some(filter) = exchange.filters.get_mut(place) else { return };
        if std::mem::take(&mut filter.flow_mut(direction).idle_continue) && self.state.findings.is_some() {
            let message =
                "the stream was continued and then paused by the same callback; what follows is never let through"
                    .to_owned();
            self.report(id, place, "", FindingKind::ContinueThenPause, message);
        }
    }

    /// A continue from a callback that then answers `Continue`.
    pub(crate) fn lint_twice(&mut self, id: ExchangeId, place: usize, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(filter) = exchange.filters.get_mut(place) else { return };
        filter.flow_mut(direction).idle_continue = false;
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

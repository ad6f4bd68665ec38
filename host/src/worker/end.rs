//! The end of an exchange: a cut, a client that is gone, and the last callbacks.

use super::parts::Worker;
use crate::callback::Callback;
use crate::effect::Effect;
use crate::exchange::ExchangeId;

impl Worker {
    /// Cuts the client off and ends the exchange.
    pub(super) fn cut(&mut self, id: ExchangeId) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.ending {
            return;
        }
        exchange.request.aborted = true;
        exchange.response.aborted = true;
        if std::mem::take(&mut exchange.upstream_open) {
            self.state.effects.push_back(Effect::ResetUpstream { id });
        }
        self.state.effects.push_back(Effect::ResetDownstream { id });
        self.end(id);
    }

    /// A plugin closed the stream.
    pub(super) fn close(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.state.exchanges.get_mut(id) {
            exchange.details = "wasm_close_stream".to_owned();
        }
        self.cut(id);
    }

    /// The client has gone away.
    pub(crate) fn client_gone(&mut self, id: ExchangeId) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        exchange.request.aborted = true;
        exchange.response.aborted = true;
        if !exchange.response.ended {
            exchange.details = "downstream_remote_disconnect".to_owned();
        }
        if std::mem::take(&mut exchange.upstream_open) {
            self.state.effects.push_back(Effect::ResetUpstream { id });
        }
        self.end(id);
    }

    /// Runs the last callbacks and forgets the exchange.
    pub(crate) fn end(&mut self, id: ExchangeId) {
        let now = self.state.services.clock().now();
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if std::mem::replace(&mut exchange.ending, true) {
            return;
        }
        exchange.logging = true;
        // An exchange mostly ends with the last byte of its response.
        exchange.received = exchange.sent.map(|_| now);
        if std::mem::take(&mut exchange.upstream_open) {
            self.state.effects.push_back(Effect::ResetUpstream { id });
        }
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        exchange.request.aborted = true;
        exchange.response.aborted = true;
        let filters = exchange.filters.len();
        self.lint_end(id);
        for place in 0..filters {
            if let Some((vm, context)) = self.last_context(id, place) {
                self.call(vm, Callback::Log { context });
            }
        }
        if let Some(exchange) = self.state.exchanges.get_mut(id) {
            exchange.logging = false;
        }
        for place in 0..filters {
            if let Some((vm, context)) = self.last_context(id, place) {
                // A stream's `false` does not delay its end, unlike a root's.
                self.call(vm, Callback::Done { context });
                self.call(vm, Callback::Delete { context });
                if let Some(data) = self.state.vms.get_mut(vm) {
                    data.contexts.remove(&context);
                }
            }
        }
        self.state.watch_end(id);
        let gone = self.state.exchanges.remove(id);
        for filter in gone.iter().flat_map(|exchange| &exchange.filters) {
            self.state.leave_root(filter.root);
        }
        self.end_retired();
    }

    /// The filter's context; a filter that never saw the request gets one for its log.
    fn last_context(&mut self, id: ExchangeId, place: usize) -> Option<(usize, u32)> {
        let filter = self.state.exchanges.get(id)?.filters.get(place)?;
        let (context, generation, bypassed) = (filter.context, filter.generation, filter.bypassed);
        let vm = self.state.roots.get(filter.root)?.vm;
        let data = self.state.vms.get(vm)?;
        if data.failed || bypassed || (context != 0 && data.generation != generation) {
            return None;
        }
        let context = if context == 0 { self.create_context(id, place, vm)? } else { context };
        Some((vm, context))
    }
}

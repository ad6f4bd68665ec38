//! Headers, data and trailers from filter to filter, stopped and released as Envoy's filter manager does.

use super::parts::Worker;
use crate::abi::{Action, StopKind};
use crate::callback::Callback;
use crate::exchange::ExchangeId;
use crate::filter::{Buffer, Direction};
use crate::headers::HeaderMap;
use crate::length::length;

/// A body that a full stop held back beyond the limit is released in pieces of this size.
const SLICE: usize = 16 * 1024;

impl Worker {
    /// Shows the headers to the filters from `at` on, and sends them out behind the last.
    pub(super) fn pass_headers(&mut self, id: ExchangeId, direction: Direction, mut at: Option<usize>) {
        while let Some(place) = at {
            let Some(callee) = self.callee(id, place, direction) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let half = exchange.half(direction);
            let (count, end) = (half.headers.as_ref().map_or(0, HeaderMap::len), half.headers_end);
            let count = length(count);
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.map_open = true;
            flow.in_headers = true;
            flow.end = end;
            let callback = |context| match direction {
                Direction::Request => Callback::RequestHeaders { context, count, end },
                Direction::Response => Callback::ResponseHeaders { context, count, end },
            };
            let stop_iteration = self.plugin_at(id, place).is_some_and(|plugin| plugin.allow_on_headers_stop_iteration);
            let read = |answer| Action::of_headers(answer, stop_iteration);
            let Some(action) = self.ask(id, place, direction, callee, callback, read) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.in_headers = false;
            match action {
                Action::Continue => {
                    flow.map_open = false;
                    if std::mem::replace(&mut flow.headers_passed, true) {
                        // The callback has continued the stream itself. Envoy sends the headers twice then.
                        self.lint_twice(id, place, direction);
                        return;
                    }
                }
                Action::Stop(kind) => {
                    flow.stop = Some(kind);
                    self.lint_stop(id, place, direction);
                    return;
                }
            }
            at = next;
        }
        self.send_headers(id, direction);
    }

    /// Shows data to the filters from `at` on, and sends it out behind the last.
    pub(super) fn pass_data(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        mut at: Option<usize>,
        mut data: Buffer,
        mut end: bool,
    ) {
        // The filter that made trailers of its own in its last body callback.
        let mut trailers_from = None;
        while let Some(place) = at {
            let limit = self.state.options.buffer_limit;
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            if exchange.half(direction).aborted {
                return;
            }
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            if flow.stops_all() {
                flow.kept.append(data);
                flow.waiting = true;
                flow.end |= end;
                if flow.stop == Some(StopKind::AllBuffer) && flow.kept.len() > limit {
                    self.too_large(id, direction);
                }
                return;
            }
            self.state.watch_between(id, place, direction, &data, end);
            let Some(callee) = self.callee(id, place, direction) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.end = end;
            if flow.buffering {
                flow.window.append(data);
            } else {
                flow.window = data;
            }
            flow.in_body = true;
            let size = length(flow.window.len());
            let callback = |context| match direction {
                Direction::Request => Callback::RequestBody { context, size, end },
                Direction::Response => Callback::ResponseBody { context, size, end },
            };
            let Some(action) = self.ask(id, place, direction, callee, callback, Action::of_body) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let made_trailers = end && exchange.half(direction).trailers.is_some();
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.in_body = false;
            if made_trailers {
                flow.trailers_came = true;
                flow.trailers_seen = true;
            }
            match action {
                Action::Continue => {
                    data = flow.release();
                    let was_stopped = flow.stop.take().is_some();
                    let owes_headers = was_stopped && !flow.headers_passed;
                    if owes_headers {
                        flow.headers_passed = true;
                        flow.map_open = false;
                        self.pass_headers(id, direction, next);
                    }
                    if made_trailers {
                        end = false;
                        trailers_from = Some(next);
                    }
                }
                Action::Stop(kind) => {
                    flow.hold(kind);
                    let over = flow.window.len().max(flow.kept.len()) > limit && kind == StopKind::Buffer;
                    self.lint_stop(id, place, direction);
                    if over {
                        self.too_large(id, direction);
                    }
                    return;
                }
            }
            at = next;
        }
        self.send_data(id, direction, data, end);
        if let Some(next) = trailers_from {
            self.pass_trailers(id, direction, next);
        }
    }

    /// Shows the trailers to the filters from `at` on, and sends them out behind the last.
    pub(super) fn pass_trailers(&mut self, id: ExchangeId, direction: Direction, mut at: Option<usize>) {
        while let Some(place) = at {
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            if exchange.half(direction).aborted {
                return;
            }
            let count = length(exchange.half(direction).trailers.as_ref().map_or(0, HeaderMap::len));
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.trailers_came = true;
            if flow.stops_all() {
                return;
            }
            let Some(callee) = self.callee(id, place, direction) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            flow.trailers_seen = true;
            flow.trailers_open = true;
            let callback = |context| match direction {
                Direction::Request => Callback::RequestTrailers { context, count },
                Direction::Response => Callback::ResponseTrailers { context, count },
            };
            let any_stop = |answer| if answer == 0 { Action::Continue } else { Action::Stop(StopKind::Headers) };
            let Some(action) = self.ask(id, place, direction, callee, callback, any_stop) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let Some(flow) = exchange.flow_mut(place, direction) else { return };
            match action {
                Action::Continue => {
                    flow.trailers_open = false;
                    if flow.stop.take().is_some() {
                        self.release(id, place, direction, next);
                    }
                }
                Action::Stop(kind) => {
                    flow.stop.get_or_insert(kind);
                    self.lint_stop(id, place, direction);
                    return;
                }
            }
            at = next;
        }
        self.send_trailers(id, direction);
    }

    /// Lets a stopped filter go on.
    pub(super) fn resume(&mut self, id: ExchangeId, place: usize, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.ending || exchange.half(direction).aborted {
            return;
        }
        let next = exchange.next(direction, place);
        let Some(flow) = exchange.flow_mut(place, direction) else { return };
        let whole = flow.stops_all();
        if flow.stop.take().is_none() {
            flow.idle_continue = true;
            // From within the headers' callback the headers go on at once; what the callback answers then holds
            // only what follows them.
            if flow.in_headers && !std::mem::replace(&mut flow.headers_passed, true) {
                self.pass_headers(id, direction, next);
            }
            return;
        }
        let (trailers, seen) = (flow.trailers_came, flow.trailers_seen);
        if whole {
            let (waiting, end) = (flow.waiting, flow.end && !trailers);
            let held = flow.release();
            self.owed_headers(id, place, direction, next);
            if waiting {
                self.pass_held(id, place, direction, held, end);
            }
        } else {
            self.release(id, place, direction, next);
        }
        if trailers {
            self.pass_trailers(id, direction, if seen { next } else { Some(place) });
        }
    }

    /// Sends headers on that a filter has held.
    fn owed_headers(&mut self, id: ExchangeId, place: usize, direction: Direction, next: Option<usize>) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(flow) = exchange.flow_mut(place, direction) else { return };
        if !std::mem::replace(&mut flow.headers_passed, true) {
            self.pass_headers(id, direction, next);
        }
    }

    /// Sends on what a filter has seen and held: its headers, then its data.
    fn release(&mut self, id: ExchangeId, place: usize, direction: Direction, next: Option<usize>) {
        self.owed_headers(id, place, direction, next);
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(flow) = exchange.flow_mut(place, direction) else { return };
        let (waiting, end) = (flow.waiting, flow.end && !flow.trailers_came);
        let data = flow.release();
        if waiting {
            self.pass_data(id, direction, next, data, end);
        }
    }

    /// Shows a filter what arrived while it stopped everything.
    fn pass_held(&mut self, id: ExchangeId, place: usize, direction: Direction, mut held: Buffer, end: bool) {
        if held.len() > self.state.options.buffer_limit {
            while held.len() > SLICE {
                let slice = held.split_to(SLICE);
                self.pass_data(id, direction, Some(place), slice, false);
            }
        }
        self.pass_data(id, direction, Some(place), held, end);
    }
}

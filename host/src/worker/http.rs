//! Headers, data and trailers from filter to filter, stopped and released as Envoy's filter manager does.

use bytes::Bytes;

use super::chains::{Chain, ChainId};
use super::parts::Worker;
use super::plugin::{FailPolicy, Plugin};
use crate::abi::{Action, StopKind};
use crate::callback::Callback;
use crate::connection::{Connection, Protocol};
use crate::effect::{Effect, Item};
use crate::exchange::{Exchange, ExchangeId, LocalReply};
use crate::filter::{Buffer, Direction, Flow};
use crate::headers::HeaderMap;
use crate::length::length;
use crate::options::EndStyle;
use crate::recording::Leg;
use crate::tcp::Peer;
use crate::vm::{Deferred, Owner};

/// A body that a full stop held back beyond the limit is released in pieces of this size.
const SLICE: usize = 16 * 1024;

/// Whether a filter can be called.
enum Ready {
    Call {
        vm: usize,
        context: u32,
    },
    /// It is passed by.
    Skip,
    /// It has failed, and the stream with it.
    Over,
}

/// What a callback led to.
enum Outcome {
    Action(Action),
    /// The stream does not go on in this direction.
    Over,
}

impl Worker {
    pub(super) fn begin(&mut self, chain: ChainId, connection: Connection) -> ExchangeId {
        let clock = self.state.services.clock();
        let (now, unix) = (clock.now(), clock.unix());
        let chain = self.chains.get(&chain);
        let (entrance, roots) = chain.map_or_else(Default::default, Chain::begin);
        self.state.join_roots(roots);
        let mut exchange = Exchange::new(connection, entrance, roots, now, unix);
        exchange.homeless = chain.is_none();
        let id = self.state.exchanges.insert(exchange);
        self.state.watch_begin(id);
        id
    }

    pub(crate) fn headers_in(&mut self, id: ExchangeId, direction: Direction, headers: HeaderMap, end: bool) {
        let Some(exchange) = self.incoming(id, direction) else { return };
        let routing = match direction {
            Direction::Request => exchange.entrance.route(&headers),
            Direction::Response => None,
        };
        exchange.routing = routing.unwrap_or_else(|| std::mem::take(&mut exchange.routing));
        let half = exchange.half_mut(direction);
        half.headers = Some(headers);
        half.headers_end = end;
        half.came_end = end;
        exchange.answered(direction);
        let (first, homeless) = (exchange.first(direction), exchange.homeless);
        self.state.watch_message(id, Leg::coming(direction));
        if homeless {
            return self.own_reply(id, LocalReply::no_route());
        }
        self.pass_headers(id, direction, first);
    }

    pub(crate) fn data_in(&mut self, id: ExchangeId, direction: Direction, data: Bytes, end: bool) {
        let options = &self.state.options;
        let (response_end, request_end) = (options.response_end, options.request_end);
        let Some(exchange) = self.incoming(id, direction) else { return };
        if data.is_empty() && !end {
            return;
        }
        let style = match direction {
            Direction::Response => response_end,
            Direction::Request => request_end.unwrap_or(match exchange.connection.protocol {
                Protocol::Http2 => EndStyle::OnLast,
                Protocol::Http10 | Protocol::Http11 => EndStyle::Trailing,
            }),
        };
        let half = exchange.half_mut(direction);
        half.came += data.len() as u64;
        half.came_end = end;
        exchange.answered(direction);
        let first = exchange.first(direction);
        let data = Buffer::from(data);
        self.state.watch_data(id, Leg::coming(direction), &data, end);
        if end && style == EndStyle::Trailing && !data.is_empty() {
            self.pass_data(id, direction, first, data, false);
            self.pass_data(id, direction, first, Buffer::default(), true);
        } else {
            self.pass_data(id, direction, first, data, end);
        }
    }

    pub(crate) fn trailers_in(&mut self, id: ExchangeId, direction: Direction, trailers: HeaderMap) {
        let Some(exchange) = self.incoming(id, direction) else { return };
        let half = exchange.half_mut(direction);
        half.trailers = Some(trailers);
        half.came_end = true;
        exchange.answered(direction);
        let first = exchange.first(direction);
        self.state.watch_trailers(id, Leg::coming(direction));
        self.pass_trailers(id, direction, first);
    }

    /// The exchange, if what comes in this direction is still wanted.
    fn incoming(&mut self, id: ExchangeId, direction: Direction) -> Option<&mut Exchange> {
        let exchange = self.state.exchanges.get_mut(id)?;
        let unwanted = match direction {
            Direction::Request => exchange.request.aborted || exchange.request.came_end,
            Direction::Response => exchange.local || exchange.response.aborted || exchange.response.came_end,
        };
        (!unwanted && !exchange.ending).then_some(exchange)
    }

    /// Shows the headers to the filters from `at` on, and sends them out behind the last.
    pub(super) fn pass_headers(&mut self, id: ExchangeId, direction: Direction, mut at: Option<usize>) {
        while let Some(place) = at {
            let (vm, context) = match self.ready(id, place, direction) {
                Ready::Call { vm, context } => (vm, context),
                Ready::Over => return,
                Ready::Skip => {
                    let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
                    if let Some(flow) = flow_mut(exchange, place, direction) {
                        flow.headers_passed = true;
                    }
                    at = exchange.next(direction, place);
                    continue;
                }
            };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let half = exchange.half(direction);
            let (count, end) = (half.headers.as_ref().map_or(0, HeaderMap::len), half.headers_end);
            let count = length(count);
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
            flow.map_open = true;
            flow.in_headers = true;
            flow.end = end;
            let callback = match direction {
                Direction::Request => Callback::RequestHeaders { context, count, end },
                Direction::Response => Callback::ResponseHeaders { context, count, end },
            };
            let stop_iteration = self.plugin_at(id, place).is_some_and(|plugin| plugin.allow_on_headers_stop_iteration);
            let Outcome::Action(action) =
                self.ask(id, place, direction, vm, callback, |answer| Action::of_headers(answer, stop_iteration))
            else {
                return;
            };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
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
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
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
            let (vm, context) = match self.ready(id, place, direction) {
                Ready::Call { vm, context } => (vm, context),
                Ready::Over => return,
                Ready::Skip => {
                    at = self.state.exchanges.get(id).and_then(|exchange| exchange.next(direction, place));
                    continue;
                }
            };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
            flow.end = end;
            if flow.buffering {
                flow.window.append(data);
            } else {
                flow.window = data;
            }
            flow.in_body = true;
            let size = length(flow.window.len());
            let callback = match direction {
                Direction::Request => Callback::RequestBody { context, size, end },
                Direction::Response => Callback::ResponseBody { context, size, end },
            };
            let Outcome::Action(action) = self.ask(id, place, direction, vm, callback, Action::of_body) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let made_trailers = end && exchange.half(direction).trailers.is_some();
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
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
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
            flow.trailers_came = true;
            if flow.stops_all() {
                return;
            }
            let (vm, context) = match self.ready(id, place, direction) {
                Ready::Call { vm, context } => (vm, context),
                Ready::Over => return,
                Ready::Skip => {
                    at = self.state.exchanges.get(id).and_then(|exchange| exchange.next(direction, place));
                    continue;
                }
            };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
            flow.trailers_seen = true;
            flow.trailers_open = true;
            let callback = match direction {
                Direction::Request => Callback::RequestTrailers { context, count },
                Direction::Response => Callback::ResponseTrailers { context, count },
            };
            let any_stop = |answer| if answer == 0 { Action::Continue } else { Action::Stop(StopKind::Headers) };
            let Outcome::Action(action) = self.ask(id, place, direction, vm, callback, any_stop) else { return };
            let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
            let next = exchange.next(direction, place);
            let Some(flow) = flow_mut(exchange, place, direction) else { return };
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
        let Some(flow) = flow_mut(exchange, place, direction) else { return };
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
        let Some(flow) = flow_mut(exchange, place, direction) else { return };
        if !std::mem::replace(&mut flow.headers_passed, true) {
            self.pass_headers(id, direction, next);
        }
    }

    /// Sends on what a filter has seen and held: its headers, then its data.
    fn release(&mut self, id: ExchangeId, place: usize, direction: Direction, next: Option<usize>) {
        self.owed_headers(id, place, direction, next);
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let Some(flow) = flow_mut(exchange, place, direction) else { return };
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

    /// Whether a filter can be called now; makes its context when a request first meets it.
    fn ready(&mut self, id: ExchangeId, place: usize, direction: Direction) -> Ready {
        let Some(exchange) = self.state.exchanges.get(id) else { return Ready::Over };
        if exchange.half(direction).aborted || exchange.ending {
            return Ready::Over;
        }
        let Some(filter) = exchange.filters.get(place) else { return Ready::Over };
        // A filter that the request never met does not see the response either.
        if filter.bypassed || (filter.context == 0 && direction == Direction::Response) {
            return Ready::Skip;
        }
        let (context, generation, refused) = (filter.context, filter.generation, filter.refused);
        let Some(vm) = self.state.roots.get(filter.root).map(|root| root.vm) else { return Ready::Over };
        let alive = if context == 0 {
            self.revive(vm)
        } else {
            self.state.vms.get(vm).is_some_and(|data| !data.failed && data.generation == generation)
        };
        if alive {
            let context = if context == 0 { self.create_context(id, place, vm) } else { Some(context) };
            if let Some(context) = context {
                return Ready::Call { vm, context };
            }
        }
        // Its 503 is on its way already.
        if refused { Ready::Skip } else { self.failed(id, place) }
    }

    /// Tells the guest about the exchange.
    pub(super) fn create_context(&mut self, id: ExchangeId, place: usize, vm: usize) -> Option<u32> {
        let root = self.state.roots.get(self.state.exchanges.get(id)?.filters.get(place)?.root)?.context;
        let data = self.state.vms.get_mut(vm)?;
        let context = data.ids.context();
        data.contexts.insert(context, Owner::Stream(id, place));
        let generation = data.generation;
        let filter = self.state.exchanges.get_mut(id)?.filters.get_mut(place)?;
        filter.context = context;
        filter.generation = generation;
        self.call(vm, Callback::ContextCreate { context, root })?;
        Some(context)
    }

    fn plugin_at(&self, id: ExchangeId, place: usize) -> Option<&Plugin> {
        self.plugins.get(self.state.exchanges.get(id)?.filters.get(place)?.root)
    }

    /// What becomes of the stream of a plugin that has failed.
    fn failed(&mut self, id: ExchangeId, place: usize) -> Ready {
        let policy = self.plugin_at(id, place).map_or(FailPolicy::Closed, |plugin| plugin.fail);
        let Some(filter) = self.state.exchanges.get_mut(id).and_then(|exchange| exchange.filters.get_mut(place)) else {
            return Ready::Over;
        };
        if policy == FailPolicy::Open || (policy == FailPolicy::OpenLater && filter.context == 0) {
            filter.bypassed = true;
            return Ready::Skip;
        }
        if !std::mem::replace(&mut filter.refused, true) {
            filter.replied = true;
            self.own_reply(id, LocalReply::failed_stream());
        }
        Ready::Over
    }

    /// Calls a filter and reads its answer.
    fn ask(
        &mut self,
        id: ExchangeId,
        place: usize,
        direction: Direction,
        vm: usize,
        callback: Callback,
        read: impl Fn(u32) -> Action,
    ) -> Outcome {
        let answer = self.call(vm, callback);
        let gone = |exchange: Option<&Exchange>| {
            exchange.is_none_or(|exchange| exchange.ending || exchange.half(direction).aborted)
        };
        if gone(self.state.exchanges.get(id)) {
            return Outcome::Over;
        }
        match answer {
            Some(answer) => Outcome::Action(read(answer)),
            None => match self.failed(id, place) {
                Ready::Skip => Outcome::Action(Action::Continue),
                Ready::Call { .. } | Ready::Over => Outcome::Over,
            },
        }
    }

    /// Does what host calls have asked for while the guest ran.
    pub(crate) fn run_deferred(&mut self) {
        while let Some(action) = self.state.deferred.pop_front() {
            match action {
                Deferred::Continue(id, place, direction) => self.resume(id, place, direction),
                Deferred::Close(id) => self.close(id),
                Deferred::Reply(id, place, reply) => {
                    let filter = self.state.exchanges.get_mut(id).and_then(|exchange| exchange.filters.get_mut(place));
                    if filter.is_some_and(|filter| !std::mem::replace(&mut filter.replied, true)) {
                        self.local_reply(id, *reply);
                    }
                }
                Deferred::Done(root) => self.delete_root(root),
                Deferred::ContinueTcp(id, place) => self.read_on(id, place + 1),
                Deferred::CloseTcp(id) => self.tcp_over(id, Peer::Local, "a plugin has cut it off"),
            }
        }
    }

    fn send_headers(&mut self, id: ExchangeId, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.half(direction).aborted {
            return;
        }
        if let Some(reply) = exchange.refused(direction) {
            return self.own_reply(id, reply);
        }
        match direction {
            Direction::Request => self.state.route(id),
            Direction::Response => self.state.sign(id),
        }
        self.state.watch_message(id, Leg::leaving(direction));
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let half = exchange.half_mut(direction);
        let Some(headers) = half.headers.clone() else { return };
        half.passed = true;
        half.ended = half.headers_end;
        let item = Item::Headers(headers, half.headers_end);
        if direction == Direction::Request {
            exchange.upstream_open = true;
        }
        self.send(id, direction, item);
    }

    fn send_data(&mut self, id: ExchangeId, direction: Direction, data: Buffer, end: bool) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let half = exchange.half_mut(direction);
        if half.aborted || half.ended || !half.passed {
            return;
        }
        half.left += data.len() as u64;
        half.ended = end;
        self.state.watch_data(id, Leg::leaving(direction), &data, end);
        let mut chunks = data.into_chunks().into_iter().peekable();
        if end && chunks.peek().is_none() {
            self.send(id, direction, Item::Data(Bytes::new(), true));
        }
        while let Some(chunk) = chunks.next() {
            let last = end && chunks.peek().is_none();
            self.send(id, direction, Item::Data(chunk, last));
        }
        if end {
            self.lint_length(id, direction);
        }
    }

    fn send_trailers(&mut self, id: ExchangeId, direction: Direction) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let half = exchange.half_mut(direction);
        if half.aborted || half.ended || !half.passed {
            return;
        }
        half.ended = true;
        let trailers = half.trailers.clone().unwrap_or_default();
        self.state.watch_trailers(id, Leg::leaving(direction));
        let item = if trailers.is_empty() { Item::Data(Bytes::new(), true) } else { Item::Trailers(trailers) };
        self.send(id, direction, item);
        self.lint_length(id, direction);
    }

    pub(super) fn send(&mut self, id: ExchangeId, direction: Direction, item: Item) {
        self.state.effects.push_back(match direction {
            Direction::Request => Effect::ToUpstream { id, item },
            Direction::Response => Effect::ToDownstream { id, item },
        });
    }
}

impl Flow {
    /// Takes everything that is held, in the order in which it came.
    fn release(&mut self) -> Buffer {
        let mut data = self.kept.take();
        data.append(self.window.take());
        self.buffering = false;
        self.waiting = false;
        data
    }

    /// Stops as a body callback has asked.
    fn hold(&mut self, kind: StopKind) {
        self.stop = Some(kind);
        match kind {
            StopKind::Buffer => {
                // What a watermark stop has kept aside is part of Envoy's one buffer.
                let mut all = self.kept.take();
                all.append(self.window.take());
                self.window = all;
                self.buffering = true;
                self.waiting = true;
            }
            StopKind::Watermark => {
                let window = self.window.take();
                self.kept.append(window);
                self.buffering = false;
                self.waiting = true;
            }
            _ => {
                drop(self.window.take());
                self.buffering = false;
                self.waiting |= self.end;
            }
        }
    }
}

pub(super) fn flow_mut(exchange: &mut Exchange, place: usize, direction: Direction) -> Option<&mut Flow> {
    exchange.filters.get_mut(place).map(|filter| filter.flow_mut(direction))
}

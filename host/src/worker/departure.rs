//! What leaves an exchange behind its last filter: headers, data and trailers of either direction.

use bytes::Bytes;

use super::parts::Worker;
use crate::effect::{Effect, Item};
use crate::exchange::ExchangeId;
use crate::filter::{Buffer, Direction};
use crate::recording::Leg;

impl Worker {
    pub(super) fn send_headers(&mut self, id: ExchangeId, direction: Direction) {
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

    pub(super) fn send_data(&mut self, id: ExchangeId, direction: Direction, data: Buffer, end: bool) {
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

    pub(super) fn send_trailers(&mut self, id: ExchangeId, direction: Direction) {
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

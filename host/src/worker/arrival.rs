//! What comes in for an exchange: its beginning, and the headers, data and trailers of either direction.

use bytes::Bytes;

use super::chains::{Chain, ChainId};
use super::parts::Worker;
use crate::connection::{Connection, Protocol};
use crate::exchange::{Exchange, ExchangeId, LocalReply};
use crate::filter::{Buffer, Direction};
use crate::headers::HeaderMap;
use crate::options::EndStyle;
use crate::recording::Leg;

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
}

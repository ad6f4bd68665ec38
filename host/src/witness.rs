//! What the host notices for recordings: messages and bodies at the ends of the chain, and callbacks with what they do.
//!
//! Nothing of it happens for exchanges that are not recorded; where none is, a callback costs one comparison, and a host call
//! another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::{MapKind, Status};
use crate::callback::{Callback, Trap};
use crate::callout::{Asked, CalloutId};
use crate::exchange::{ExchangeId, Exchanges, LocalReply};
use crate::filter::{Buffer, Direction};
use crate::headers::HeaderMap;
use crate::id_map::IdMap;
use crate::recording::{Answer, Body, Data, Decision, End, Event, Leg, Message, Point, Reply, Step, Tape, What};
use crate::tcp::{Tcp, TcpId};
use crate::vm::{Owner, VmState};

mod tcp;

/// Events that are kept of one callback.
const EVENTS: usize = 256;
/// Bytes of a text that are looked at.
const TEXT: usize = 64 * 1024;

/// The callback that is running, as far as it acts for one exchange or TCP connection.
#[derive(Debug)]
pub(crate) struct Segment {
    callback: Callback,
    /// The exchange or connection, with the plugin's place; nothing while it acts for the plugin itself.
    whose: Option<Owner>,
    at: Duration,
    began: Instant,
    events: Vec<Event>,
    omitted: usize,
    calls: Vec<(&'static str, u32)>,
}

impl Segment {
    fn new(callback: Callback, whose: Option<Owner>, at: Duration) -> Self {
        let began = Instant::now();
        Self { callback, whose, at, began, events: Vec::new(), omitted: 0, calls: Vec::new() }
    }

    /// A host call is made.
    pub(crate) fn count(&mut self, name: &'static str) {
        match self.calls.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.calls.push((name, 1)),
        }
    }
}

/// Callbacks.
impl VmState {
    pub(crate) fn watch_callback(&mut self, callback: Callback) {
        if self.recorded > 0 {
            let at = self.services.clock().now();
            self.segment = Some(Box::new(Segment::new(callback, self.acting_for(), at)));
        }
    }

    /// The guest acts for somebody else from here on.
    pub(crate) fn watch_turn(&mut self) {
        let whose = self.acting_for();
        let Some(segment) = self.segment.take_if(|segment| segment.whose != whose) else { return };
        let at = self.services.clock().now();
        self.segment = Some(Box::new(Segment::new(segment.callback, whose, at)));
        self.keep(*segment, Decision::Nothing);
    }

    pub(crate) fn watch_return(&mut self, callback: Callback, result: &Result<u32, Trap>) {
        let Some(segment) = self.segment.take() else { return };
        let decision = match result {
            Ok(answer) => Decision::of(callback, *answer),
            Err(trap) => Decision::Traps(trap.reason.clone()),
        };
        self.keep(*segment, decision);
    }

    fn acting_for(&self) -> Option<Owner> {
        self.actor().filter(|owner| !matches!(owner, Owner::Root(_)))
    }

    fn keep(&mut self, segment: Segment, decision: Decision) {
        let Segment { callback, whose, at, began, events, omitted, calls } = segment;
        let Some(whose) = whose else { return };
        let idle = events.is_empty() && calls.is_empty() && decision == Decision::Nothing;
        if idle {
            return;
        }
        let Some((plugin, place)) = self.plugin_of(whose) else { return };
        let took = began.elapsed();
        self.note(whose, at, What::Step(Step { plugin, place, callback, took, calls, events, omitted, decision }));
    }

    /// The name and the place of the plugin to which a context belongs.
    fn plugin_of(&self, owner: Owner) -> Option<(Arc<str>, usize)> {
        let (root, place) = match owner {
            // What a root context does for itself belongs to no recording.
            Owner::Root(_) => return None,
            Owner::Stream(id, place) => (self.exchanges.get(id)?.filters.get(place)?.root, place),
            Owner::Tcp(id, place) => (self.tcp.get(&id)?.filters.get(place)?.root, place),
        };
        Some((self.roots.get(root)?.name.as_ref().into(), place))
    }

    fn note(&mut self, whose: Owner, at: Duration, what: What) {
        if let Some((tape, began)) = tape(&mut self.exchanges, &mut self.tcp, whose) {
            self.services.recorder().add(tape, at.saturating_sub(began), what);
        }
    }
}

/// What is recorded of an exchange or a connection, and when that began.
fn tape<'a>(
    exchanges: &'a mut Exchanges,
    tcp: &'a mut IdMap<TcpId, Box<Tcp>>,
    whose: Owner,
) -> Option<(&'a mut Tape, Duration)> {
    match whose {
        Owner::Root(_) => None,
        Owner::Stream(id, _) => {
            let exchange = exchanges.get_mut(id)?;
            Some((exchange.tape.as_deref_mut()?, exchange.started))
        }
        Owner::Tcp(id, _) => {
            let tcp = tcp.get_mut(&id)?;
            Some((tcp.tape.as_deref_mut()?, tcp.started))
        }
    }
}

/// What a callback does.
impl VmState {
    /// Whether the guest acts for an exchange or a connection that is recorded.
    pub(crate) fn is_watched(&self) -> bool {
        match self.segment.as_ref().and_then(|segment| segment.whose) {
            Some(Owner::Stream(id, _)) => self.exchanges.get(id).is_some_and(|exchange| exchange.tape.is_some()),
            Some(Owner::Tcp(id, _)) => self.tcp.get(&id).is_some_and(|tcp| tcp.tape.is_some()),
            Some(Owner::Root(_)) | None => false,
        }
    }

    pub(crate) fn watch(&mut self, event: impl FnOnce() -> Event) {
        if !self.is_watched() {
            return;
        }
        let Some(segment) = &mut self.segment else { return };
        if segment.events.len() < EVENTS {
            segment.events.push(event());
        } else {
            segment.omitted += 1;
        }
    }

    /// A map has changed.
    pub(crate) fn watch_headers(&mut self, kind: MapKind, before: &HeaderMap, after: &HeaderMap) {
        let map = match kind {
            MapKind::RequestHeaders => "request header",
            MapKind::RequestTrailers => "request trailer",
            MapKind::ResponseHeaders => "response header",
            MapKind::ResponseTrailers => "response trailer",
            _ => return,
        };
        for (at, (name, _)) in after.iter().enumerate() {
            let first = after.iter().take(at).all(|(earlier, _)| earlier != name);
            if first && !before.get_all(name).eq(after.get_all(name)) {
                let values: Vec<_> = after.get_all(name).map(|value| text(value)).collect();
                self.watch(|| Event::HeaderSet { map, name: text(name), value: values.join(", ") });
            }
        }
        for (at, (name, _)) in before.iter().enumerate() {
            let first = before.iter().take(at).all(|(earlier, _)| earlier != name);
            if first && after.get(name).is_none() {
                self.watch(|| Event::HeaderRemoved { map, name: text(name) });
            }
        }
    }

    /// A cluster is asked; what is to be remembered until it has answered.
    pub(crate) fn watch_callout(&mut self, cluster: &str, headers: &HeaderMap, body: &[u8]) -> Option<Box<Asked>> {
        if !self.is_watched() {
            return None;
        }
        let whose = self.segment.as_ref()?.whose?;
        let body = (!body.is_empty()).then(|| Body::raw(body, headers));
        let field = |name: &[u8]| headers.get(name).map(|value| text(value)).unwrap_or_default();
        let request = format!("{} {}{}", field(b":method"), field(b":authority"), field(b":path"));
        self.watch(|| Event::Asked { cluster: cluster.to_owned(), request, body });
        Some(Box::new(Asked { whose, cluster: cluster.to_owned(), at: self.services.clock().now() }))
    }

    /// A gRPC callout sends a message, or its end.
    pub(crate) fn watch_sent(&mut self, id: CalloutId, message: Option<usize>, end: bool) {
        if let Some(cluster) = self.asked_cluster(id) {
            self.watch(|| Event::Sent { cluster, message, end });
        }
    }

    /// A gRPC callout is given up.
    pub(crate) fn watch_given_up(&mut self, id: CalloutId) {
        if let Some(cluster) = self.asked_cluster(id) {
            self.watch(|| Event::GivenUp { cluster });
        }
    }

    /// The cluster that a recorded callout asks.
    fn asked_cluster(&self, id: CalloutId) -> Option<String> {
        if self.recorded == 0 {
            return None;
        }
        Some(self.pending.get(&id)?.asked.as_ref()?.cluster.clone())
    }

    pub(crate) fn watch_no_callout(&mut self, cluster: &[u8], status: Status) {
        self.watch(|| Event::NotAsked { cluster: text(cluster), status });
    }
}

/// What happens between callbacks.
impl VmState {
    /// An exchange begins.
    pub(crate) fn watch_begin(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.tape = self.services.recorder().begin(&exchange.entrance.listener().name, exchange.started_unix);
        self.recorded += usize::from(exchange.tape.is_some());
    }

    /// A message has come to the chain, or leaves it.
    pub(crate) fn watch_message(&mut self, id: ExchangeId, leg: Leg) {
        let Some(exchange) = self.exchanges.get(id).filter(|exchange| exchange.tape.is_some()) else { return };
        let half = exchange.half(leg.direction());
        let message = Message { leg, headers: fields(half.headers.as_ref()), end: half.headers_end };
        let now = self.services.clock().now();
        self.note(Owner::Stream(id, 0), now, What::Message(message));
    }

    /// The trailers of a message have come to the chain, or leave it.
    pub(crate) fn watch_trailers(&mut self, id: ExchangeId, leg: Leg) {
        let Some(exchange) = self.exchanges.get(id).filter(|exchange| exchange.tape.is_some()) else { return };
        let headers = fields(exchange.half(leg.direction()).trailers.as_ref());
        let now = self.services.clock().now();
        if !headers.is_empty() {
            self.note(Owner::Stream(id, 0), now, What::Trailers(Message { leg, headers, end: true }));
        }
        self.watch_data(id, leg, &Buffer::default(), true);
    }

    /// A piece of a body has come to the chain, or leaves it.
    pub(crate) fn watch_data(&mut self, id: ExchangeId, leg: Leg, data: &Buffer, end: bool) {
        if self.recorded > 0 {
            self.carry(Owner::Stream(id, 0), leg, data, end);
        }
    }

    fn carry(&mut self, whose: Owner, leg: Leg, data: &Buffer, end: bool) {
        if let Some((tape, began)) = tape(&mut self.exchanges, &mut self.tcp, whose) {
            let at = self.services.clock().now().saturating_sub(began);
            let piece = Data { leg, bytes: data.len(), end };
            self.services.recorder().carry(tape, at, piece, data.slices(0, usize::MAX));
        }
    }

    /// A piece of a body comes to a filter.
    pub(crate) fn watch_between(
        &mut self,
        id: ExchangeId,
        place: usize,
        direction: Direction,
        data: &Buffer,
        end: bool,
    ) {
        if self.recorded == 0 {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (response, before) = match direction {
            Direction::Request => (false, place.checked_sub(1)),
            Direction::Response => (true, Some(place + 1).filter(|before| *before < exchange.filters.len())),
        };
        if let (Some(place), Some(tape)) = (before, &mut exchange.tape) {
            let point = Point::Behind { place, response };
            self.services.recorder().listen(tape, point, data.slices(0, usize::MAX), end);
        }
    }

    /// A plugin's question is answered, in part or to the end.
    pub(crate) fn watch_answer(&mut self, asked: Option<&Asked>, result: impl FnOnce() -> (String, Option<Body>)) {
        let Some(asked) = asked else { return };
        let Some((plugin, _)) = self.plugin_of(asked.whose) else { return };
        let now = self.services.clock().now();
        let (result, body) = result();
        let took = now.saturating_sub(asked.at);
        let answer = Answer { plugin, cluster: asked.cluster.clone(), result, body, took };
        self.note(asked.whose, now, What::Answer(answer));
    }

    /// A message of a gRPC stream has come.
    pub(crate) fn watch_heard(&mut self, id: CalloutId, length: usize) {
        if self.recorded > 0 {
            let asked = self.pending.get(&id).and_then(|pending| pending.asked.clone());
            self.watch_answer(asked.as_deref(), || (format!("a message, {length} bytes"), None));
        }
    }

    /// The proxy answers itself.
    pub(crate) fn watch_reply(&mut self, id: ExchangeId, reply: &LocalReply) {
        if self.recorded > 0 {
            let now = self.services.clock().now();
            self.note(Owner::Stream(id, 0), now, What::Reply(reply.into()));
        }
    }

    /// An exchange has ended.
    pub(crate) fn watch_end(&mut self, id: ExchangeId) {
        let now = self.services.clock().now();
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(mut tape) = exchange.tape.take() else { return };
        self.recorded -= 1;
        let (request, response) = (&exchange.request, &exchange.response);
        let status = response.headers.as_ref().filter(|_| response.passed).and_then(|map| map.get_str(":status"));
        let cluster = exchange.routing.route.as_ref().and_then(|route| route.cluster.as_ref());
        let end = End {
            took: now.saturating_sub(exchange.started),
            status: status.and_then(|status| status.parse().ok()),
            details: exchange.details.clone(),
            cluster: cluster.map(|cluster| cluster.name.clone()),
            upstream: exchange.upstream.as_ref().and_then(|host| host.address),
            request_bytes: (request.came, request.left),
            response_bytes: (response.came, response.left),
        };
        self.services.recorder().end(&mut tape, end);
    }
}

impl From<&LocalReply> for Reply {
    fn from(reply: &LocalReply) -> Self {
        Self { status: reply.status, details: reply.details.clone(), body: reply.body.len() }
    }
}

/// A header map as text.
fn fields(map: Option<&HeaderMap>) -> Vec<(String, String)> {
    map.into_iter().flat_map(HeaderMap::iter).map(|(name, value)| (text(name), text(value))).collect()
}

impl Leg {
    const fn direction(self) -> Direction {
        match self {
            Self::RequestIn | Self::RequestOut => Direction::Request,
            Self::ResponseIn | Self::ResponseOut => Direction::Response,
        }
    }

    /// Where a message of this direction comes to the chain.
    pub(crate) const fn coming(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestIn,
            Direction::Response => Self::ResponseIn,
        }
    }

    /// Where a message of this direction leaves the chain.
    pub(crate) const fn leaving(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestOut,
            Direction::Response => Self::ResponseOut,
        }
    }
}

/// Bytes as text; a long one is cut.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..TEXT).unwrap_or(bytes)).into_owned()
}

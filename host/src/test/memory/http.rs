//! The exchanges of the engine in memory: what clients and upstreams get of each other, and callouts of plugins.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::messages::{outcome, served, to_map, wire};
use super::{Due, Engine};
use crate::fault::CalloutFault;
use crate::surroundings::UpstreamHost;
use crate::test::setup::UPSTREAM;
use crate::test::{Answer, Arrival, Cluster, Ending, Headers, Response, Surroundings};
use crate::worker::{CalloutId, CalloutOutcome, CalloutRequest, ExchangeId, Item, UpstreamFailure, Worker};

/// One exchange as client and upstream see it.
pub(super) struct Talk {
    pub(super) worker: usize,
    pub(super) id: ExchangeId,
    pub(super) request_is_head: bool,
    /// The request on its way to the upstream.
    pub(super) arrival: Option<Arrival>,
    /// The upstream's answer is wanted.
    pub(super) asked: bool,
    pub(super) request_ended: bool,
    pub(super) headers: Option<Headers>,
    pub(super) chunks: Vec<Bytes>,
    pub(super) trailers: Headers,
    pub(super) state: TalkState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TalkState {
    Open,
    Ended,
    Cut,
}

impl Talk {
    pub(super) fn response(&mut self) -> Option<Response> {
        let headers = self.headers.take()?;
        Some(Response::new(headers, std::mem::take(&mut self.chunks), std::mem::take(&mut self.trailers)))
    }
}

impl Engine {
    pub(super) fn ask_upstream(&mut self, number: u64, item: Item) {
        let Some(talk) = self.talks.get_mut(&number) else { return };
        let mut ended = None;
        match item {
            Item::Headers(mut headers, end) => {
                talk.asked = true;
                if !end && headers.get(b"content-length").is_none() {
                    headers.set(b"transfer-encoding", b"chunked");
                }
                let worker = self.workers.get_mut(talk.worker);
                let cluster = worker.as_ref().and_then(|worker| worker.route(talk.id)?.cluster.clone());
                let name = cluster.map_or_else(String::new, |cluster| cluster.name.clone());
                let cluster = self.clusters.get(&name).unwrap_or(&self.upstream);
                if !cluster.is_reachable() {
                    return self.schedule(Duration::ZERO, Due::Unreachable(number));
                }
                if let Some(worker) = worker {
                    worker.sent_to(talk.id, Arc::new(host_of(cluster, &self.surroundings)));
                }
                talk.arrival = Some(cluster.arrived(wire(headers)));
                if end {
                    ended = Some(Headers::new());
                }
            }
            Item::Data(data, end) => {
                if let Some(arrival) = &mut talk.arrival {
                    arrival.data(&data);
                }
                if end {
                    ended = Some(Headers::new());
                }
            }
            Item::Trailers(trailers) => ended = Some(wire(trailers)),
        }
        if let Some(trailers) = ended
            && let Some(arrival) = talk.arrival.take()
        {
            let answer = arrival.end(trailers);
            self.schedule(answer.delay(), Due::Upstream(number, answer));
        }
    }

    pub(super) fn upstream_fails(&mut self, number: u64, failure: UpstreamFailure) {
        let Some(talk) = self.talks.get(&number).filter(|talk| talk.asked) else { return };
        if let Some(worker) = self.workers.get_mut(talk.worker) {
            worker.upstream_reset(talk.id, failure);
        }
    }

    /// Plays an answer into the worker, piece by piece.
    pub(super) fn upstream_answers(&mut self, number: u64, answer: &Answer) {
        match answer.how_it_ends() {
            Ending::Never => return,
            Ending::Unreachable => return self.upstream_fails(number, UpstreamFailure::Connect),
            Ending::Reset => return self.upstream_fails(number, UpstreamFailure::Reset),
            Ending::Malformed => return self.upstream_fails(number, UpstreamFailure::Protocol),
            Ending::Complete | Ending::ResetAfterHeaders => {}
        }
        let Some((index, id)) = self.wanted(number) else { return };
        let headers = served(answer);
        let trailers = answer.scripted_trailers();
        let complete = answer.how_it_ends() == Ending::Complete;
        let pieces: Vec<Bytes> = answer.pieces().cloned().collect();
        let head_only = self.talks.get(&number).is_some_and(|talk| talk.request_is_head);
        // A length of 0 ends the message with its headers; without a length the end comes by itself.
        let bodiless = head_only || headers.get(b"content-length").is_some_and(|length| length == "0");
        let no_content = matches!(headers.get_str(":status"), Some("204" | "304"));
        let ends = complete && trailers.is_empty() && (bodiless || no_content);
        if let Some(worker) = self.workers.get_mut(index) {
            worker.response_headers(id, headers, ends);
        }
        self.carry_out();
        if ends {
            return;
        }
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.iter().enumerate() {
            let Some((index, id)) = self.wanted(number) else { return };
            let end = complete && trailers.is_empty() && at == last;
            if let Some(worker) = self.workers.get_mut(index) {
                worker.response_data(id, piece.clone(), end);
            }
            self.carry_out();
        }
        let Some((index, id)) = self.wanted(number) else { return };
        let Some(worker) = self.workers.get_mut(index) else { return };
        if !complete {
            worker.upstream_reset(id, UpstreamFailure::Reset);
        } else if !trailers.is_empty() {
            worker.response_trailers(id, to_map(trailers.iter()));
        } else if pieces.is_empty() {
            worker.response_data(id, Bytes::new(), true);
        }
    }

    /// Where the answer for an exchange goes, if it still goes anywhere.
    fn wanted(&self, number: u64) -> Option<(usize, ExchangeId)> {
        self.talks.get(&number).filter(|talk| talk.asked).map(|talk| (talk.worker, talk.id))
    }

    pub(super) fn answer_client(&mut self, number: u64, item: Item) {
        let Some(talk) = self.talks.get_mut(&number) else { return };
        let end = match item {
            Item::Headers(headers, end) => {
                talk.headers = Some(wire(headers));
                end
            }
            Item::Data(data, end) => {
                if !data.is_empty() {
                    talk.chunks.push(data);
                }
                end
            }
            Item::Trailers(trailers) => {
                talk.trailers = wire(trailers);
                true
            }
        };
        if end {
            talk.state = TalkState::Ended;
            let (worker, id) = (talk.worker, talk.id);
            self.numbers.remove(&(worker, id));
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.finished(id);
            }
        }
    }

    pub(super) fn call_out(&mut self, index: usize, id: CalloutId, request: CalloutRequest) {
        let fault = self.workers.get_mut(index).and_then(Worker::callout_fault);
        let Some(cluster) = self.clusters.get(&request.cluster).or(Some(&self.upstream)) else { return };
        let mut delay = Duration::ZERO;
        let outcome = match fault {
            Some(CalloutFault::Timeout) => None,
            Some(CalloutFault::Unreachable) => Some(CalloutOutcome::unreachable()),
            Some(CalloutFault::Reset) => Some(CalloutOutcome::Failed),
            _ if !cluster.is_reachable() => Some(CalloutOutcome::unreachable()),
            _ => {
                let mut headers = request.headers;
                headers.set(b"x-envoy-internal", b"true");
                if let Some(timeout) = request.timeout {
                    headers.set(b"x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string().as_bytes());
                }
                let mut arrival = cluster.arrived(wire(headers));
                if !request.body.is_empty() {
                    arrival.data(&request.body);
                }
                let answer = arrival.end(wire(request.trailers));
                delay = answer.delay();
                if let Some(CalloutFault::Slow(extra)) = fault {
                    delay += extra;
                }
                outcome(&answer)
            }
        };
        if let Some(outcome) = outcome {
            self.schedule(delay, Due::Callout(index, id, outcome));
        }
    }
}

/// The one host of a cluster.
pub(super) fn host_of(cluster: &Cluster, surroundings: &Surroundings) -> UpstreamHost {
    UpstreamHost {
        address: Some(([127, 0, 0, 1], 20_000).into()),
        local_address: Some(([127, 0, 0, 1], 30_000).into()),
        metadata: surroundings.host_metadata(cluster.name()),
        tls: surroundings.upstream_tls.clone().filter(|_| cluster.name() == UPSTREAM),
        ..Default::default()
    }
}

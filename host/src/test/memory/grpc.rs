//! gRPC callouts on the virtual clock: the clusters' scripts as servers.

use std::time::Duration;

use super::messages::{to_map, wire};
use super::{Due, Engine};
use crate::fault::CalloutFault;
use crate::headers::Side;
use crate::test::Arrival;
use crate::test::grpc_answer::GrpcPart;
use crate::worker::{CalloutId, GrpcRequest, UpstreamFailure, Worker};

/// A gRPC callout as its server sees it.
pub(super) struct Talk {
    /// Nothing if no server hears it.
    arrival: Option<Arrival>,
    /// The headers have been sent, or are on their way.
    begun: bool,
    /// The plugin sends no more.
    ended: bool,
    /// A fault makes everything later by this much.
    slow: Duration,
}

impl Engine {
    pub(super) fn grpc_begins(&mut self, index: usize, id: CalloutId, request: GrpcRequest) {
        let fault = self.workers.get_mut(index).and_then(Worker::callout_fault);
        let Some(cluster) = self.clusters.get(&request.cluster).or(Some(&self.upstream)) else { return };
        let mut talk = Talk { arrival: None, begun: false, ended: false, slow: Duration::ZERO };
        let fails = match fault {
            Some(CalloutFault::Timeout) => None,
            Some(CalloutFault::Unreachable) => Some(Due::GrpcFails(index, id, UpstreamFailure::Connect)),
            Some(CalloutFault::Reset) => Some(Due::GrpcFails(index, id, UpstreamFailure::Reset)),
            _ if !cluster.is_reachable() => Some(Due::GrpcFails(index, id, UpstreamFailure::Connect)),
            _ => {
                let mut headers = request.headers;
                headers.set(b"x-envoy-internal", b"true");
                if let Some(timeout) = request.timeout {
                    headers.set(b"x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string().as_bytes());
                }
                talk.arrival = Some(cluster.arrived(wire(headers)));
                if let Some(CalloutFault::Slow(extra)) = fault {
                    talk.slow = extra;
                }
                None
            }
        };
        self.grpc.insert((index, id), talk);
        if let Some(due) = fails {
            self.schedule(Duration::ZERO, due);
        }
    }

    pub(super) fn grpc_data(&mut self, index: usize, id: CalloutId, data: &[u8], end: bool) {
        let Some(talk) = self.grpc.get_mut(&(index, id)) else { return };
        talk.ended |= end;
        let Some(arrival) = &mut talk.arrival else { return };
        let slow = talk.slow;
        let mut due = Vec::new();
        for answer in arrival.grpc(data, end) {
            let parts = answer.parts(talk.begun);
            talk.begun |= !parts.is_empty();
            due.push((answer.delay() + slow, parts));
        }
        for (delay, parts) in due {
            self.schedule(delay, Due::Grpc(index, id, parts));
        }
    }

    pub(super) fn grpc_cancelled(&mut self, index: usize, id: CalloutId) {
        self.grpc.remove(&(index, id));
    }

    pub(super) fn grpc_fails(&mut self, index: usize, id: CalloutId, failure: UpstreamFailure) {
        if self.grpc.remove(&(index, id)).is_some()
            && let Some(worker) = self.workers.get_mut(index)
        {
            worker.grpc_failed(id, failure);
        }
    }

    /// Plays what a server says into the worker, part by part.
    pub(super) fn grpc_answers(&mut self, index: usize, id: CalloutId, parts: Vec<GrpcPart>) {
        for part in parts {
            let Some(talk) = self.grpc.get(&(index, id)) else { return };
            let Some(worker) = self.workers.get_mut(index) else { return };
            let over = match part {
                GrpcPart::Headers(headers, end) => {
                    let mut map = to_map(headers.iter()).into_side(Side::Response);
                    // As in Envoy, a peer that answers before the request is whole has no such time.
                    if talk.ended {
                        map.set(b"x-envoy-upstream-service-time", b"0");
                    }
                    worker.grpc_headers(id, map, end);
                    end
                }
                GrpcPart::Data(data, end) => {
                    worker.grpc_data(id, &data, end);
                    end
                }
                GrpcPart::Trailers(trailers) => {
                    worker.grpc_trailers(id, to_map(trailers.iter()));
                    true
                }
                GrpcPart::Reset => {
                    worker.grpc_failed(id, UpstreamFailure::Reset);
                    true
                }
            };
            if over {
                self.grpc.remove(&(index, id));
            }
            self.carry_out();
        }
    }
}

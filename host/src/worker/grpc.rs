//! gRPC callouts: what a server says, on its way to the plugin that asked.

use bytes::Bytes;

use super::parts::Worker;
use crate::callback::Callback;
use crate::callout::{CalloutId, Delivered, Delivery, Pending};
use crate::effect::{Effect, UpstreamFailure};
use crate::grpc::{GrpcCall, code};
use crate::headers::HeaderMap;
use crate::length::length;
use crate::percent;

/// How a call ended by the server's own word is explained.
const BY_THE_SERVER: &str = "via_upstream";

impl Worker {
    /// The headers of a gRPC callout's answer have come; with `end` they are its trailers as well.
    pub fn grpc_headers(&mut self, id: CalloutId, headers: HeaderMap, end: bool) {
        let Some(call) = self.state.grpc_call(id) else { return };
        call.begun = true;
        let (metadata, trailers) =
            if end { (HeaderMap::new(), Some(headers.clone())) } else { (headers.clone(), None) };
        self.tell_metadata(id, metadata);
        let understood = headers.get_str(":status") == Some("200");
        match trailers {
            Some(trailers) if understood || trailers.get(b"grpc-status").is_some() => self.grpc_trailers(id, trailers),
            _ if understood => {}
            _ => self.grpc_breaks(id, code::CANCELLED, BY_THE_SERVER, end),
        }
    }

    /// A piece of a gRPC callout's answer has come. An end without trailers is a mistake of the server's.
    pub fn grpc_data(&mut self, id: CalloutId, data: &[u8], end: bool) {
        if let Some(call) = self.state.grpc_call(id) {
            call.frames.feed(data);
        }
        while let Some(call) = self.state.grpc_call(id) {
            match call.frames.take() {
                Ok(Some(message)) if call.stream => self.tell_message(id, message),
                Ok(Some(message)) => call.answer = Some(message),
                Ok(None) => break,
                Err(_) => return self.grpc_breaks(id, code::INTERNAL, BY_THE_SERVER, end),
            }
        }
        if end {
            self.grpc_breaks(id, code::UNKNOWN, BY_THE_SERVER, true);
        }
    }

    /// The trailers of a gRPC callout's answer have come, and with them its status.
    pub fn grpc_trailers(&mut self, id: CalloutId, trailers: HeaderMap) {
        let status = trailers.get_str("grpc-status").and_then(|status| status.parse().ok()).unwrap_or(code::UNKNOWN);
        let message = trailers.get(b"grpc-message").map(|text| percent::decoded(text)).unwrap_or_default();
        self.grpc_ends(id, trailers, status, &message, BY_THE_SERVER);
    }

    /// A gRPC callout has failed.
    pub fn grpc_failed(&mut self, id: CalloutId, failure: UpstreamFailure) {
        let Some(call) = self.state.grpc_call(id) else { return };
        if call.begun {
            return self.grpc_breaks(id, code::INTERNAL, BY_THE_SERVER, true);
        }
        const BEFORE: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
        let (reason, details) = match failure {
            UpstreamFailure::Connect => ("remote connection failure", "remote_connection_failure"),
            UpstreamFailure::Reset => ("connection termination", "connection_termination"),
            UpstreamFailure::Protocol => ("protocol error", "protocol_error"),
            UpstreamFailure::Timeout => return self.grpc_late(id),
        };
        let details = format!("upstream_reset_before_response_started{{{details}}}");
        self.grpc_reply(id, &format!("{BEFORE}{reason}"), &details);
    }

    /// The time of a gRPC callout is over.
    pub(crate) fn grpc_late(&mut self, id: CalloutId) {
        let call = self.state.grpc_call(id);
        if call.is_some_and(|call| call.begun) {
            return self.grpc_breaks(id, code::INTERNAL, "response_timeout", false);
        }
        self.state.effects.push_back(Effect::CancelCallout(id));
        self.grpc_reply(id, "upstream request timeout", "response_timeout");
    }

    /// What Envoy answers in the place of a server that it cannot ask.
    fn grpc_reply(&mut self, id: CalloutId, message: &str, details: &str) {
        let mut trailers = HeaderMap::response();
        trailers.add(b":status", b"200");
        trailers.add(b"content-type", b"application/grpc");
        trailers.add(b"grpc-status", b"14");
        trailers.add(b"grpc-message", message.as_bytes());
        self.tell_metadata(id, HeaderMap::new());
        self.grpc_ends(id, trailers, code::UNAVAILABLE, message.as_bytes(), details);
    }

    /// An answer that does not go on: the plugin gets empty trailers and a status of the proxy's.
    fn grpc_breaks(&mut self, id: CalloutId, status: u32, details: &str, over: bool) {
        if !over {
            self.state.effects.push_back(Effect::CancelCallout(id));
        }
        self.grpc_ends(id, HeaderMap::new(), status, b"", details);
    }

    fn grpc_ends(&mut self, id: CalloutId, trailers: HeaderMap, status: u32, message: &[u8], details: &str) {
        self.tell_trailers(id, trailers);
        // The plugin may have given it up meanwhile.
        let Some(mut pending) = self.state.unexpect(id) else { return };
        let Some(mut call) = pending.grpc.take() else { return };
        let answer = call.answer.as_ref().map_or(String::new(), |answer| format!(", {} bytes", answer.len()));
        self.state.watch_answer(pending.asked.as_deref(), || (format!("gRPC status {status}{answer}"), None));
        let token = (pending.root, pending.token);
        if call.stream {
            // Measured: Envoy knows a stream until its plugin closes it, also when the peer has ended it long ago; and
            // one that was closed before until the plugin has heard of the end.
            self.state.grpc_tokens.insert(token, id);
        }
        match call.answer.take() {
            Some(answer) if status == code::OK && !call.stream => self.tell_answer(&pending, answer),
            None if status == code::OK && !call.stream => self.tell_close(&pending, code::INTERNAL, b"", ""),
            _ => self.tell_close(&pending, status, message, details),
        }
        if call.stream && call.let_go {
            self.state.grpc_tokens.remove(&token);
        }
    }

    fn tell_metadata(&mut self, id: CalloutId, metadata: HeaderMap) {
        let headers = length(metadata.len());
        self.tell_stream(id, Delivered::InitialMetadata(metadata), |root, token| {
            Callback::GrpcReceiveInitialMetadata { root, token, headers }
        });
    }

    fn tell_message(&mut self, id: CalloutId, message: Bytes) {
        let size = length(message.len());
        self.state.watch_heard(id, message.len());
        self.tell_stream(id, Delivered::Message(message), |root, token| Callback::GrpcReceive { root, token, size });
    }

    fn tell_trailers(&mut self, id: CalloutId, trailers: HeaderMap) {
        let count = length(trailers.len());
        self.tell_stream(id, Delivered::TrailingMetadata(trailers), |root, token| {
            Callback::GrpcReceiveTrailingMetadata { root, token, trailers: count }
        });
    }

    /// A part of a stream; a unary call's plugin is not told.
    fn tell_stream(&mut self, id: CalloutId, what: Delivered, callback: impl FnOnce(u32, u32) -> Callback) {
        let stream = |call: &GrpcCall| call.stream;
        let pending = self.state.pending.get(&id).filter(|pending| pending.grpc.as_deref().is_some_and(stream));
        let Some((root, generation, token)) = pending.map(|pending| (pending.root, pending.generation, pending.token))
        else {
            return;
        };
        self.tell(root, generation, what, |context| callback(context, token));
    }

    fn tell_answer(&mut self, pending: &Pending, answer: Bytes) {
        let (size, token) = (length(answer.len()), pending.token);
        self.tell(pending.root, pending.generation, Delivered::Message(answer), |root| Callback::GrpcReceive {
            root,
            token,
            size,
        });
    }

    fn tell_close(&mut self, pending: &Pending, status: u32, message: &[u8], details: &str) {
        let Some(root) = self.state.roots.get_mut(pending.root) else { return };
        root.status = status;
        root.status_message = explained(message, details);
        let token = pending.token;
        self.tell(pending.root, pending.generation, Delivered::Nothing, |root| Callback::GrpcClose {
            root,
            token,
            status,
        });
        if let Some(root) = self.state.roots.get_mut(pending.root) {
            root.status_message = Bytes::new();
        }
    }

    /// Calls a root back with something to read, unless its VM is another one by now.
    fn tell(&mut self, index: usize, generation: u32, what: Delivered, callback: impl FnOnce(u32) -> Callback) {
        let Some(root) = self.state.roots.get(index) else { return };
        let (vm, context) = (root.vm, root.context);
        if self.state.vms.get(vm).is_none_or(|data| data.generation != generation) {
            return;
        }
        let outer = self.state.running.delivery.replace(Delivery { root: index, what });
        self.call(vm, callback(context));
        self.state.running.delivery = outer;
    }
}

/// A status message with what Envoy knows about its cause.
fn explained(message: &[u8], details: &str) -> Bytes {
    match (message, details) {
        ([], details) => Bytes::copy_from_slice(details.as_bytes()),
        (message, "") => Bytes::copy_from_slice(message),
        (message, details) => [message, b"{", details.as_bytes(), b"}"].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_explained() {
        assert_eq!(explained(b"nope msg", BY_THE_SERVER), "nope msg{via_upstream}");
        assert_eq!(explained(b"", BY_THE_SERVER), "via_upstream");
    }
}

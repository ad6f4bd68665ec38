//! The outcomes of HTTP callouts on their way to the plugins that have asked.

use bytes::Bytes;

use super::parts::Worker;
use crate::callback::Callback;
use crate::callout::{CalloutOutcome, Delivered, Delivery, Pending};
use crate::headers::HeaderMap;
use crate::length::length;

impl Worker {
    /// Hands a callout's outcome to its plugin.
    pub(super) fn deliver(&mut self, pending: &Pending, outcome: CalloutOutcome) {
        self.state.watch_answer(pending.asked.as_deref(), || outcome.told());
        let Some(root) = self.state.roots.get_mut(pending.root) else { return };
        let (vm, context) = (root.vm, root.context);
        let (headers, body, trailers) = match outcome {
            CalloutOutcome::Response { headers, body, trailers } => {
                root.status = 0;
                (headers, body, trailers)
            }
            CalloutOutcome::Failed => {
                // The number stays after the callback, the message does not.
                root.status = 11;
                root.status_message = Bytes::from_static(b"reset");
                (HeaderMap::new(), Bytes::new(), HeaderMap::new())
            }
        };
        if self.state.vms.get(vm).is_none_or(|data| data.generation != pending.generation) {
            return;
        }
        let callback = Callback::HttpCallResponse {
            root: context,
            token: pending.token,
            headers: length(headers.len()),
            body_size: length(body.len()),
            trailers: length(trailers.len()),
        };
        let what = Delivered::Http { headers, body, trailers };
        let outer = self.state.running.delivery.replace(Delivery { root: pending.root, what });
        self.call(vm, callback);
        self.state.running.delivery = outer;
        if let Some(root) = self.state.roots.get_mut(pending.root) {
            root.status_message = Bytes::new();
        }
    }
}

//! What host calls have asked for while a guest ran, done once it has returned.

use super::parts::Worker;
use crate::tcp::Peer;
use crate::vm::Deferred;

impl Worker {
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
}

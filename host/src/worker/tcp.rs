//! TCP connections through the filters, stopped and released as Envoy's network filter manager does.
//!
//! The filters of a direction share one buffer: what one of them holds, those before it see again with the next
//! bytes. Nothing is read from a client before its upstream is connected, as Envoy's `tcp_proxy` has it; and what is
//! held of the upstream's bytes only moves when more of them come.

use std::sync::Arc;

use bytes::Bytes;

use super::chains::{Chain, ChainId};
use super::parts::Worker;
use super::plugin::FailPolicy;
use crate::callback::Callback;
use crate::connection::Connection;
use crate::effect::Effect;
use crate::filter::Buffer;
use crate::length::length;
use crate::recording::Leg;
use crate::surroundings::{Cluster, UpstreamHost};
use crate::tcp::{Line, Peer, Stage, Tcp, TcpEffect, TcpFilter, TcpId};
use crate::vm::Owner;

/// Why a connection is over that has come to its end by itself.
const BOTH_ENDED: &str = "both sides have ended";

impl Worker {
    pub(super) fn tcp_begin(&mut self, chain: ChainId, connection: Connection) -> TcpId {
        let now = self.state.services.clock().now();
        self.state.last_tcp += 1;
        let id = TcpId(self.state.last_tcp);
        let chain = self.chains.get(&chain);
        let (entrance, roots) = chain.map_or_else(Default::default, Chain::begin);
        let homeless = chain.is_none();
        self.state.join_roots(roots);
        self.state.tcp.insert(id, Box::new(Tcp::new(connection, entrance, roots, now)));
        self.state.watch_tcp_begin(id);
        if homeless {
            // Without the plugins nothing passes.
            self.tcp_over(id, Peer::Local, "its listener is gone");
        } else {
            self.read_on(id, 0);
        }
        id
    }

    /// What plugins can learn of where the connection goes.
    pub(super) fn tcp_sent_to(&mut self, id: TcpId, cluster: Arc<Cluster>, host: Arc<UpstreamHost>) {
        if let Some(tcp) = self.tcp_mut(id) {
            tcp.cluster = Some(cluster);
            tcp.host = Some(host);
        }
    }

    /// The upstream is there: reading begins.
    pub(super) fn tcp_reached(&mut self, id: TcpId) {
        if let Some(tcp) = self.tcp_mut(id).filter(|tcp| tcp.stage == Stage::Connecting) {
            tcp.stage = Stage::Connected;
            let gone = tcp.gone;
            self.state.watch_tcp_connected(id);
            if gone {
                return self.tcp_over(id, Peer::Remote, "the client was gone before the server was there");
            }
            self.read_downstream(id);
        }
    }

    /// The client is gone; the proxy notices when it reads.
    pub(super) fn tcp_left(&mut self, id: TcpId) {
        let Some(tcp) = self.tcp_mut(id) else { return };
        tcp.gone = true;
        if tcp.stage == Stage::Connected {
            self.tcp_over(id, Peer::Remote, "the client is gone");
        }
    }

    pub(super) fn tcp_downstream_in(&mut self, id: TcpId, data: Bytes, end: bool) {
        self.come(id, Leg::RequestIn, data, end);
        self.read_downstream(id);
    }

    pub(super) fn tcp_upstream_in(&mut self, id: TcpId, data: Bytes, end: bool) {
        self.come(id, Leg::ResponseIn, data, end);
        self.read_upstream(id);
    }

    /// Bytes have come in one direction.
    fn come(&mut self, id: TcpId, leg: Leg, data: Bytes, end: bool) {
        let Some(tcp) = self.tcp_mut(id) else { return };
        let line = if leg == Leg::RequestIn { &mut tcp.downstream } else { &mut tcp.upstream };
        if line.end || line.unread_end {
            return;
        }
        let data = Buffer::from(data);
        self.state.watch_tcp_data(id, leg, &data, end);
        let Some(tcp) = self.tcp_mut(id) else { return };
        let line = if leg == Leg::RequestIn { &mut tcp.downstream } else { &mut tcp.upstream };
        line.unread.append(data);
        line.unread_end = end;
    }

    /// The connection is over, and for recordings why: each filter in turn hears of it, logs it and forgets it.
    pub(super) fn tcp_over(&mut self, id: TcpId, by: Peer, why: &str) {
        let Some(tcp) = self.tcp_mut(id) else { return };
        tcp.ending = true;
        let filters = tcp.filters.len();
        self.state.effects.push_back(Effect::Tcp { id, effect: TcpEffect::Close });
        for place in 0..filters {
            if let Some((vm, context)) = self.tcp_context(id, place) {
                self.call(vm, Callback::DownstreamClose { context, peer: by as u32 });
                self.call(vm, Callback::Done { context });
                self.call(vm, Callback::Log { context });
                self.call(vm, Callback::Delete { context });
                if let Some(data) = self.state.vms.get_mut(vm) {
                    data.contexts.remove(&context);
                }
            }
        }
        self.state.watch_tcp_end(id, why);
        let gone = self.state.tcp.remove(&id);
        for filter in gone.iter().flat_map(|tcp| &tcp.filters) {
            self.state.leave_root(filter.root);
        }
        self.end_retired();
    }

    /// Shows a new connection, and the bytes that there are, to the filters from `from` on.
    pub(super) fn read_on(&mut self, id: TcpId, from: usize) {
        let Some(filters) = self.tcp_mut(id).map(|tcp| tcp.filters.len()) else { return };
        for place in from..filters {
            let Some(filter) = self.tcp_filter(id, place) else { return };
            if !std::mem::replace(&mut filter.met, true)
                && !self.tcp_ask(id, place, |context, _| Callback::NewConnection { context })
            {
                return;
            }
            let Some(tcp) = self.tcp_mut(id) else { return };
            if !tcp.downstream.has_news() {
                continue;
            }
            let Some(filter) = tcp.filters.get_mut(place) else { return };
            filter.downstream_open = true;
            let goes_on = self.tcp_ask(id, place, |context, tcp| Callback::DownstreamData {
                context,
                size: length(tcp.downstream.window.len()),
                end: tcp.downstream.end,
            });
            if !goes_on {
                return;
            }
            if let Some(filter) = self.tcp_filter(id, place) {
                filter.downstream_open = false;
            }
        }
        self.leave_upstream(id);
    }

    /// What is behind the filters, Envoy's `tcp_proxy`: connects, and then sends on.
    fn leave_upstream(&mut self, id: TcpId) {
        let Some(tcp) = self.tcp_mut(id) else { return };
        match tcp.stage {
            Stage::Ahead => {
                tcp.stage = Stage::Connecting;
                self.state.effects.push_back(Effect::Tcp { id, effect: TcpEffect::Connect });
            }
            Stage::Connecting => {}
            Stage::Connected => {
                let Some((data, end)) = leave(&mut tcp.downstream) else { return };
                self.tcp_send(id, Leg::RequestOut, data, end);
                self.read_downstream(id);
                self.tcp_settle(id, Peer::Remote);
            }
        }
    }

    /// Reads from the client, as far as there is room.
    fn read_downstream(&mut self, id: TcpId) {
        let limit = self.state.options.buffer_limit;
        let Some(tcp) = self.tcp_mut(id).filter(|tcp| tcp.stage == Stage::Connected) else { return };
        let before = tcp.downstream.window.len();
        if tcp.downstream.read(limit) {
            tcp.received += (tcp.downstream.window.len() - before) as u64;
            self.read_on(id, 0);
            self.tcp_settle(id, Peer::Remote);
        }
    }

    /// Reads from the upstream, as far as there is room.
    fn read_upstream(&mut self, id: TcpId) {
        let limit = self.state.options.buffer_limit;
        let Some(tcp) = self.tcp_mut(id) else { return };
        if tcp.upstream.read(limit) {
            self.write_on(id);
            self.tcp_settle(id, Peer::Local);
        }
    }

    /// Shows the upstream's bytes to the filters, from the last to the first.
    fn write_on(&mut self, id: TcpId) {
        let Some(filters) = self.tcp_mut(id).map(|tcp| tcp.filters.len()) else { return };
        for place in (0..filters).rev() {
            let Some(filter) = self.tcp_filter(id, place) else { return };
            filter.upstream_open = true;
            let goes_on = self.tcp_ask(id, place, |context, tcp| Callback::UpstreamData {
                context,
                size: length(tcp.upstream.window.len()),
                end: tcp.upstream.end,
            });
            let Some(tcp) = self.tcp_mut(id) else { return };
            let end = tcp.upstream.end;
            if let Some(filter) = tcp.filters.get_mut(place).filter(|_| goes_on) {
                filter.upstream_open = false;
            }
            if !goes_on && end {
                self.lint_held_end(id, place);
            }
            if end && let Some((vm, context)) = self.tcp_context(id, place) {
                self.call(vm, Callback::UpstreamClose { context, peer: Peer::Unknown as u32 });
            }
            if !goes_on {
                return;
            }
        }
        let Some(tcp) = self.tcp_mut(id) else { return };
        let Some((data, end)) = leave(&mut tcp.upstream) else { return };
        tcp.sent += data.len() as u64;
        self.tcp_send(id, Leg::ResponseOut, data, end);
    }

    /// Closes a connection both halves of which have ended, whether or not a filter still holds something.
    ///
    /// `by` is who ended the second half.
    fn tcp_settle(&mut self, id: TcpId, by: Peer) {
        let Some(tcp) = self.tcp_mut(id) else { return };
        // Envoy's downstream connection has read and written its ends, or its upstream connection has.
        let downstream_is_over = tcp.downstream.end && tcp.upstream.ended;
        let upstream_is_over = tcp.upstream.end && tcp.downstream.ended;
        if downstream_is_over {
            self.lint_lost(id);
            self.tcp_over(id, by, BOTH_ENDED);
        } else if upstream_is_over {
            self.lint_lost(id);
            self.tcp_over(id, Peer::Local, BOTH_ENDED);
        }
    }

    /// Calls a filter; whether it lets pass what it was called for.
    fn tcp_ask(&mut self, id: TcpId, place: usize, callback: impl Fn(u32, &Tcp) -> Callback) -> bool {
        let Some(filter) = self.tcp_filter(id, place) else { return false };
        if filter.bypassed {
            return true;
        }
        let (root, context, generation) = (filter.root, filter.context, filter.generation);
        let Some(vm) = self.state.roots.get(root).map(|root| root.vm) else { return false };
        let alive = if context == 0 {
            self.revive(vm)
        } else {
            self.state.vms.get(vm).is_some_and(|data| !data.failed && data.generation == generation)
        };
        let context = match context {
            _ if !alive => None,
            0 => self.tcp_create(id, place, vm),
            known => Some(known),
        };
        let Some(context) = context else { return self.tcp_failed(id, place) };
        let Some(callback) = self.state.tcp.get(&id).map(|tcp| callback(context, tcp)) else { return false };
        let answer = self.call(vm, callback);
        if self.tcp_mut(id).is_none() {
            return false;
        }
        match answer {
            Some(answer) => answer == 0,
            None => self.tcp_failed(id, place),
        }
    }

    /// Tells the guest about the connection.
    fn tcp_create(&mut self, id: TcpId, place: usize, vm: usize) -> Option<u32> {
        let root = self.tcp_filter(id, place)?.root;
        let root = self.state.roots.get(root)?.context;
        let data = self.state.vms.get_mut(vm)?;
        let context = data.ids.context();
        data.contexts.insert(context, Owner::Tcp(id, place));
        let generation = data.generation;
        let filter = self.tcp_filter(id, place)?;
        filter.context = context;
        filter.generation = generation;
        self.call(vm, Callback::ContextCreate { context, root })?;
        Some(context)
    }

    /// What becomes of the connection of a plugin that has failed; whether it goes on.
    fn tcp_failed(&mut self, id: TcpId, place: usize) -> bool {
        let filter = self.tcp_filter(id, place).map(|filter| (filter.root, filter.context));
        let policy =
            filter.and_then(|(root, _)| self.plugins.get(root)).map_or(FailPolicy::Closed, |plugin| plugin.fail);
        let unseen = filter.is_some_and(|(_, context)| context == 0);
        if policy == FailPolicy::Open || (policy == FailPolicy::OpenLater && unseen) {
            if let Some(filter) = self.tcp_filter(id, place) {
                filter.bypassed = true;
            }
            return true;
        }
        self.tcp_over(id, Peer::Local, "a plugin has failed");
        false
    }

    /// The context of a filter that knows of the connection and can be called.
    fn tcp_context(&self, id: TcpId, place: usize) -> Option<(usize, u32)> {
        let filter = self.state.tcp.get(&id)?.filters.get(place)?;
        let vm = self.state.roots.get(filter.root)?.vm;
        let data = self.state.vms.get(vm)?;
        let callable = filter.context != 0 && !filter.bypassed && !data.failed && data.generation == filter.generation;
        callable.then_some((vm, filter.context))
    }

    /// Sends everything in one piece, as a socket would.
    fn tcp_send(&mut self, id: TcpId, leg: Leg, data: Buffer, end: bool) {
        self.state.watch_tcp_data(id, leg, &data, end);
        let mut chunks = data.into_chunks();
        let whole = match chunks.pop() {
            None => Bytes::new(),
            Some(only) if chunks.is_empty() => only,
            Some(last) => {
                chunks.push(last);
                chunks.concat().into()
            }
        };
        let effect = if leg == Leg::RequestOut {
            TcpEffect::ToUpstream(whole, end)
        } else {
            TcpEffect::ToDownstream(whole, end)
        };
        self.state.effects.push_back(Effect::Tcp { id, effect });
    }

    /// A connection that is not over.
    fn tcp_mut(&mut self, id: TcpId) -> Option<&mut Tcp> {
        self.state.tcp.get_mut(&id).map(AsMut::as_mut).filter(|tcp| !tcp.ending)
    }

    fn tcp_filter(&mut self, id: TcpId, place: usize) -> Option<&mut TcpFilter> {
        self.tcp_mut(id)?.filters.get_mut(place)
    }
}

/// What leaves in one direction, if there is something.
fn leave(line: &mut Line) -> Option<(Buffer, bool)> {
    if line.ended || !line.has_news() {
        return None;
    }
    line.ended = line.end;
    Some((line.window.take(), line.end))
}

#[cfg(test)]
mod tests;

//! Who answers for a filter of an exchange: its context in a guest that runs, or nobody.

use super::parts::Worker;
use super::plugin::{FailPolicy, Plugin};
use crate::abi::Action;
use crate::callback::Callback;
use crate::exchange::{ExchangeId, LocalReply};
use crate::filter::Direction;
use crate::vm::Owner;

/// Who answers for a filter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callee {
    /// A context of a guest.
    Guest { vm: usize, context: u32 },
    /// The filter is passed by: what comes goes on, and so does what it has held back.
    Nobody,
}

impl Worker {
    /// Who answers for a filter now; nothing if the stream does not go on. Makes the filter's context when a request first
    /// meets it.
    pub(super) fn callee(&mut self, id: ExchangeId, place: usize, direction: Direction) -> Option<Callee> {
        let exchange = self.state.exchanges.get(id)?;
        if exchange.half(direction).aborted || exchange.ending {
            return None;
        }
        let filter = exchange.filters.get(place)?;
        // A filter that the request never met does not see the response either.
        if filter.bypassed || (filter.context == 0 && direction == Direction::Response) {
            return Some(Callee::Nobody);
        }
        let (context, generation, refused) = (filter.context, filter.generation, filter.refused);
        let vm = self.state.roots.get(filter.root)?.vm;
        let alive = if context == 0 {
            self.revive(vm)
        } else {
            self.state.vms.get(vm).is_some_and(|data| !data.failed && data.generation == generation)
        };
        if alive {
            let context = if context == 0 { self.create_context(id, place, vm) } else { Some(context) };
            if let Some(context) = context {
                return Some(Callee::Guest { vm, context });
            }
        }
        // Its 503 is on its way already.
        (refused || self.passed_by(id, place)).then_some(Callee::Nobody)
    }

    /// Asks for a filter whether the stream goes on; nothing if it is over in this direction.
    pub(super) fn ask(
        &mut self,
        id: ExchangeId,
        place: usize,
        direction: Direction,
        callee: Callee,
        callback: impl FnOnce(u32) -> Callback,
        read: impl FnOnce(u32) -> Action,
    ) -> Option<Action> {
        let Callee::Guest { vm, context } = callee else { return Some(Action::Continue) };
        let answer = self.call(vm, callback(context));
        let exchange = self.state.exchanges.get(id)?;
        if exchange.ending || exchange.half(direction).aborted {
            return None;
        }
        match answer {
            Some(answer) => Some(read(answer)),
            None => self.passed_by(id, place).then_some(Action::Continue),
        }
    }

    /// Whether the stream of a plugin that has failed goes on without it; if not, it is refused.
    fn passed_by(&mut self, id: ExchangeId, place: usize) -> bool {
        let policy = self.plugin_at(id, place).map_or(FailPolicy::Closed, |plugin| plugin.fail);
        let Some(filter) = self.state.exchanges.get_mut(id).and_then(|exchange| exchange.filters.get_mut(place)) else {
            return false;
        };
        if policy == FailPolicy::Open || (policy == FailPolicy::OpenLater && filter.context == 0) {
            filter.bypassed = true;
            return true;
        }
        if !std::mem::replace(&mut filter.refused, true) {
            filter.replied = true;
            self.own_reply(id, LocalReply::failed_stream());
        }
        false
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

    pub(super) fn plugin_at(&self, id: ExchangeId, place: usize) -> Option<&Plugin> {
        self.plugins.get(self.state.exchanges.get(id)?.filters.get(place)?.root)
    }
}

//! What stands in the place of a plugin that cannot be there: Istio's fallback for a module that could not be fetched, and
//! Envoy's for a filter without a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::AbiVersion;
use crate::callback::{Callback, Trap};
use crate::exchange::LocalReply;
use crate::guest::{Guest, Load};
use crate::vm::{Deferred, Owner, VmState};
use crate::worker::{Code, Plugin};

/// `StopAllIterationAndBuffer`: nothing passes before the reply.
const STOP: u32 = 3;
/// `Pause`, from a TCP callback.
const PAUSE: u32 = 1;

/// A filter that lets nothing pass, or everything.
#[derive(Debug, Clone)]
pub struct StandIn {
    kind: Kind,
    refused: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Allow,
    Deny,
    Missing,
}

impl StandIn {
    /// What istio-agent puts there when a module could not be fetched and the plugin does not fail open: an RBAC filter
    /// without rules.
    #[must_use]
    pub fn deny() -> Self {
        Self::of(Kind::Deny)
    }

    /// What istio-agent puts there when a module could not be fetched and the plugin fails open: an RBAC filter that allows
    /// everything.
    #[must_use]
    pub fn allow() -> Self {
        Self::of(Kind::Allow)
    }

    /// What Envoy does while a filter has no configuration, since its first one was refused.
    #[must_use]
    pub fn missing() -> Self {
        Self::of(Kind::Missing)
    }

    fn of(kind: Kind) -> Self {
        Self { kind, refused: Arc::default() }
    }

    /// As a plugin of a chain.
    #[must_use]
    pub fn plugin(&self, name: impl Into<String>) -> Plugin {
        let name = name.into();
        Plugin { vm_id: name.clone(), ..Plugin::new(name, Code::Wasm(Arc::new(self.clone()))) }
    }

    /// Requests and connections that were refused, on all workers.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What it answers; nothing where it lets pass.
    fn reply(&self) -> Option<LocalReply> {
        Some(match self.kind {
            Kind::Allow => return None,
            Kind::Deny => LocalReply::text(403, "RBAC: access denied", "rbac_access_denied_matched_policy[none]"),
            Kind::Missing => LocalReply::text(500, "", "no_filter_config_found"),
        })
    }
}

impl Load for StandIn {
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>) {
        (state, Ok(Box::new(self.clone())))
    }

    fn is_stand_in(&self) -> bool {
        true
    }

    fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }
}

impl Guest for StandIn {
    fn call(&mut self, mut state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>) {
        let refusal = match (callback, state.actor()) {
            (Callback::RequestHeaders { .. }, Some(Owner::Stream(id, place))) => {
                self.reply().map(|reply| (Deferred::Reply(id, place, Box::new(reply)), STOP))
            }
            (Callback::NewConnection { .. }, Some(Owner::Tcp(id, _))) => {
                (self.kind != Kind::Allow).then_some((Deferred::CloseTcp(id), PAUSE))
            }
            _ => None,
        };
        let Some((wish, answer)) = refusal else { return (state, Ok(callback.assumed())) };
        self.refused.fetch_add(1, Ordering::Relaxed);
        state.deferred.push_back(wish);
        (state, Ok(answer))
    }

    fn exports(&self, callback: Callback) -> bool {
        self.kind != Kind::Allow && matches!(callback, Callback::RequestHeaders { .. } | Callback::NewConnection { .. })
    }

    fn abi(&self) -> AbiVersion {
        AbiVersion::V0_2_1
    }
}

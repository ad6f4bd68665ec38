//! What stands in the place of a plugin that cannot be there: Istio's fallback for a module that could not be fetched, and
//! Envoy's for a filter without a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::abi::AbiVersion;
use crate::callback::{Callback, Trap};
use crate::exchange::LocalReply;
use crate::guest::{Guest, Load};
use crate::vm::{Deferred, Owner, VmState};
use crate::worker::{Code, FailPolicy, Plugin};

/// `StopAllIterationAndBuffer`: nothing passes before the reply.
const STOP: u32 = 3;
/// `Pause`, from a TCP callback.
const PAUSE: u32 = 1;

/// A filter that lets nothing pass.
#[derive(Debug, Clone)]
pub struct StandIn {
    kind: Kind,
    refused: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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
        Plugin {
            vm_id: name.clone(),
            name,
            root_id: String::new(),
            configuration: Bytes::new(),
            vm_configuration: Bytes::new(),
            environment: Vec::new(),
            fail: FailPolicy::Closed,
            allow_on_headers_stop_iteration: false,
            code: Code::Wasm(Arc::new(self.clone())),
        }
    }

    /// Requests and connections that were refused, on all workers.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn reply(&self) -> LocalReply {
        match self.kind {
            Kind::Deny => LocalReply::text(403, "RBAC: access denied", "rbac_access_denied_matched_policy[none]"),
            Kind::Missing => LocalReply::text(500, "", "no_filter_config_found"),
        }
    }
}

impl Load for StandIn {
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>) {
        (state, Ok(Box::new(self.clone())))
    }

    fn is_stand_in(&self) -> bool {
        true
    }
}

impl Guest for StandIn {
    fn call(&mut self, mut state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>) {
        let answer = match (callback, state.actor()) {
            (Callback::RequestHeaders { .. }, Some(Owner::Stream(id, place))) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                state.deferred.push_back(Deferred::Reply(id, place, Box::new(self.reply())));
                STOP
            }
            (Callback::NewConnection { .. }, Some(Owner::Tcp(id, _))) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                state.deferred.push_back(Deferred::CloseTcp(id));
                PAUSE
            }
            _ => callback.assumed(),
        };
        (state, Ok(answer))
    }

    fn exports(&self, callback: Callback) -> bool {
        matches!(callback, Callback::RequestHeaders { .. } | Callback::NewConnection { .. })
    }

    fn abi(&self) -> AbiVersion {
        AbiVersion::V0_2_1
    }
}

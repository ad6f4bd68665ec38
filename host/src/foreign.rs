//! Envoy's foreign functions by name: expressions, signatures, compression, the route cache.

#[cfg(feature = "foreign")]
mod compression;
#[cfg(feature = "foreign")]
mod expression;
#[cfg(feature = "foreign")]
mod signature;

use crate::abi::Status;
use crate::calls::{properties, streams};
use crate::vm::VmState;

/// What a function answers: its result, or why there is none.
type Outcome = Result<Vec<u8>, Status>;

/// Calls a function by its name.
pub(crate) fn call(state: &mut VmState, name: &[u8], argument: &[u8]) -> Outcome {
    match name {
        b"clear_route_cache" => {
            streams::forget_route(state);
            Ok(Vec::new())
        }
        b"declare_property" => properties::declare(state, argument).map(|()| Vec::new()),
        b"set_envoy_filter_state" => properties::make_object(state, argument).map(|()| Vec::new()),
        #[cfg(feature = "foreign")]
        b"compress" => compression::compress(argument),
        #[cfg(feature = "foreign")]
        b"uncompress" => compression::uncompress(argument, state.sandbox().limits.memory),
        #[cfg(feature = "foreign")]
        b"expr_create" => expression::create(state, argument),
        #[cfg(feature = "foreign")]
        b"expr_evaluate" => expression::evaluate(state, argument),
        #[cfg(feature = "foreign")]
        b"expr_delete" => expression::delete(state, argument),
        #[cfg(feature = "foreign")]
        b"sign" => signature::sign(argument),
        #[cfg(feature = "foreign")]
        b"verify_signature" => signature::verify(argument),
        _ => Err(Status::NotFound),
    }
}

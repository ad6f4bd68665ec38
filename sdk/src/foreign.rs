//! Foreign functions: what a host offers by name, beyond the specification.
//!
//! The typed ones are [`cel`](crate::cel), [`signature`](crate::signature) and [`compression`](crate::compression);
//! this is the door to those of hosts that extend Envoy.

use crate::error::{ErrorKind, Result};
use crate::sys::{self, Status};

/// Calls a function; what its bytes mean is between the host and the caller.
///
/// A host that does not have it answers [`ErrorKind::Unsupported`].
pub fn call(function: &'static str, argument: &[u8]) -> Result<Vec<u8>> {
    sys::call_foreign_function(function, argument).map_err(|error| match error.status {
        Status::NOT_FOUND | Status::UNIMPLEMENTED => ErrorKind::Unsupported { function }.into(),
        _ => error.into(),
    })
}

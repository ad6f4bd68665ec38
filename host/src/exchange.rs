//! One request with its response, as the filters of a chain and the host calls see it.

mod reply;
mod slots;
mod state;

pub use reply::LocalReply;
pub(crate) use reply::http_to_grpc;
pub(crate) use slots::Exchanges;
pub use state::ExchangeId;
pub(crate) use state::{Exchange, Half};

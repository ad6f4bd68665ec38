//! Istio's metadata exchange as a plugin: `istio_core::peer` knows what is said, this says it and listens.

mod http;
mod node;
mod place;
mod tcp;

use istio_core::peer::exchange::Config;

use self::http::HttpExchange;
use self::tcp::{Config as TcpConfig, TcpExchange};

wasmplugin::plugin!(
    "" => HttpExchange, config = Config;
    "tcp" => TcpExchange: Tcp, config = TcpConfig
);

//! The proxy over real sockets: one binary, one folder of subjects.

mod admin;
mod bodies;
mod callouts;
mod clients;
mod http2;
mod lifecycle;
mod load;
mod modules;
mod plain;
mod plugins;
mod servers;
mod upstreams;

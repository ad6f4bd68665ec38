//! Everything between a module and the proxy that loads it: Istio's resources and their rules, OCI images, and the
//! cache of modules. No sockets but a registry's.

pub mod cache;
pub mod fetch;
pub mod image;
pub mod registry;

//! A mesh on one machine: Istio's resources and a description of the workloads, turned into what each proxy has to do.
//!
//! [`files`] reads what one would `kubectl apply`; [`description`] is the one file that Kubernetes would know the content
//! of by itself; [`plan`] decides which plugins stand where, and within which [`limits`], from [`policies`],
//! [`envoy_filter`] and [`plugin_config`] with its [`terms`] too; [`modules`] gets the modules; [`embedded`] and [`envoy`]
//! say it to a proxy, [`subscriber`] to a real one that runs, in the files of
//! [`discovery`]; [`running`] keeps it going, [`started`] one proxy of it, as [`watched`] files change; [`restart`] is what
//! a proxy keeps nevertheless.

pub(crate) mod description;
mod discovery;
pub(crate) mod embedded;
pub(crate) mod envoy;
mod envoy_filter;
pub(crate) mod files;
mod limits;
pub(crate) mod modules;
pub(crate) mod plan;
mod plugin_config;
mod policies;
mod restart;
pub(crate) mod running;
mod started;
mod subscriber;
mod terms;
#[cfg(test)]
mod tests;
mod watched;

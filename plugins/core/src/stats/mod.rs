//! Istio's `stats`: which metrics a stream is counted in, and under which labels.
//!
//! [`Plan`] is what the configuration says, [`Facts`](facts::Facts) is one stream, [`Labels`](labels::Labels) the values
//! for it, and [`Dimensions`](dimensions::Dimensions) finds the metrics. Labels are those of Istio's current native
//! filter, `istio_stats`.

pub mod config;
pub mod dimensions;
pub mod facts;
pub mod flags;
pub mod frames;
pub mod host;
pub mod labels;
pub mod metric;
pub mod plan;
mod service;
pub mod tag;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use plan::Plan;

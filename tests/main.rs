//! Every scenario on every engine, in one binary.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "all of it is tests, and this is how they fail"
)]

mod drives;
mod engines;
mod hostile;
mod keep_alive;
mod stats_labels;
mod tcp_drives;
mod tokens;
mod wat_guest;
mod workloads;

// One module per plugin and example, with its name.
mod access_log_policy;
mod attributegen;
mod basic_auth;
mod canary_router;
mod capabilities;
mod cel_gate;
mod configured_headers;
mod external_auth;
mod foreign;
mod grpc_auth;
mod hello;
mod jwt;
mod jwt_cases;
mod labelled_counter;
mod metadata_exchange;
mod path_guard;
mod per_route;
mod rate_limit;
mod rate_limit_plugin;
mod rbac;
mod rbac_cases;
mod rbac_jwt_authn;
mod rbac_memory;
mod rbac_native;
mod request_headers;
mod request_log;
mod request_metrics;
mod rewrite_json;
mod sse_filter;
mod stats;
mod stats_bounds;
mod stats_connections;
mod stats_cost;
mod stats_dashboards;
mod stats_live;
mod stats_messages;
mod stats_sidecars;
mod stats_strangers;
mod stream_upper;
mod tcp_allow_list;
mod token_refresher;
mod two_callouts;

// How modules are built.
mod descriptions;
mod sizes;
mod toolchains;

// What the SDK promises to every plugin, shown with the `probe`.
mod bodies;
mod buffered;
mod callout_probe;
mod callouts;
mod configuration;
mod duplex;
mod header_places;
mod headers;
mod labels;
mod replies;
mod responses;
mod shared_state;
mod tasks;
mod tcp;
mod waiting;

// What holds whatever happens.
mod concurrency;
mod faults;
mod policies;
mod proofs;
mod random;
mod several_workers;
mod tcp_faults;
mod tcp_traces;
mod traces;

// What the SDK and the engines say about the proxy around a plugin.
mod attributes;

include!(concat!(env!("OUT_DIR"), "/every_module_has_a_scenario.rs"));

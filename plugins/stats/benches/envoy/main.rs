//! What telemetry costs a request in a real Envoy: `stats`, beside no filter, the smallest filter on the raw `proxy-wasm` crate,
//! and a Lua filter that makes the same labels (and counts nothing, which Lua cannot); and `metadata-exchange`, with a peer
//! that it has met before. Beside each stands a module that makes its host calls and does nothing else: what it costs is
//! Envoy's.
//!
//! `cargo bench --profile dev -p stats --bench envoy` prints the CPU time per request and fails when a budget is missed.

mod by_hand;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use istio_core::peer::header::{ID, METADATA};
use serde_json::{Value, json};
use wasmplugin_host::envoy::race::{Contestant, Race, Standings};
use wasmplugin_host::module::build::{self, Options};
use wasmplugin_host::test::{Node, TrafficDirection};

const NOTHING: &str = "no filter";
const STATS: &str = "stats";
const TOLD: &str = "no filter, a peer's headers";
const EXCHANGE: &str = "metadata-exchange, a known peer";
const LISTED: &str = "metadata-exchange, as istiod says it";
const STATS_BY_HAND: &str = "the calls of stats, by hand";
const EXCHANGE_BY_HAND: &str = "the calls of metadata-exchange, by hand";

/// What a request may cost more than without the filter, in microseconds.
const BUDGETS: [(&str, &str, f64); 4] =
    [(STATS, NOTHING, 15.0), (LISTED, TOLD, 10.0), (STATS, STATS_BY_HAND, 3.0), (EXCHANGE, EXCHANGE_BY_HAND, 3.0)];

/// Who asks, in the words of Istio's own proxy.
const PEER: &str = include_str!("../../../core/testdata/metadata_exchange/mx_native_client.b64");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let [stats, exchange, smallest] = modules(["stats", "metadata-exchange", "bench-raw-hook"])?;
    let folder = tempfile::tempdir()?;
    let (stats_by_hand, exchange_by_hand) =
        (by_hand::stats(folder.path())?, by_hand::exchange(folder.path(), PEER.trim())?);
    let nothing = json!({});
    let told = |contestant: Contestant| contestant.request([(METADATA, PEER.trim()), (ID, "client")]);
    let contestants = vec![
        Contestant::new(NOTHING),
        Contestant::new("one header, raw proxy-wasm").plugin(smallest, &nothing),
        Contestant::new("lua, the same labels").filter(lua()),
        Contestant::new("stats, minimal").plugin(&stats, &json!({"profile": "minimal"})),
        Contestant::new(STATS_BY_HAND).plugin(stats_by_hand, &nothing),
        Contestant::new(STATS).plugin(&stats, &nothing),
        told(Contestant::new(TOLD)),
        told(Contestant::new(EXCHANGE_BY_HAND).plugin(exchange_by_hand, &nothing)),
        told(Contestant::new(EXCHANGE).plugin(&exchange, &nothing)),
        told(Contestant::new(LISTED).plugin(&exchange, &listed())),
        told(Contestant::new("both").plugin(&exchange, &nothing).plugin(&stats, &nothing)),
    ];
    let standings = Race::default().run(contestants.into_iter().map(inbound).collect())?;
    print!("{standings}");
    let within = BUDGETS.into_iter().map(|budget| is_within(&standings, budget)).collect::<Result<Vec<_>, _>>()?;
    Ok(if within.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What istiod configures for a listener of this direction: methods one by one, so that nobody has to ask for the direction.
fn listed() -> Value {
    let headers = json!([{"istio_headers": {}}]);
    json!({"downstream_discovery": headers, "downstream_propagation": headers})
}

/// Prints what a contestant costs more than another; whether that is within the budget.
fn is_within(standings: &Standings, (name, baseline, budget): (&str, &str, f64)) -> Result<bool, Box<dyn Error>> {
    let of = |name: &str| standings.of(name).ok_or_else(|| format!("`{name}` was not in the race"));
    let over = of(name)?.over(of(baseline)?);
    let within = over <= budget;
    let judgement = if within { "within" } else { "OVER" };
    println!("{name} over {baseline}: {over:.1} µs, {judgement} the budget of {budget} µs");
    Ok(within)
}

fn modules<const N: usize>(packages: [&str; N]) -> Result<[PathBuf; N], Box<dyn Error>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let options = Options { directory: Some(root), quiet: true, ..Options::default() };
    let built = build::build(&packages, &options)?;
    let path = |package| built.iter().find(|module| module.package == package).map(|module| module.path.clone());
    let paths: Option<Vec<_>> = packages.into_iter().map(path).collect();
    Ok(paths.and_then(|paths| paths.try_into().ok()).ok_or("every module was built")?)
}

/// The sidecar of a server whose client asks for a host.
fn inbound(contestant: Contestant) -> Contestant {
    contestant.bootstrap(|bootstrap| {
        let metadata = json!({
            "WORKLOAD_NAME": "ratings-v1", "NAMESPACE": "default", "CLUSTER_ID": "server-cluster", "ISTIO_VERSION": "1.30.0",
            "LABELS": {"app": "ratings", "version": "v1", "service.istio.io/canonical-name": "ratings"},
        });
        let Value::Object(metadata) = metadata else { return };
        let node = &mut bootstrap.surroundings.node;
        *node = Node { metadata, ..std::mem::take(node) };
        bootstrap.surroundings.listener.direction = TrafficDirection::Inbound;
    })
}

/// What an operator would write for want of a module: the 25 labels as one text, left in dynamic metadata.
fn lua() -> Value {
    let script = r#"
        local unknown = "unknown"
        function envoy_on_request(handle)
          local headers = handle:headers()
          handle:streamInfo():dynamicMetadata():set("stats", "host", headers:get(":authority") or unknown)
          handle:streamInfo():dynamicMetadata():set("stats", "type", headers:get("content-type") or "")
        end
        function envoy_on_response(handle)
          local info = handle:streamInfo()
          local seen = info:dynamicMetadata():get("stats") or {}
          local ssl = info:downstreamSslConnection()
          local peer = ssl and ssl:uriSanPeerCertificate()[1] or unknown
          local mine = ssl and ssl:uriSanLocalCertificate()[1] or unknown
          local protocol = string.sub(seen.type or "", 1, 16) == "application/grpc" and "grpc" or "http"
          local labels = table.concat({
            "reporter=destination", "source_workload=" .. unknown, "source_workload_namespace=" .. unknown,
            "source_principal=" .. peer, "source_app=" .. unknown, "source_version=" .. unknown,
            "source_canonical_service=" .. unknown, "source_canonical_revision=latest", "source_cluster=" .. unknown,
            "destination_workload=ratings-v1", "destination_workload_namespace=default", "destination_principal=" .. mine,
            "destination_app=ratings", "destination_version=v1", "destination_service=" .. (seen.host or unknown),
            "destination_service_name=" .. (seen.host or unknown), "destination_service_namespace=default",
            "destination_canonical_service=ratings", "destination_canonical_revision=latest",
            "destination_cluster=server-cluster", "request_protocol=" .. protocol, "response_flags=-",
            "connection_security_policy=" .. (ssl and "mutual_tls" or "none"),
            "response_code=" .. (handle:headers():get(":status") or "0"), "grpc_response_status=",
          }, ";")
          info:dynamicMetadata():set("stats", "labels", labels)
        end
    "#;
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": script},
        },
    })
}

//! `stats` in real Envoys under way: a stream that stays open, and configurations that come and go under load.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::envoy::binary;
use wasmplugin_host::envoy::config::{self, Bootstrap};
use wasmplugin_host::envoy::process::{Options, Process};
use wasmplugin_host::test::{Cluster, Engine, GrpcAnswer, Node, Request, StatsTag, TrafficDirection};

use crate::engines::{Outcome, Plugin};
use crate::stats::customized;
use crate::stats_labels::{
    inbound, labels, line, message, more_tags, series, series_in, service, settled, tags, total, with,
};
use crate::stats_sidecars::{EXCHANGE, STATS, outer};
use crate::workloads::server;

/// The server's sidecar with these plugins.
pub(crate) fn inner(plugins: &[(&Plugin, &Value)], upstream: SocketAddr, more_labels: &[&str]) -> Bootstrap {
    let mut bootstrap = Bootstrap::new(config::Cluster { name: "upstream".to_owned(), address: upstream, http2: true });
    bootstrap.plugins = plugins.iter().map(|(plugin, configuration)| in_chain(plugin, configuration)).collect();
    let tags = tags().into_iter().chain(more_tags(more_labels));
    bootstrap.stats_tags = tags.map(|(name, regex)| StatsTag::new(name, regex).unwrap()).collect();
    let surroundings = &mut bootstrap.surroundings;
    let Node { id, cluster, metadata, .. } = server();
    surroundings.node = Node { id, cluster, metadata, ..Node::default() };
    surroundings.listener.direction = TrafficDirection::Inbound;
    surroundings.clusters = vec![("upstream".to_owned(), service().as_object().unwrap().clone())];
    bootstrap
}

fn in_chain(plugin: &Plugin, configuration: &Value) -> config::Plugin {
    config::Plugin {
        configuration: configuration.to_string().into(),
        ..config::Plugin::new(plugin.package, plugin.module())
    }
}

/// Answers the n-th message with as many as it asks for, and the end with success.
fn as_many_as_asked() -> Cluster {
    let answered = AtomicUsize::new(0);
    Cluster::grpc_stream("upstream", move |call: &Request| {
        match call.messages().get(answered.fetch_add(1, Ordering::Relaxed)) {
            Some(message) => (0..message[0]).fold(GrpcAnswer::more(), |answer, _| answer.and_message("r")),
            None => GrpcAnswer::status(0, ""),
        }
    })
}

/// S4: the server's Envoy counts messages itself, with its filter `grpc_stats`; in the client's `stats` does.
#[test]
fn messages_of_an_open_stream_are_counted_on_both_sides() -> Outcome {
    let application = Backend::start(as_many_as_asked())?;
    let often = json!({"tcp_reporting_duration": "1s"});
    let mut labelled = often.clone();
    labelled["metrics"] = json!([{"dimensions": {"configurable_metric_a": "xds.node.metadata.LABELS.version"}}]);
    let mut bootstrap = inner(&[(&EXCHANGE, &json!({})), (&STATS, &often)], application.address(), &[]);
    bootstrap.filters.push(json!({
        "name": "envoy.filters.http.grpc_stats",
        "typed_config": config::typed(
            "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            json!({"emit_filter_state": true}),
        ),
    }));
    let inner = Process::start(&binary::find()?.path, &bootstrap, Options { workers: 1, trace: false })?;
    let plugins = EXCHANGE.on(Engine::Envoy).config(json!({})).then(STATS.on(Engine::Envoy).config(labelled));
    let outer = outer(plugins).stats_tags(more_tags(&["configurable_metric_a"]));
    let mut outer = outer.http2(true).upstream_at(inner.listener()).start()?;

    let stream = outer.post("/s/m").header("content-type", "application/grpc").open()?;
    let asks = |counts: &[u8]| counts.iter().flat_map(|count| [0, 0, 0, 0, 1, *count]).collect::<Vec<u8>>();
    let client = with(message(labels()), &[("configurable_metric_a", "v1")]);
    for (asked, last, requests, responses) in [(&[1, 5, 7][..], false, 3, 13), (&[10, 1, 1, 1, 1], true, 8, 27)] {
        outer.send_data(&stream, asks(asked), last)?;
        for (metric, value) in
            [("istio_request_messages_total", requests), ("istio_response_messages_total", responses)]
        {
            let of_client = [line(metric, &client, value)];
            assert_eq!(settled(|| series(&mut outer, metric), |seen| *seen == of_client), of_client);
            let of_server = [line(metric, &message(inbound()), value)];
            assert_eq!(settled(|| series_in(&inner.prometheus(), metric), |seen| *seen == of_server), of_server);
        }
        let calls = u64::from(last);
        assert_eq!(total(&settled(|| series(&mut outer, "istio_requests_total"), |seen| total(seen) == calls)), calls);
    }
    assert_eq!(outer.finish(stream)?.trailer("grpc-status"), Some("0"));
    Ok(())
}

/// What Envoy reads again when the file is replaced.
struct Watched {
    folder: PathBuf,
    version: u64,
}

impl Watched {
    fn new(name: &str) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("wasmplugin-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, version: 0 })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("resources.json")
    }

    /// Where Envoy finds it.
    fn source(&self) -> Value {
        json!({"path_config_source": {"path": self.path()}, "resource_api_version": "V3"})
    }

    /// Replaces it as a whole.
    fn replace(&mut self, resource: &Value) -> std::io::Result<()> {
        self.version += 1;
        let response = json!({"version_info": self.version.to_string(), "resources": [resource]});
        let draft = self.folder.join("draft.json");
        fs::write(&draft, response.to_string())?;
        fs::rename(draft, self.path())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// How a configuration comes to an Envoy.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    /// As istiod sends it, as an extension by itself.
    Extension,
    /// With the whole listener.
    Listener,
}

impl Delivery {
    /// The counters that move when Envoy has taken a resource, and when it has refused one.
    fn counters(self) -> [&'static str; 2] {
        match self {
            Self::Extension => ["stats_config_reload", "stats_config_fail"],
            Self::Listener => ["listener_manager_lds_update_success", "listener_manager_lds_update_rejected"],
        }
    }

    /// Takes what is delivered out of a configuration, and has it read from the file.
    fn split(self, mut bootstrap: Value, watched: &Watched) -> (Value, Value) {
        let listeners = &mut bootstrap["static_resources"]["listeners"];
        match self {
            Self::Extension => {
                let filters = "/0/filter_chains/0/filters/0/typed_config/http_filters/0";
                let filter = listeners.pointer_mut(filters).unwrap();
                let discovered = json!({
                    "name": "stats",
                    "config_discovery": {
                        "config_source": watched.source(),
                        "type_urls": [filter["typed_config"]["@type"]],
                    },
                });
                let old = std::mem::replace(filter, discovered);
                let fields = json!({"name": "stats", "typed_config": old["typed_config"]});
                (bootstrap, config::typed("envoy.config.core.v3.TypedExtensionConfig", fields))
            }
            Self::Listener => {
                let listener = listeners[0].take();
                *listeners = json!([]);
                bootstrap["dynamic_resources"] = json!({"lds_config": watched.source()});
                (bootstrap, config::typed("envoy.config.listener.v3.Listener", listener))
            }
        }
    }
}

/// The sum of the counters whose names end so.
fn counter(page: &str, end: &str) -> u64 {
    let named = |line: &&str| line.split_once('{').is_some_and(|(name, _)| name.ends_with(end));
    total(&page.lines().filter(|line| !line.starts_with('#')).filter(named).map(str::to_owned).collect::<Vec<_>>())
}

/// Asks on a connection of its own; the answer is there when this returns.
fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(b"GET / HTTP/1.1\r\nhost: load.test\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

fn come_and_go(delivery: Delivery, envoy: &Path) -> Outcome {
    const TURNS: usize = 20;
    const CLIENTS: usize = 3;
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut watched = Watched::new(&format!("{delivery:?}"))?;
    let delivered = |configuration: &Value, watched: &Watched| {
        let more = ["configurable_metric_a", "configurable_metric_b", "route_name"];
        let mut bootstrap = inner(&[(&STATS, configuration)], nobody, &more);
        bootstrap.answers_itself = true;
        delivery.split(bootstrap.render(), watched)
    };
    let (bootstrap, first) = delivered(&json!({}), &watched);
    watched.replace(&first)?;
    let sidecar = Process::run(envoy, &bootstrap, Some(config::LISTENER), Options { workers: 4, trace: false })?;
    let address = sidecar.listener();
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let configurations = [
        customized(),
        json!({"no": "such field"}),
        json!({"profile": "minimal"}),
        json!({"maxDimensionSets": 1}),
        json!({}),
    ];
    thread::scope(|scope| -> Outcome {
        let load = || {
            while !is_over.load(Ordering::Relaxed) {
                assert!(ask(address).unwrap(), "a request is refused");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(load)).collect();
        for turn in 1..=TURNS {
            let configuration = &configurations[turn % configurations.len()];
            let [taken, refused] = delivery.counters();
            let counter_of = if configuration.get("no").is_some() { refused } else { taken };
            let look = || counter(&sidecar.prometheus(), counter_of);
            let before = look();
            watched.replace(&delivered(configuration, &watched).1)?;
            let moved = settled(look, |now| *now > before);
            let enough = answered.load(Ordering::Relaxed) + CLIENTS as u64;
            let reached = settled(|| answered.load(Ordering::Relaxed), |now| *now >= enough);
            if moved == before || reached < enough {
                is_over.store(true, Ordering::Relaxed);
                return Err(format!("turn {turn}: {counter_of} {moved}, answered {reached} of {enough}").into());
            }
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        Ok(())
    })?;
    let answered = answered.into_inner();
    let counted = settled(|| total(&series_in(&sidecar.prometheus(), "istio_requests_total")), |now| *now == answered);
    assert_eq!(counted, answered, "{delivery:?}");
    Ok(())
}

/// Four workers, load, and one configuration after the other, some refused: every request is counted once.
#[test]
fn configurations_come_and_go_under_load() -> Outcome {
    let envoy = binary::find()?.path;
    [Delivery::Extension, Delivery::Listener].into_iter().try_for_each(|delivery| come_and_go(delivery, &envoy))
}

//! How the engine in memory comes into being: the workers of a setup, with the routes and the log of a test.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{Engine, lock};
use crate::clock::Clock;
use crate::entrance::Entrance;
use crate::headers::HeaderMap;
use crate::services::{LogRecord, Services};
use crate::surroundings::{self, Routing};
use crate::test::setup::Code as CodeSetup;
use crate::test::{Driver, LogLine, PluginSetup, Route, Setup, StartError};
use crate::worker::{Code, EndStyle, Options, Plugin, Protocol, Worker};

/// The wall clock of a test starts on 2026-01-01, so that dates look like dates.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Starts the workers of a setup.
pub(in crate::test) fn start(setup: Setup) -> Result<Box<dyn Driver>, StartError> {
    if setup.upstream_at.is_some() {
        let message = "there are no sockets in memory: an upstream at an address needs a real Envoy";
        return Err(StartError::new(message, Vec::new()));
    }
    if !setup.envoy_filters.is_empty() {
        let message = "there is no Envoy in memory: one of its own filters needs a real one";
        return Err(StartError::new(message, Vec::new()));
    }
    let logs: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let sink = Arc::clone(&logs);
    let log = move |record: LogRecord<'_>| {
        if !record.host {
            let text = String::from_utf8_lossy(record.message).into_owned();
            lock(&sink).push(LogLine { level: record.level, text });
        }
    };
    let services = Services::new(Clock::manual(EPOCH), Box::new(log)).with_node(setup.surroundings.node.clone());
    let services = Arc::new(services);
    let entrance = Entrance::new(setup.surroundings.listener.clone()).with_router(route_table(&setup));
    let names = setup.clusters.iter().chain([&setup.upstream]).map(|cluster| cluster.name().to_owned());
    services.set_clusters(names);
    let refused = |message: String| {
        let logs = lock(&logs).clone();
        // The plugin's own complaint says more than the proxy's.
        let complaint = logs.iter().rev().find(|line| line.level >= crate::abi::LogLevel::Error).map(|line| &line.text);
        StartError::new(complaint.map_or(message.clone(), |text| format!("{message}: {text}")), logs)
    };
    let plugins = plugins(setup.plugins).map_err(refused)?;
    let options = Options {
        buffer_limit: setup.buffer_limit.unwrap_or(Options::default().buffer_limit),
        request_end: setup.http2.then_some(EndStyle::OnLast),
        faults: setup.faults,
        trace: setup.trace,
        lint: true,
        server: Some(Bytes::from_static(b"envoy")),
        // The timeout of Envoy's routes, unless they say otherwise.
        route_timeout: Some(Duration::from_secs(15)),
        ..Options::default()
    };
    let singletons = self::plugins(setup.singletons).map_err(refused)?;
    let serving = setup.workers.max(1);
    let mut workers = Vec::with_capacity(serving + 1);
    // The last is the main thread, which serves nobody.
    let each = std::iter::repeat_n(&plugins, serving).chain((!singletons.is_empty()).then_some(&singletons));
    for plugins in each {
        // Each worker has a place of its own for notices.
        let options = Options { inbox: crate::shared::Inbox::default(), ..options.clone() };
        let mut worker = Worker::new(Arc::clone(&services), options);
        worker.add_chain(plugins, entrance.clone()).map_err(|error| refused(error.to_string()))?;
        workers.push(worker);
    }
    let mut engine = Engine {
        workers,
        serving,
        services,
        clusters: setup.clusters.into_iter().map(|cluster| (cluster.name().to_owned(), cluster)).collect(),
        upstream: setup.upstream,
        stats_tags: setup.stats_tags,
        protocol: if setup.http2 { Protocol::Http2 } else { Protocol::Http11 },
        talks: HashMap::new(),
        numbers: HashMap::new(),
        tcp: setup.tcp,
        wires: HashMap::new(),
        tcp_numbers: HashMap::new(),
        grpc: HashMap::new(),
        agenda: BTreeMap::new(),
        scheduled: 0,
        logs,
        trace: Vec::new(),
        findings: Vec::new(),
        surroundings: setup.surroundings,
    };
    engine.settle();
    Ok(Box::new(engine))
}

fn plugins(setups: Vec<PluginSetup>) -> Result<Vec<Plugin>, String> {
    let mut plugins = Vec::with_capacity(setups.len());
    for setup in setups {
        let code = match setup.code {
            #[cfg(feature = "native")]
            CodeSetup::Native(register) => Code::Native(register),
            #[cfg(feature = "wasm")]
            CodeSetup::Wasm(path) => Code::Wasm(crate::test::modules::load(&path)?),
            #[cfg(not(feature = "wasm"))]
            _ => return Err("this build lacks the engine of the plugin's code".to_owned()),
        };
        plugins.push(Plugin {
            name: setup.name,
            root_id: setup.root_id,
            vm_id: setup.vm_id,
            configuration: setup.configuration,
            vm_configuration: setup.vm_configuration,
            environment: Vec::new(),
            sandbox: setup.capabilities.into(),
            fail: setup.fail,
            allow_on_headers_stop_iteration: setup.allow_on_headers_stop_iteration,
            code,
        });
    }
    Ok(plugins)
}

/// The routes of a setup, and behind them the one to the upstream.
fn route_table(setup: &Setup) -> impl Fn(&HeaderMap) -> Routing + Send + Sync + 'static {
    let surroundings = &setup.surroundings;
    let cluster = |name: &str| {
        let metadata = surroundings.cluster_metadata(name);
        Some(Arc::new(surroundings::Cluster { name: name.to_owned(), metadata, endpoints: 1 }))
    };
    let rest = surroundings.rest(setup.upstream.name());
    let routes: Vec<_> = surroundings.routes.iter().cloned().chain([rest]).collect();
    let table: Vec<_> = routes
        .into_iter()
        .map(|route| {
            let known = surroundings::Route {
                name: route.name.clone(),
                metadata: route.metadata.clone(),
                cluster: cluster(&route.cluster),
            };
            (route, Arc::new(known))
        })
        .collect();
    let virtual_host = Arc::new(surroundings::VirtualHost { name: "all".to_owned(), ..Default::default() });
    move |headers| {
        let matches = |route: &Route| {
            headers.get_str(":path").is_some_and(|path| path.starts_with(&route.prefix))
                && route.headers.iter().all(|(name, value)| headers.get_str(name) == Some(value))
        };
        let route = table.iter().find(|(route, _)| matches(route)).map(|(_, known)| Arc::clone(known));
        Routing { virtual_host: Some(Arc::clone(&virtual_host)), route }
    }
}

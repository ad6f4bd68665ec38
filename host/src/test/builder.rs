//! How a test describes its proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::answer::Answer;
use super::cluster::Cluster;
use super::failure::StartError;
use super::grpc_answer::GrpcAnswer;
use super::message::Request;
use super::proxy::Proxy;
use super::setup::{Code, Engine, PluginSetup, Setup, UPSTREAM};
use super::surroundings::{Route, Surroundings, fields, surroundings_methods};
use super::tcp::{TcpEvent, TcpServer, TcpTurn};
use super::{FailPolicy, Faults, Node, Tls, TrafficDirection};
#[cfg(feature = "native")]
use crate::native::Linked;
use crate::prometheus::StatsTag;
use crate::sandbox::Capabilities;

/// A proxy in the making; made by [`Proxy::on`] and its neighbours.
///
/// What is said about a plugin (its name, its configuration, what happens when it fails) is about the plugin
/// that the builder was made for; [`then`](Builder::then) chains another builder's plugin behind it.
#[derive(Debug, Clone)]
#[must_use = "a proxy runs only after `start`"]
pub struct Builder {
    engine: Engine,
    plugins: Vec<Draft>,
    singletons: Vec<Draft>,
    upstream: Cluster,
    tcp: Option<TcpServer>,
    upstream_at: Option<SocketAddr>,
    clusters: Vec<Cluster>,
    workers: usize,
    http2: bool,
    buffer_limit: Option<usize>,
    envoy_filters: Vec<Value>,
    stats_tags: Vec<(String, String)>,
    trace: bool,
    patience: Duration,
    faults: Option<Faults>,
    surroundings: Surroundings,
}

/// A plugin that may have code for several engines.
#[derive(Debug, Clone)]
struct Draft {
    name: String,
    root_id: String,
    vm_id: String,
    #[cfg(feature = "native")]
    native: Option<Linked>,
    module: Option<PathBuf>,
    configuration: Bytes,
    vm_configuration: Bytes,
    capabilities: Capabilities,
    fail: FailPolicy,
    allow_on_headers_stop_iteration: bool,
}

impl Builder {
    pub(super) fn new(engine: Engine, module: Option<PathBuf>) -> Self {
        Self {
            engine,
            plugins: vec![Draft::new(module)],
            singletons: Vec::new(),
            upstream: Cluster::new(UPSTREAM, |_| Answer::new(200).body("upstream")),
            tcp: None,
            upstream_at: None,
            clusters: Vec::new(),
            workers: 1,
            http2: false,
            buffer_limit: None,
            envoy_filters: Vec::new(),
            stats_tags: Vec::new(),
            trace: false,
            patience: Duration::from_secs(5),
            faults: None,
            surroundings: Surroundings::default(),
        }
    }

    /// Runs the plugins on that engine, which they must have code for ([`native`](Self::native) or
    /// [`module`](Self::module)).
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// What runs the plugins, for what depends on it: another plugin for the same proxy.
    pub const fn chosen_engine(&self) -> Engine {
        self.engine
    }

    /// The plugin's code for [`Engine::Native`]: the function that registers it.
    #[cfg(feature = "native")]
    pub fn native(self, register: fn()) -> Self {
        self.plugin(|plugin| plugin.native = Some(Linked::new(register)))
    }

    /// The plugin's code for [`Engine::Wasm`] and [`Engine::Envoy`]: its module.
    pub fn module(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.plugin(|plugin| plugin.module = Some(path))
    }

    /// The plugin's name, as it stands in logs and in the `plugin_name` property.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.plugin(|plugin| plugin.name = name)
    }

    /// The plugin's root id, by which a module with several plugins knows which one is meant.
    pub fn root_id(self, root_id: impl Into<String>) -> Self {
        let root_id = root_id.into();
        self.plugin(|plugin| plugin.root_id = root_id)
    }

    /// The VM's id; plugins of the same code, VM id and VM configuration share a VM.
    pub fn vm_id(self, vm_id: impl Into<String>) -> Self {
        let vm_id = vm_id.into();
        self.plugin(|plugin| plugin.vm_id = vm_id)
    }

    /// The plugin's configuration.
    pub fn config(self, configuration: impl Into<Value>) -> Self {
        let configuration: Value = configuration.into();
        self.raw_config(configuration.to_string())
    }

    /// The plugin's configuration as any bytes, for what is not JSON.
    pub fn raw_config(self, configuration: impl Into<Bytes>) -> Self {
        let configuration = configuration.into();
        self.plugin(|plugin| plugin.configuration = configuration)
    }

    /// The VM's configuration, which a plugin gets before its own.
    pub fn vm_config(self, configuration: impl Into<Bytes>) -> Self {
        let configuration = configuration.into();
        self.plugin(|plugin| plugin.vm_configuration = configuration)
    }

    /// The only host calls, callbacks and WASI functions that the plugin has; all of them if there is none. See
    /// [`Capabilities`].
    pub fn capabilities<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let capabilities = Capabilities::only(names);
        self.plugin(|plugin| plugin.capabilities = capabilities)
    }

    /// Whether requests pass without the plugin once it has trapped; otherwise they are answered with 503.
    pub fn fail_open(self, open: bool) -> Self {
        self.plugin(|plugin| plugin.fail = if open { FailPolicy::Open } else { FailPolicy::Closed })
    }

    /// Gives later exchanges a fresh VM once the plugin has trapped.
    pub fn fail_reload(self) -> Self {
        self.plugin(|plugin| plugin.fail = FailPolicy::RELOAD)
    }

    /// Envoy's option of that name: a pause in a headers callback then does not stop the body callbacks.
    pub fn allow_on_headers_stop_iteration(self, allow: bool) -> Self {
        self.plugin(|plugin| plugin.allow_on_headers_stop_iteration = allow)
    }

    /// What the upstream answers; unless said, 200 with the body `upstream`.
    pub fn upstream(mut self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        self.upstream = Cluster::new(UPSTREAM, script);
        self
    }

    /// An upstream that cannot be reached.
    pub fn unreachable_upstream(mut self) -> Self {
        self.upstream = Cluster::unreachable(UPSTREAM);
        self
    }

    /// Makes the proxy one for TCP, and says what its upstream does; [`Proxy::connect`] then makes connections.
    pub fn tcp(mut self, script: impl Fn(TcpEvent<'_>, &mut TcpTurn) + Send + Sync + 'static) -> Self {
        self.tcp = Some(TcpServer::new(script));
        self
    }

    /// Makes the proxy one for TCP, with an upstream that sends back what it gets and finishes when the client has.
    pub fn tcp_echo(mut self) -> Self {
        self.tcp = Some(TcpServer::echo());
        self
    }

    /// Makes the proxy one for TCP, with an upstream that cannot be reached.
    pub fn unreachable_tcp(mut self) -> Self {
        self.tcp = Some(TcpServer::unreachable());
        self
    }

    /// An upstream that listens at that address, such as a second proxy ([`Proxy::address`]): what it sees is not recorded
    /// here. It is spoken to in the client's protocol. Needs a real Envoy.
    pub fn upstream_at(mut self, address: SocketAddr) -> Self {
        self.upstream_at = Some(address);
        self
    }

    /// Makes the proxy one for TCP, with an upstream that listens at that address; as [`upstream_at`](Self::upstream_at).
    pub fn tcp_upstream_at(self, address: SocketAddr) -> Self {
        self.unreachable_tcp().upstream_at(address)
    }

    /// A cluster that plugins can call, and what it answers.
    pub fn cluster(
        mut self,
        name: impl Into<String>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.clusters.push(Cluster::new(name, script));
        self
    }

    /// A cluster that speaks gRPC: each call, once it is whole, is answered as the function says. What was sent is in
    /// [`Request::messages`].
    pub fn grpc_cluster(
        mut self,
        name: impl Into<String>,
        script: impl Fn(&Request) -> GrpcAnswer + Send + Sync + 'static,
    ) -> Self {
        self.clusters.push(Cluster::grpc(name, script));
        self
    }

    /// A cluster that speaks gRPC and talks: the function is asked after each message, and once more at the end of
    /// the call. An answer with a status ends the call.
    pub fn grpc_stream_cluster(
        mut self,
        name: impl Into<String>,
        script: impl Fn(&Request) -> GrpcAnswer + Send + Sync + 'static,
    ) -> Self {
        self.clusters.push(Cluster::grpc_stream(name, script));
        self
    }

    /// A cluster that plugins can call, but that cannot be reached.
    pub fn unreachable_cluster(mut self, name: impl Into<String>) -> Self {
        self.clusters.push(Cluster::unreachable(name));
        self
    }

    /// Chains the other builder's plugins behind this one's and adds its clusters; its other options are dropped.
    pub fn then(mut self, next: Self) -> Self {
        self.plugins.extend(next.plugins);
        self.singletons.extend(next.singletons);
        self.clusters.extend(next.clusters);
        self
    }

    /// Runs the other builder's plugins once, beside the workers, as Envoy's bootstrap extension `envoy.bootstrap.wasm`
    /// does with `singleton: true`: on the main thread, with a root context and no exchanges. Adds its clusters; its other
    /// options are dropped.
    ///
    /// A real Envoy tries filters out on its main thread too, and the log does not tell who says what there: beside a
    /// singleton [`Proxy::logs`] has the lines of both.
    ///
    /// Plugins with the same [`vm_id`](Self::vm_id), also the empty one, share data and queues with it.
    pub fn singleton(mut self, other: Self) -> Self {
        self.singletons.extend(other.plugins);
        self.singletons.extend(other.singletons);
        self.clusters.extend(other.clusters);
        self
    }

    /// Runs its plugins as [singletons](Self::singleton), and none as a filter; call it last.
    pub fn as_singleton(mut self) -> Self {
        self.singletons.append(&mut self.plugins);
        self
    }

    /// The number of workers, each with a VM of its own.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Whether the client speaks HTTP/2, which changes where the end of a body is seen.
    pub fn http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    /// How many bytes of a body the proxy buffers at most.
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.buffer_limit = Some(bytes);
        self
    }

    /// Puts one of Envoy's own HTTP filters before the plugins, behind those that are there: an object with `name` and
    /// `typed_config`, as Envoy reads it, such as `jwt_authn` before a plugin that looks at claims. Needs a real Envoy.
    ///
    /// The methods that stand for such a filter, [`dynamic_metadata`](Self::dynamic_metadata) and
    /// [`filter_state`](Self::filter_state), work on every engine; what they set is there before this filter runs.
    pub fn envoy_filter(mut self, filter: impl Into<Value>) -> Self {
        self.envoy_filters.push(filter.into());
        self
    }

    /// Adds entries to the proxy's `stats_tags`, each the name of a label and its regex, for [`Proxy::prometheus`].
    pub fn stats_tags<N: Into<String>, R: Into<String>>(mut self, tags: impl IntoIterator<Item = (N, R)>) -> Self {
        self.stats_tags.extend(tags.into_iter().map(|(name, regex)| (name.into(), regex.into())));
        self
    }

    /// Whether to record the calls between proxy and plugins, for [`Proxy::trace`].
    pub fn trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    /// How long an engine over real sockets waits for an answer before it says
    /// [`Failure::Hung`](super::Failure::Hung); unless said, 5 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What is to go wrong on purpose; a real Envoy refuses to start with it.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    surroundings_methods!();

    /// Starts the proxy.
    pub fn start(self) -> Result<Proxy, StartError> {
        Proxy::start(self.setup()?)
    }

    /// What an engine is started from, without starting it.
    pub fn setup(self) -> Result<Setup, StartError> {
        let engine = self.engine;
        let finish = |drafts: Vec<Draft>| drafts.into_iter().map(|draft| draft.finish(engine)).collect();
        let (plugins, singletons): (Result<Vec<_>, _>, Result<Vec<_>, _>) =
            (finish(self.plugins), finish(self.singletons));
        let mut names: Vec<_> = self.clusters.iter().map(Cluster::name).collect();
        names.push(self.upstream.name());
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
            return Err(StartError::new(format!("the cluster `{name}` is given twice"), Vec::new()));
        }
        let stats_tags: Result<Vec<_>, _> =
            self.stats_tags.into_iter().map(|(name, regex)| StatsTag::new(name, regex)).collect();
        let unknown = |route: &&Route| names.binary_search(&route.cluster.as_str()).is_err();
        if let Some(route) = self.surroundings.routes.iter().find(unknown) {
            let message = format!("there is no cluster `{}` for a route: add it with `.cluster(..)`", route.cluster);
            return Err(StartError::new(message, Vec::new()));
        }
        Ok(Setup {
            engine,
            plugins: plugins?,
            singletons: singletons?,
            upstream: self.upstream,
            tcp: self.tcp,
            upstream_at: self.upstream_at,
            clusters: self.clusters,
            workers: self.workers,
            http2: self.http2,
            buffer_limit: self.buffer_limit,
            envoy_filters: self.envoy_filters,
            stats_tags: stats_tags.map_err(|error| StartError::new(error, Vec::new()))?,
            trace: self.trace,
            patience: self.patience,
            faults: self.faults,
            surroundings: self.surroundings,
        })
    }

    /// Changes the plugin that this builder was made for.
    fn plugin(mut self, change: impl FnOnce(&mut Draft)) -> Self {
        if let Some(plugin) = self.plugins.first_mut() {
            change(plugin);
        }
        self
    }
}

impl Draft {
    fn new(module: Option<PathBuf>) -> Self {
        Self {
            name: "plugin".to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            #[cfg(feature = "native")]
            native: None,
            module,
            configuration: Bytes::new(),
            vm_configuration: Bytes::new(),
            capabilities: Capabilities::ALL,
            fail: FailPolicy::Closed,
            allow_on_headers_stop_iteration: false,
        }
    }

    fn finish(self, engine: Engine) -> Result<PluginSetup, StartError> {
        let code = match engine {
            #[cfg(feature = "native")]
            Engine::Native => self.native.map(Code::Native),
            #[cfg(not(feature = "native"))]
            Engine::Native => None,
            Engine::Wasm | Engine::Envoy => self.module.map(Code::Wasm),
        };
        let Some(code) = code else {
            let give = if engine == Engine::Native { "native" } else { "module" };
            return Err(StartError::new(
                format!("the plugin `{}` has no code for the engine `{engine}`: give it with `.{give}(..)`", self.name),
                Vec::new(),
            ));
        };
        Ok(PluginSetup {
            name: self.name,
            root_id: self.root_id,
            vm_id: self.vm_id,
            code,
            configuration: self.configuration,
            vm_configuration: self.vm_configuration,
            capabilities: self.capabilities,
            fail: self.fail,
            allow_on_headers_stop_iteration: self.allow_on_headers_stop_iteration,
        })
    }
}

#[cfg(test)]
mod tests;

//! The verb `run`: modules on real sockets, in front of an upstream; or a whole mesh from Istio's resources.

mod both;
mod compare;
mod mesh;
mod trace;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use wasmplugin_host::module::Module;
use wasmplugin_host::recording::Recorder;
use wasmplugin_host::test::{Answer, LogLevel, LogLine, Proxy, Request};
use wasmplugin_host::worker::FailPolicy;

use crate::address::{Address, NamedAddress};
use crate::configuration::Configuration;
use crate::engine::{Chain, Engine, Plugin, Running, envoy_folder};
use crate::exit::{self, Exit};
use crate::logger;
use crate::output;
use crate::stop::Stop;
use trace::Trace;
use upstream::Upstream;

/// How often the proxy and its log are looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// Run modules in front of an upstream, or Istio's resources as a mesh on this machine, until Ctrl-C.
///
/// With modules, requests go through them in the order given, then to the upstream; without one, a small server answers
/// that shows what reached it. Nothing is started unless every module and every configuration is fine.
///
/// With YAML files, or folders of them, each workload of the `kind: Mesh` among them gets a proxy: WasmPlugin,
/// TrafficExtension, EnvoyFilter, RequestAuthentication and AuthorizationPolicy apply as in Istio, and proxies speak mutual
/// TLS with each other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin run target/modules/hello.wasm
  cargo wasmplugin run examples/mesh --watch
  cargo wasmplugin run examples/mesh --trace
  cargo wasmplugin run examples/mesh --engine envoy --watch
  cargo wasmplugin run examples/mesh --compare --watch
  cargo wasmplugin run hello.wasm --upstream localhost:3000 --listen 0.0.0.0:8080
  cargo wasmplugin run external-auth.wasm --config '{\"cluster\": \"auth\", \"timeout\": \"250ms\"}' \\
      --cluster auth=localhost:9000 --engine envoy
  cargo wasmplugin run auth.wasm hello.wasm --config auth.json --config ''")]
pub(crate) struct Arguments {
    /// Modules, in the order in which a request meets them; or YAML files and folders of them.
    #[arg(required = true, value_name = "FILES")]
    modules: Vec<PathBuf>,
    /// Take changes of files, modules and their sources at once, without dropping a request; with YAML only.
    #[arg(long)]
    watch: bool,
    /// Print what happens to each exchange: what every plugin saw, changed, asked for, decided and logged, and how long it
    /// took. The admin page (`/ui` on the admin interface) shows the same.
    #[arg(long)]
    trace: bool,
    /// Send each request through the embedded proxy and a real Envoy, and print what differs in status, headers, body and
    /// the counters of plugins. What has side effects has them twice. With `--watch`, requests after a change of the files meet
    /// it in both, and what only one of them refuses of it is printed as well. Fails if there was a difference.
    #[arg(long, conflicts_with_all = ["engine", "trace"])]
    compare: bool,
    /// A module's configuration: JSON, or a file of it; once per module, '' for none.
    #[arg(long = "config", value_name = "FILE|JSON")]
    configurations: Vec<String>,
    /// Where requests go.
    #[arg(long, value_name = "ADDR")]
    upstream: Option<Address>,
    /// A cluster that the modules can call; may be given several times.
    #[arg(long = "cluster", value_name = "NAME=ADDR")]
    clusters: Vec<NamedAddress>,
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Address,
    /// Where the admin interface listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    admin: Address,
    /// Threads that serve requests, each with its own instances of the modules.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Let requests pass without a module that has crashed; otherwise they are answered with 503.
    #[arg(long)]
    fail_open: bool,
    /// Which proxy runs the modules.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
}

/// Runs until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit> {
    if arguments.trace && arguments.engine == Engine::Envoy {
        exit::usage(
            "`--trace` is for the embedded proxy: an Envoy does not tell what happens between plugins".to_owned(),
        );
    }
    if arguments.modules.iter().any(|path| is_resource(path)) {
        let alone =
            arguments.configurations.is_empty() && arguments.upstream.is_none() && arguments.clusters.is_empty();
        if !alone || !arguments.modules.iter().all(|path| is_resource(path)) {
            exit::usage(
                "modules on the command line and resources do not go together: resources name their modules, and `kind: Mesh` has the upstreams"
                    .to_owned(),
            );
        }
        if arguments.compare {
            return both::resources(&arguments.modules, arguments.watch);
        }
        let wishes = mesh::Wishes { watch: arguments.watch, trace: arguments.trace };
        return mesh::run(&arguments.modules, arguments.engine, wishes, &envoy_folder());
    }
    if arguments.watch {
        exit::usage("`--watch` needs resources: a folder with a `kind: Mesh` and a WasmPlugin".to_owned());
    }
    let plugins = plugins(arguments)?;
    let upstream = Upstream::start(arguments.upstream.as_ref().map(Address::socket))?;
    let chain = Chain {
        listen: arguments.listen.socket(),
        admin: arguments.admin.socket(),
        plugins,
        upstream: upstream.address(),
        clusters: arguments.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.address.socket())).collect(),
        workers: arguments.workers.into(),
    };
    if arguments.compare {
        return both::modules(&chain);
    }
    let ready = arguments.engine.prepare(&envoy_folder())?;
    logger::hold_plugins();
    let proxy = match ready.start(&chain) {
        Ok(proxy) => proxy,
        Err(error) => return Err(blame(&chain, error)),
    };
    let trace = if arguments.trace { proxy.recorder() } else { None };
    if let Some(recorder) = trace {
        recorder.switch(true);
    }
    logger::show_plugins();
    let stop = Stop::listen()?;
    output::print(&format!(
        "{} listens on http://{}, its admin interface on http://{}\nrequests go to {upstream}\nstop it with Ctrl-C\n",
        ready.title(),
        proxy.address(),
        proxy.admin(),
    ))?;
    attend(&proxy, stop, trace)?;
    proxy.stop();
    Ok(Exit::Success)
}

/// The modules, checked, each with its configuration.
fn plugins(arguments: &Arguments) -> Result<Vec<Plugin>> {
    let Arguments { modules, configurations, .. } = arguments;
    if !configurations.is_empty() && configurations.len() != modules.len() {
        exit::usage(format!(
            "there are {} modules and {} configurations; give none, or one for each module in the same order, '' where it has none",
            modules.len(),
            configurations.len()
        ));
    }
    let mut names: Vec<_> = arguments.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
        exit::usage(format!("the cluster `{name}` is given twice"));
    }
    let fail = if arguments.fail_open { FailPolicy::Open } else { FailPolicy::Closed };
    let configurations = configurations
        .iter()
        .map(|text| Configuration::read(text).map(Some))
        .chain(std::iter::repeat_with(|| Ok(None)));
    let plugin = |(module, configuration): (&PathBuf, Result<Option<Configuration>>)| {
        Module::read(module)?;
        let configuration = configuration?.map(|configuration| configuration.text).unwrap_or_default();
        Ok(Plugin { name: Plugin::named_after(module), module: module.clone(), configuration, fail })
    };
    modules.iter().zip(configurations).map(plugin).collect()
}

/// Whether it holds resources, rather than being a module.
fn is_resource(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    path.is_dir() || matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Adds which module is to blame for a proxy that does not start, and what it complains about.
///
/// A proxy that runs a chain does not always tell, and each kind says it differently; so each is tried alone, in memory.
fn blame(chain: &Chain, error: anyhow::Error) -> anyhow::Error {
    let refusal = |plugin: &Plugin| {
        let alone = Proxy::wasm(&plugin.module).name(&plugin.name).raw_config(plugin.configuration.clone());
        let answer = |_: &Request| Answer::new(200);
        chain.clusters.iter().fold(alone, |alone, (name, _)| alone.cluster(name, answer)).start().err()
    };
    let Some((culprit, refusal)) = chain.plugins.iter().find_map(|plugin| Some((plugin, refusal(plugin)?))) else {
        return error;
    };
    let (said, file) = (format!("{error:#}"), culprit.module.display().to_string());
    let loud =
        |line: &&LogLine| matches!(line.level, LogLevel::Error | LogLevel::Critical) && !said.contains(&line.text);
    let complaints: Vec<_> = refusal.logs().iter().filter(loud).map(|line| line.text.as_str()).collect();
    if complaints.is_empty() && said.contains(&file) {
        return error;
    }
    let head = format!("cannot run `{file}`");
    error.context(std::iter::once(head.as_str()).chain(complaints).collect::<Vec<_>>().join(": "))
}

/// Shows what plugins say until somebody wants to stop, or the proxy ends by itself.
fn attend(proxy: &Running, mut stop: Stop, recorder: Option<&Recorder>) -> Result<()> {
    let mut trace = Trace::default();
    loop {
        let stopping = stop.within(GLANCE);
        proxy.relay_log();
        if let Some(recorder) = recorder {
            trace.show(recorder, "")?;
        }
        if let Some(reason) = proxy.end() {
            bail!("the proxy has ended by itself: {reason}");
        }
        if stopping {
            eprintln!("\nstopping");
            stop.hurry();
            return Ok(());
        }
    }
}

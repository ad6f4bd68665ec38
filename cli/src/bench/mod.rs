//! The verb `bench`: a module under load in the embedded proxy and in a real Envoy, beside the same proxies without it.
//!
//! All contestants are started first and then measured in turn, in short slices, so that a machine that becomes slower does so
//! for all of them. [`contestant`] is one proxy in a process of its own, [`load`] is one slice, [`standings`] what came of
//! all of them, [`plot`] the same as a picture. [`endurance`] is another question, whether a proxy stays as it is for as long as it is
//! asked, while its chain changes ([`restless`]) or thousands of clients say nothing.

mod contestant;
mod endurance;
mod load;
mod plot;
mod restless;
mod standings;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasmplugin_host::module::Module;
use wasmplugin_host::worker::FailPolicy;

use crate::address::{Address, NamedAddress};
use crate::configuration::Configuration;
use crate::engine::{Chain, Engine, Plugin, Running};
use crate::exit::{self, Exit};
use crate::logger;
use crate::output;
use contestant::Contestant;
use load::Load;
use standings::Standings;
use upstream::Upstream;

/// Measure what a module costs: requests per second, latency, CPU time, host calls, allocations and memory.
///
/// The module runs in the embedded proxy and in a real Envoy, with one worker each, beside the same proxies without it.
/// Slices of load alternate between them, so that a machine that becomes slower does so for all. Needs `wrk`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin bench target/modules/hello.wasm
  cargo wasmplugin bench new.wasm --compare old.wasm --seconds 60 --plot new.svg
  cargo wasmplugin bench auth.wasm --config auth.json --header 'authorization: Bearer x' --path /api
  cargo wasmplugin bench jwt.wasm rbac.wasm --config jwt.json --config rbac.json --soak --seconds 600 --idle 10000")]
pub(crate) struct Arguments {
    /// The module; several are measured as one chain, in the order in which a request meets them.
    #[arg(value_name = "FILES", required_unless_present = "serve")]
    modules: Vec<PathBuf>,
    /// A module's configuration: JSON, or a file of it; once per module, '' for none.
    #[arg(long = "config", value_name = "FILE|JSON")]
    configurations: Vec<String>,
    /// Another module to measure beside the first one, in its place and with its configuration.
    #[arg(long, value_name = "OTHER.wasm")]
    compare: Option<PathBuf>,
    /// Keep the embedded proxy under load all the time, instead of comparing: prints its memory and its open files, and fails
    /// if they go on growing, or if a request fails or is refused.
    #[arg(long, conflicts_with_all = ["compare", "engine", "plot"])]
    soak: bool,
    /// Change the chain every second meanwhile: modules are loaded again, leave and come back, configurations change.
    #[arg(long)]
    reload: bool,
    /// Connections that ask once before and once after the load, and keep still meanwhile.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "soak")]
    idle: usize,
    /// How long to measure, all contestants together.
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u32,
    /// How many connections send requests, each the next one when it has its answer.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// What is asked for.
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// A header of the requests; may be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A cluster that the module can call; may be given several times.
    #[arg(long = "cluster", value_name = "NAME=ADDR")]
    clusters: Vec<NamedAddress>,
    /// Measures in that proxy alone.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Draws the result, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Is the embedded proxy that is measured, in front of this upstream; says where it listens and ends with its input.
    #[arg(long, value_name = "ADDR", hide = true)]
    serve: Option<Address>,
}

/// Measures, and prints a table.
pub(crate) fn bench(arguments: &Arguments) -> Result<Exit> {
    let configurations = configurations(arguments)?;
    if let Some(upstream) = &arguments.serve {
        return serve(&chain(arguments, &arguments.modules, &configurations, upstream.socket()), arguments.reload);
    }
    if arguments.reload && !arguments.soak {
        exit::usage("`--reload` goes with `--soak`: what changes all the time cannot be compared".to_owned());
    }
    Load::check()?;
    for module in arguments.modules.iter().chain(&arguments.compare) {
        Module::read(module)?;
    }
    let upstream = Upstream::start()?;
    let load = Load::new(arguments.connections, &arguments.path, &arguments.headers);
    if arguments.soak {
        let chain = chain(arguments, &arguments.modules, &configurations, upstream.address());
        let proxy = Contestant::embedded(&chain.name(), &chain, arguments.reload)?;
        return endurance::soak(proxy, &load, arguments.seconds, arguments.idle);
    }
    let mut contestants = contestants(arguments, &configurations, upstream.address())?;
    eprintln!("warming up {} contestants", contestants.len());
    for contestant in &mut contestants {
        contestant.warm_up(&load)?;
    }
    let count = u32::try_from(contestants.len()).unwrap_or(u32::MAX).max(1);
    let rounds = (arguments.seconds / count).max(1);
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for contestant in &mut contestants {
            contestant.measure(&load)?;
        }
    }
    let standings = Standings::of(contestants)?;
    output::print(&standings.render())?;
    if let Some(file) = &arguments.plot {
        output::write_file(file, plot::svg(&standings).as_bytes())?;
    }
    Ok(if standings.errors() == 0 { Exit::Success } else { Exit::Failure })
}

/// The configurations, one for each module or none.
fn configurations(arguments: &Arguments) -> Result<Vec<String>> {
    let (modules, given) = (arguments.modules.len(), arguments.configurations.len());
    if given > 0 && given != modules {
        exit::usage(format!(
            "there are {modules} modules and {given} configurations; give none, or one for each module in the same order, '' where it has none"
        ));
    }
    arguments.configurations.iter().map(|text| Ok(Configuration::read(text)?.text)).collect()
}

/// Each engine, without a module, with the chain, and with the other module in the first one's place.
fn contestants(arguments: &Arguments, configurations: &[String], upstream: SocketAddr) -> Result<Vec<Contestant>> {
    let engines = arguments.engine.map_or_else(|| vec![Engine::Embedded, Engine::Envoy], |engine| vec![engine]);
    let rest = arguments.modules.iter().skip(1);
    let other = arguments.compare.iter().map(|other| std::iter::once(other).chain(rest.clone()).cloned().collect());
    let chains: Vec<Vec<PathBuf>> = [Vec::new(), arguments.modules.clone()].into_iter().chain(other).collect();
    let mut contestants = Vec::new();
    for engine in engines {
        for modules in &chains {
            let chain = chain(arguments, modules, configurations, upstream);
            let contestant = match engine {
                Engine::Embedded => Contestant::embedded(&chain.name(), &chain, false),
                Engine::Envoy => Contestant::envoy(&chain.name(), &chain),
            };
            contestants.push(contestant.with_context(|| format!("{}, {}", engine.name(), chain.name()))?);
        }
    }
    Ok(contestants)
}

fn chain(arguments: &Arguments, modules: &[PathBuf], configurations: &[String], upstream: SocketAddr) -> Chain {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let configurations = configurations.iter().cloned().chain(std::iter::repeat_with(String::new));
    let plugin = |(module, configuration): (&PathBuf, String)| Plugin {
        name: Plugin::named_after(module),
        module: module.clone(),
        configuration,
        fail: FailPolicy::Closed,
    };
    Chain {
        listen: free,
        admin: free,
        plugins: modules.iter().zip(configurations).map(plugin).collect(),
        upstream,
        clusters: arguments.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.address.socket())).collect(),
        workers: 1,
    }
}

/// Is the embedded proxy until whoever started it has ended.
fn serve(chain: &Chain, restless: bool) -> Result<Exit> {
    logger::show_warnings();
    let proxy = Engine::Embedded.prepare(Path::new("."))?.start(chain)?;
    output::print(&format!("{} {}\n", proxy.address(), proxy.admin()))?;
    std::io::stdout().flush()?;
    let wait = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("the input cannot be read");
    match proxy {
        Running::Embedded(proxy) if restless => restless::change(proxy, chain, wait)?,
        proxy => {
            wait()?;
            drop(proxy);
        }
    }
    Ok(Exit::Success)
}

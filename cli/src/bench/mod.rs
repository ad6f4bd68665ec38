//! The verb `bench`: a module under load in the embedded proxy and in a real Envoy, beside the same proxies without it.
//!
//! All contestants are started first and then measured in turn, in short slices, so that a machine that becomes slower does so
//! for all of them. [`contestant`] is one proxy in a process of its own, [`load`] is one slice, [`standings`] what came of
//! all of them, [`plot`] the same as a picture.

mod contestant;
mod load;
mod plot;
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
use crate::engine::{Chain, Engine, Plugin};
use crate::exit::Exit;
use crate::logger;
use crate::output;
use contestant::Contestant;
use load::Load;
use standings::Standings;
use upstream::Upstream;

/// Measure what a module costs: requests per second, latency, CPU time, host calls and memory.
///
/// The module runs in the embedded proxy and in a real Envoy, with one worker each, beside the same proxies without it.
/// Slices of load alternate between them, so that a machine that becomes slower does so for all. Needs `wrk`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin bench target/modules/hello.wasm
  cargo wasmplugin bench new.wasm --compare old.wasm --seconds 60 --plot new.svg
  cargo wasmplugin bench auth.wasm --config auth.json --header 'authorization: Bearer x' --path /api")]
pub(crate) struct Arguments {
    /// The module.
    #[arg(value_name = "FILE", required_unless_present = "serve")]
    module: Option<PathBuf>,
    /// Its configuration: JSON, or a file of it.
    #[arg(long, value_name = "FILE|JSON")]
    config: Option<String>,
    /// Another module to measure beside it, with the same configuration.
    #[arg(long, value_name = "OTHER.wasm")]
    compare: Option<PathBuf>,
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
    if let Some(upstream) = &arguments.serve {
        return serve(&chain(arguments, arguments.module.as_deref(), upstream.socket())?);
    }
    Load::check()?;
    let configuration = arguments.config.as_deref().map(Configuration::read).transpose()?;
    for module in arguments.module.iter().chain(&arguments.compare) {
        Module::read(module)?;
    }
    let upstream = Upstream::start()?;
    let load = Load::new(arguments.connections, &arguments.path, &arguments.headers);
    let configuration = configuration.map(|configuration| configuration.text).unwrap_or_default();
    let mut contestants = contestants(arguments, &configuration, upstream.address())?;
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

/// Each engine, without a module and with each of them.
fn contestants(arguments: &Arguments, configuration: &str, upstream: SocketAddr) -> Result<Vec<Contestant>> {
    let engines = arguments.engine.map_or_else(|| vec![Engine::Embedded, Engine::Envoy], |engine| vec![engine]);
    let modules = arguments.module.iter().chain(&arguments.compare);
    let modules: Vec<Option<&Path>> = std::iter::once(None).chain(modules.map(|path| Some(path.as_path()))).collect();
    let mut contestants = Vec::new();
    for engine in engines {
        for module in &modules {
            let what = module.map_or_else(|| "no plugin".to_owned(), Plugin::named_after);
            let contestant = match engine {
                Engine::Embedded => {
                    let clusters =
                        arguments.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.address.socket()));
                    Contestant::embedded(&what, *module, configuration, clusters, upstream)
                }
                Engine::Envoy => Contestant::envoy(&what, &chain_of(arguments, *module, configuration, upstream)),
            };
            contestants.push(contestant.with_context(|| format!("{}, {what}", engine.name()))?);
        }
    }
    Ok(contestants)
}

fn chain(arguments: &Arguments, module: Option<&Path>, upstream: SocketAddr) -> Result<Chain> {
    let configuration = arguments.config.as_deref().map(Configuration::read).transpose()?;
    let configuration = configuration.map(|configuration| configuration.text).unwrap_or_default();
    Ok(chain_of(arguments, module, &configuration, upstream))
}

fn chain_of(arguments: &Arguments, module: Option<&Path>, configuration: &str, upstream: SocketAddr) -> Chain {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let plugin = |module: &Path| Plugin {
        name: Plugin::named_after(module),
        module: module.to_owned(),
        configuration: configuration.to_owned(),
        fail: FailPolicy::Closed,
    };
    Chain {
        listen: free,
        admin: free,
        plugins: module.map(plugin).into_iter().collect(),
        upstream,
        clusters: arguments.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.address.socket())).collect(),
        workers: 1,
    }
}

/// Is the embedded proxy until whoever started it has ended.
fn serve(chain: &Chain) -> Result<Exit> {
    logger::show_warnings();
    let proxy = Engine::Embedded.prepare(Path::new("."))?.start(chain)?;
    output::print(&format!("{} {}\n", proxy.address(), proxy.admin()))?;
    std::io::stdout().flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("the input cannot be read")?;
    Ok(Exit::Success)
}

//! What runs a chain of plugins on real sockets: the embedded proxy, or a real Envoy.

use std::borrow::Borrow;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use wasmplugin_host::envoy::log::Log;
use wasmplugin_host::envoy::process::{self, Process};
use wasmplugin_host::envoy::{binary, config};
use wasmplugin_host::module::Module;
use wasmplugin_host::recording::Recorder;
use wasmplugin_host::test::LogLevel;
use wasmplugin_host::worker::{Code, FailPolicy};
use wasmplugin_proxy::{Listener, Proxy, Routes, Settings};

use crate::client;
use crate::code;
use crate::logger;
use crate::secrets;
use crate::workspace::Workspace;

/// The cluster that requests go to.
const UPSTREAM: &str = "upstream";
/// How long exchanges under way may take when the proxy is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How often something is looked at that cannot be waited for.
const GLANCE: Duration = Duration::from_millis(20);

/// Which proxy runs the plugins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// This program itself: starts at once, needs nothing.
    #[default]
    Embedded,
    /// A real Envoy: the one that `ENVOY` names, one on the PATH, or one that is installed on first use.
    Envoy,
}

/// A listener, the plugins behind it, and where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// Where clients connect; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Where the admin interface listens; port 0 takes a free one.
    pub(crate) admin: SocketAddr,
    /// In the order in which a request meets them.
    pub(crate) plugins: Vec<Plugin>,
    /// Where requests go.
    pub(crate) upstream: SocketAddr,
    /// What plugins can call.
    pub(crate) clusters: Vec<(String, SocketAddr)>,
    /// Threads, each with VMs of its own.
    pub(crate) workers: usize,
}

impl Chain {
    /// Its plugins in a word, for tables.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        if names.is_empty() { "no plugin".to_owned() } else { names.join("+") }
    }
}

/// One plugin of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    /// What logs call it.
    pub(crate) name: String,
    /// Its file.
    pub(crate) module: PathBuf,
    /// What it is configured with.
    pub(crate) configuration: String,
    /// What happens to requests when it has trapped.
    pub(crate) fail: FailPolicy,
}

impl Plugin {
    /// A plugin's name for logs: that of its module's file.
    pub(crate) fn named_after(module: &Path) -> String {
        module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// A started proxy; it ends when dropped. Who starts it may keep more with either kind.
#[derive(Debug)]
pub(crate) enum Running<P = Proxy, E = Process> {
    /// Threads of this process.
    Embedded(P),
    /// A process of its own.
    Envoy(E),
}

impl Engine {
    /// In a word, as on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Envoy => "envoy",
        }
    }

    /// Obtains what this engine needs, an Envoy for example, below the given folder.
    pub(crate) fn prepare(self, below: &Path) -> Result<Ready> {
        match self {
            Self::Embedded => Ok(Ready::Embedded),
            Self::Envoy => {
                let binary = binary::find_or_install(below)?;
                if let Some(warning) = binary.warning() {
                    eprintln!("warning: {warning}");
                }
                Ok(Ready::Envoy(binary))
            }
        }
    }
}

/// An engine that can start proxies.
#[derive(Debug)]
pub(crate) enum Ready {
    /// Needs nothing.
    Embedded,
    /// The program to run.
    Envoy(binary::Binary),
}

impl Ready {
    /// What to call it in messages, such as `Envoy 1.40.0`.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Embedded => "the embedded proxy".to_owned(),
            Self::Envoy(binary) => format!("Envoy {}", binary.version),
        }
    }

    /// Starts a proxy; when this returns, it takes requests.
    pub(crate) fn start(&self, chain: &Chain) -> Result<Running> {
        match self {
            Self::Embedded => Ok(Running::Embedded(Proxy::start(settings(chain)?)?)),
            Self::Envoy(binary) => {
                let options = process::Options { workers: chain.workers, trace: false };
                Ok(Running::Envoy(Process::start(&binary.path, &bootstrap(chain)?, options)?))
            }
        }
    }
}

impl<P: Borrow<Proxy>, E: Borrow<Process>> Running<P, E> {
    /// What the one or the other says.
    fn either<'a, T>(&'a self, embedded: impl FnOnce(&'a Proxy) -> T, envoy: impl FnOnce(&'a Process) -> T) -> T {
        match self {
            Self::Embedded(proxy) => embedded(proxy.borrow()),
            Self::Envoy(process) => envoy(process.borrow()),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.either(Proxy::address, Process::listener)
    }

    /// Where the admin interface listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.either(|proxy| proxy.admin_address().unwrap_or(none), Process::admin)
    }

    /// What keeps recordings of exchanges; a real Envoy has none.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.either(|proxy| Some(proxy.services().recorder()), |_| None)
    }

    /// Why it ended by itself, if it did.
    pub(crate) fn end(&self) -> Option<String> {
        self.either(|_| None, |process| (!process.is_running()).then(|| process.last_words()))
    }

    /// Hands what plugins have logged to the logger; the embedded proxy does so by itself.
    pub(crate) fn relay_log(&self) {
        for line in self.log().into_iter().flat_map(Log::take_plugin_lines) {
            log::log!(target: logger::PLUGINS, loudness(line.level), "{}", line.text);
        }
    }

    /// The log of a real Envoy.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.either(|_| None, |process| Some(process.log()))
    }

    /// Takes no further connections, lets exchanges under way end, and stops.
    pub(crate) fn stop(self)
    where
        P: Into<Proxy>,
    {
        match self {
            Self::Embedded(proxy) => proxy.into().stop(GRACE),
            Self::Envoy(process) => drain(process.borrow()),
        }
    }
}

/// Where an Envoy is installed on first use: with the workspace, and without one with the user's other caches.
pub(crate) fn envoy_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    match Workspace::here() {
        Ok(workspace) => workspace.target,
        Err(_) => cache().unwrap_or_else(std::env::temp_dir).join("wasmplugin"),
    }
}

/// Lets Envoy finish what it is at; dropping it then ends it.
fn drain(process: &Process) {
    let close =
        client::Request { method: "POST", path: "/drain_listeners?graceful&skip_exit", ..client::Request::default() };
    // An Envoy that no longer answers has nothing to finish.
    let _asked = client::send(process.admin(), &close, GRACE);
    let deadline = Instant::now() + GRACE;
    let is_busy = || {
        let active = process.stats(r"^http\..*\.downstream_rq_active$");
        // Whoever asks the admin interface is a client as well.
        active.iter().any(|(name, count)| *count > 0 && !name.starts_with("http.admin."))
    };
    while is_busy() && Instant::now() < deadline {
        thread::sleep(GLANCE);
    }
}

/// What the plugins of an Envoy have logged since this was last asked, as loud as it is shown, and as it is shown.
pub(crate) fn plugin_lines(envoy: &Log) -> Vec<String> {
    let lines = envoy.take_plugin_lines().into_iter().map(|line| (loudness(line.level), line.text));
    lines.filter(|(level, _)| *level <= log::max_level()).map(|(level, text)| logger::line(level, text)).collect()
}

fn loudness(level: LogLevel) -> log::Level {
    match level {
        LogLevel::Trace => log::Level::Trace,
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Info => log::Level::Info,
        LogLevel::Warn => log::Level::Warn,
        LogLevel::Error | LogLevel::Critical => log::Level::Error,
    }
}

/// What the embedded proxy has to be told for a chain.
pub(crate) fn settings(chain: &Chain) -> Result<Settings> {
    let cluster = |name: &str, address| wasmplugin_proxy::Cluster::new(name, [address]);
    let mut settings = Settings::new(cluster(UPSTREAM, chain.upstream));
    let mut listener = Listener::new("listener", Routes::all(UPSTREAM));
    listener.address = chain.listen;
    listener.plugins = chain.plugins.iter().map(compiled).collect::<Result<_>>()?;
    settings.listeners = vec![listener];
    settings.admin = Some(chain.admin);
    settings.workers = chain.workers;
    settings.secrets = secrets::of_plugins(chain.plugins.iter().map(|plugin| plugin.configuration.as_str()));
    settings.clusters.extend(chain.clusters.iter().map(|(name, address)| cluster(name, *address)));
    Ok(settings)
}

/// A plugin with its module.
pub(crate) fn compiled(plugin: &Plugin) -> Result<wasmplugin_host::worker::Plugin> {
    let code = Code::Wasm(Arc::new(code::compile(Module::read(&plugin.module)?)?));
    Ok(wasmplugin_host::worker::Plugin {
        configuration: plugin.configuration.clone().into(),
        fail: plugin.fail,
        ..wasmplugin_host::worker::Plugin::new(&plugin.name, code)
    })
}

fn bootstrap(chain: &Chain) -> Result<config::Bootstrap> {
    let cluster = |name: &str, address| config::Cluster { name: name.to_owned(), address, http2: false };
    let mut bootstrap = config::Bootstrap::new(cluster(UPSTREAM, chain.upstream));
    bootstrap.listener = chain.listen;
    bootstrap.admin = chain.admin;
    bootstrap.clusters = chain.clusters.iter().map(|(name, address)| cluster(name, *address)).collect();
    bootstrap.plugins = chain.plugins.iter().map(absolute).collect::<Result<_>>()?;
    Ok(bootstrap)
}

fn absolute(plugin: &Plugin) -> Result<config::Plugin> {
    let module = plugin.module.canonicalize().with_context(|| format!("cannot read `{}`", plugin.module.display()))?;
    Ok(config::Plugin {
        configuration: plugin.configuration.clone().into(),
        fail: plugin.fail,
        ..config::Plugin::new(&plugin.name, module)
    })
}

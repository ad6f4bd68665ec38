//! A mesh that runs: one proxy per workload, and the little servers that stand in for applications.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::envoy::{binary, process};
use wasmplugin_host::test::{Answer, Cluster, Request};

use super::description::{Protocol, Role};
use super::discovery::Discovery;
use super::files::{self, Resources};
use super::modules::Library;
use super::plan::{self, Identities, Ports, Side, Tls, Upstreams};
use super::plugin_config::Wanted;
use super::{embedded, envoy};
use crate::engine::{Engine, Ready, Running};

/// What an application answers that nobody has named.
pub(crate) type Script = fn(&Request) -> Answer;

/// A mesh that runs.
pub(crate) struct Mesh {
    paths: Vec<PathBuf>,
    ready: Ready,
    library: Library,
    identities: Identities,
    ports: Ports,
    script: Script,
    applications: BTreeMap<(String, u16), Application>,
    proxies: Vec<Started>,
    /// What Envoys discover.
    discoveries: Vec<Discovery>,
    resources: Resources,
    /// What the files looked like when they were read last.
    seen: Vec<(PathBuf, Option<(SystemTime, u64)>)>,
}

/// A server in the place of an application.
pub(crate) struct Application {
    /// What has reached it.
    pub(crate) cluster: Cluster,
    backend: Backend,
}

/// A proxy with its plan.
pub(crate) struct Started {
    pub(crate) plan: plan::Proxy,
    pub(crate) running: Running,
}

impl Mesh {
    /// Starts what the files describe.
    pub(crate) fn start(paths: &[PathBuf], engine: Engine, envoy_folder: &Path, script: Script) -> Result<Self> {
        Self::start_as(paths, engine, envoy_folder, script, None, Ports::default())
    }

    fn start_as(
        paths: &[PathBuf],
        engine: Engine,
        envoy_folder: &Path,
        script: Script,
        identities: Option<Identities>,
        ports: Ports,
    ) -> Result<Self> {
        let ready = engine.prepare(envoy_folder)?;
        let resources = files::read(paths, engine)?;
        let mut mesh = Self {
            paths: paths.to_vec(),
            identities: identities.map_or_else(|| Identities::new(&resources.mesh.trust_domain), Ok)?,
            library: Library::open()?,
            ports,
            script,
            applications: BTreeMap::new(),
            proxies: Vec::new(),
            discoveries: Vec::new(),
            seen: Vec::new(),
            ready,
            resources,
        };
        let plans = mesh.plan()?;
        for plan in plans {
            let running = mesh.launch(&plan)?;
            mesh.proxies.push(Started { plan, running });
        }
        mesh.look();
        Ok(mesh)
    }

    /// Starts the same once more in another kind of proxies: other ports, the same certificates.
    pub(crate) fn beside(&self, engine: Engine, envoy_folder: &Path) -> Result<Self> {
        let identities = self.identities.copied()?;
        Self::start_as(&self.paths, engine, envoy_folder, self.script, Some(identities), Ports::anywhere())
    }

    /// Takes the files as they are now. Nothing changes if one of them is wrong.
    pub(crate) fn reload(&mut self) -> Result<()> {
        // Before anything is read: what changes meanwhile is seen the next time.
        self.look();
        let read = files::read(&self.paths, Engine::Embedded)?;
        let old = std::mem::replace(&mut self.resources, read);
        let plans = match self.plan() {
            Ok(plans) => plans,
            Err(error) => {
                self.resources = old;
                return Err(error);
            }
        };
        self.look();
        let (mut stay, mut failed) = (Vec::new(), Vec::new());
        let mut before = std::mem::take(&mut self.proxies);
        for plan in plans {
            let at = before.iter().position(|old| old.plan.workload == plan.workload);
            let started = match at.map(|at| before.remove(at)) {
                Some(old) => match self.change(old, plan) {
                    (started, Ok(())) => started,
                    (started, Err(error)) => {
                        failed.push(format!("`{}` stays as it was: {error:#}", started.plan.workload));
                        started
                    }
                },
                None => {
                    let running = self.launch(&plan)?;
                    Started { plan, running }
                }
            };
            stay.push(started);
        }
        self.proxies = stay;
        for gone in before {
            gone.running.stop();
        }
        self.library.tidy();
        if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
    }

    fn change(&mut self, old: Started, plan: plan::Proxy) -> (Started, Result<()>) {
        let Started { plan: old_plan, running } = old;
        let Running::Embedded(mut proxy) = running else {
            return (
                Started { plan: old_plan, running },
                Err(anyhow::anyhow!("an Envoy is not changed while it runs")),
            );
        };
        let changed = embedded::settings(&plan, &mut self.library).and_then(|(settings, notes)| {
            tell(&plan.workload, &notes);
            proxy.update(settings)?;
            tell_rejections(&plan.workload, &proxy);
            Ok(())
        });
        let plan = if changed.is_ok() { plan } else { old_plan };
        (Started { plan, running: Running::Embedded(proxy) }, changed)
    }

    fn plan(&mut self) -> Result<Vec<plan::Proxy>> {
        let (resources, ports) = (&self.resources, &mut self.ports);
        ports.choose(&resources.mesh)?;
        for workload in resources.mesh.workloads.iter().filter(|workload| workload.role == Role::Sidecar) {
            for port in workload.ports.iter().filter(|port| port.upstream.is_none()) {
                let key = (workload.full_name(), port.port);
                if port.protocol != Protocol::Http {
                    bail!("port `{}` of `{}` needs its `upstream`: only HTTP/1.1 is answered without", key.1, key.0);
                }
                if !self.applications.contains_key(&key) {
                    let cluster = Cluster::new(format!("{}:{}", key.0, key.1), self.script);
                    let backend = Backend::start(cluster.clone()).context("an application has no port to listen on")?;
                    self.applications.insert(key, Application { cluster, backend });
                }
            }
        }
        let upstreams: Upstreams =
            self.applications.iter().map(|(key, application)| (key.clone(), application.backend.address())).collect();
        let plans = plan::plan(resources, &mut self.identities, ports, &upstreams)?;
        for note in &resources.notes {
            log::info!("{note}");
        }
        let plugins = plans.iter().flat_map(plan::Proxy::plugins);
        let built = plugins.filter_map(|plugin| match &plugin.module {
            Wanted::Build(name) => Some(name.as_str()),
            Wanted::File(_) | Wanted::Fetch(_) => None,
        });
        self.library.build(built)?;
        Ok(plans)
    }

    fn launch(&mut self, plan: &plan::Proxy) -> Result<Running> {
        let started = match &self.ready {
            Ready::Embedded => {
                let (settings, notes) = embedded::settings(plan, &mut self.library)?;
                tell(&plan.workload, &notes);
                let proxy = wasmplugin_proxy::Proxy::start(settings).map_err(anyhow::Error::from);
                proxy.map(|proxy| {
                    tell_rejections(&plan.workload, &proxy);
                    Running::Embedded(proxy)
                })
            }
            Ready::Envoy(binary) => {
                let mut discovery = Discovery::new()?;
                let (bootstrap, notes) = envoy::bootstrap(plan, &mut self.library, &mut discovery)?;
                self.discoveries.push(discovery);
                tell(&plan.workload, &notes);
                start_envoy(binary, plan, &bootstrap)
            }
        };
        started.with_context(|| format!("the proxy of `{}` does not start", plan.workload))
    }

    /// Whether a file has changed since it was looked at.
    pub(crate) fn has_changed(&self) -> bool {
        self.seen.iter().any(|(path, seen)| stamp(path) != *seen) || self.watched().len() != self.seen.len()
    }

    fn look(&mut self) {
        self.seen = self.watched().into_iter().map(|path| (path.clone(), stamp(&path))).collect();
    }

    /// Everything that the proxies depend on and that somebody may edit.
    fn watched(&self) -> Vec<PathBuf> {
        let mut paths = self.resources.files.clone();
        for folder in self.paths.iter().filter(|path| path.is_dir()) {
            collect(folder, &mut paths, |path| {
                path.extension()
                    .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
            });
        }
        for plugin in self.proxies.iter().flat_map(|started| started.plan.plugins()) {
            match &plugin.module {
                Wanted::File(file) => paths.push(file.clone()),
                Wanted::Build(name) => {
                    let folder = self.library.workspace().and_then(|workspace| workspace.folder(name));
                    if let Some(folder) = folder {
                        collect(&folder, &mut paths, |path| {
                            path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
                        });
                    }
                }
                Wanted::Fetch(_) => {}
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// The proxies.
    pub(crate) fn proxies(&self) -> &[Started] {
        &self.proxies
    }

    /// The server in the place of an application, if there is one.
    pub(crate) fn application(&self, workload: &str, port: u16) -> Option<&Application> {
        self.applications.get(&(workload.to_owned(), port))
    }

    /// Why a proxy has ended by itself, if one did.
    pub(crate) fn end(&self) -> Option<String> {
        self.proxies.iter().find_map(|started| started.running.end())
    }

    /// Records exchanges from now on, in every proxy that can.
    pub(crate) fn record(&self) {
        for recorder in self.proxies.iter().filter_map(|started| started.running.recorder()) {
            recorder.switch(true);
        }
    }

    /// Hands on what plugins have logged.
    pub(crate) fn relay_log(&self) {
        for started in &self.proxies {
            started.running.relay_log();
        }
    }

    /// What to call the proxies in messages.
    pub(crate) fn title(&self) -> String {
        self.ready.title()
    }

    /// Who listens where, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for Started { plan, .. } in &self.proxies {
            let _ = writeln!(text, "{}", plan.workload);
            for listener in &plan.listeners {
                let (side, note) = match (listener.side, listener.tls) {
                    (Side::Outbound, _) => ("calls services on port", String::new()),
                    (Side::Gateway, _) => ("takes from outside on port", String::new()),
                    (Side::Inbound, Tls::Mutual) => ("serves port", " (mutual TLS)".to_owned()),
                    (Side::Inbound, Tls::Permissive) => ("serves port", " (mutual TLS, or none)".to_owned()),
                    (Side::Inbound, Tls::Plain) => ("serves port", String::new()),
                };
                let names: Vec<_> = listener.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
                let chain = if names.is_empty() { String::new() } else { format!(": {}", names.join(" → ")) };
                let _ = writeln!(text, "  {side} {} at {}{note}{chain}", listener.port, listener.address);
            }
            let _ = writeln!(text, "  admin at http://{}", plan.admin);
        }
        text
    }

    /// Stops everything; what is under way may end.
    pub(crate) fn stop(self) {
        for started in self.proxies {
            started.running.stop();
        }
    }
}

fn start_envoy(binary: &binary::Binary, plan: &plan::Proxy, bootstrap: &serde_json::Value) -> Result<Running> {
    let options = process::Options { workers: plan.workers, trace: false };
    let first = plan.listeners.first().map(|listener| listener.name.as_str()).unwrap_or_default();
    Ok(Running::Envoy(process::Process::run(&binary.path, bootstrap, first, options)?))
}

fn tell(workload: &str, notes: &[String]) {
    for note in notes {
        log::warn!("{workload}: {note}");
    }
}

fn tell_rejections(workload: &str, proxy: &wasmplugin_proxy::Proxy) {
    for rejection in proxy.rejections() {
        let effect = if rejection.old_stays { "its old configuration goes on" } else { "requests get 500" };
        log::error!(
            "{workload}, {}: `{}` is refused, so {effect}: {}",
            rejection.listener,
            rejection.plugin,
            rejection.reason
        );
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>, wanted: impl Fn(&Path) -> bool + Copy) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, paths, wanted);
        } else if wanted(&path) {
            paths.push(path);
        }
    }
}

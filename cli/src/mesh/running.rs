//! A mesh that runs: one proxy per workload, and the little servers that stand in for applications.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::test::{Answer, Cluster, Request};

use super::description::{Protocol, Role};
use super::files::{self, Resources};
use super::modules::Library;
use super::plan::{self, Identities, Ports, Side, Tls, Upstreams};
use super::plugin_config::Wanted;
use super::started::Started;
use super::watched::{self, Watched};
use crate::engine::{Engine, Ready};

/// What an application answers that nobody has named.
pub(crate) type Script = fn(&Request) -> Answer;

/// A mesh that runs.
pub(crate) struct Mesh {
    paths: Vec<PathBuf>,
    engine: Engine,
    ready: Ready,
    library: Library,
    identities: Identities,
    ports: Ports,
    script: Script,
    applications: BTreeMap<(String, u16), Application>,
    proxies: Vec<Started>,
    resources: Resources,
    watched: Watched,
}

/// A server in the place of an application.
pub(crate) struct Application {
    /// What has reached it.
    pub(crate) cluster: Cluster,
    backend: Backend,
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
            engine,
            identities: identities.map_or_else(|| Identities::new(&resources.mesh.trust_domain), Ok)?,
            library: Library::open()?,
            ports,
            script,
            applications: BTreeMap::new(),
            proxies: Vec::new(),
            watched: Watched::default(),
            ready,
            resources,
        };
        for plan in mesh.plan()? {
            mesh.proxies.push(Started::start(&mesh.ready, plan, &mut mesh.library)?);
        }
        mesh.look();
        Ok(mesh)
    }

    /// Starts the same once more in another kind of proxies: other ports, the same certificates.
    pub(crate) fn beside(&self, engine: Engine, envoy_folder: &Path) -> Result<Self> {
        let identities = self.identities.clone();
        Self::start_as(&self.paths, engine, envoy_folder, self.script, Some(identities), Ports::anywhere())
    }

    /// Takes the files as they are now. Nothing changes if one of them is wrong; a proxy that does not take its part of them
    /// stays as it was.
    pub(crate) fn reload(&mut self) -> Result<()> {
        // Before anything is read: what changes meanwhile is seen the next time.
        self.look();
        let unchanged = "nothing is changed";
        let read = files::read(&self.paths, self.engine).context(unchanged)?;
        let old = std::mem::replace(&mut self.resources, read);
        let plans = match self.plan() {
            Ok(plans) => plans,
            Err(error) => {
                self.resources = old;
                return Err(error.context(unchanged));
            }
        };
        self.look();
        let (mut stay, mut failed) = (Vec::new(), Vec::new());
        let mut before = std::mem::take(&mut self.proxies);
        for plan in plans {
            let at = before.iter().position(|old| old.plan.workload == plan.workload);
            let started = match at.map(|at| before.remove(at)) {
                Some(mut old) => {
                    if let Err(error) = old.change(plan, &mut self.library) {
                        failed.push(format!("`{}` stays as it was: {error:#}", old.plan.workload));
                    }
                    old
                }
                None => match Started::start(&self.ready, plan, &mut self.library) {
                    Ok(started) => started,
                    Err(error) => {
                        failed.push(format!("{error:#}"));
                        continue;
                    }
                },
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
        let plans = plan::plan(resources, &self.identities, ports, &upstreams)?;
        for note in &resources.notes {
            log::info!("{note}");
        }
        let plugins = plans.iter().flat_map(plan::Proxy::plugins);
        let built = plugins.filter_map(|plugin| match &plugin.module {
            Wanted::Build(name) => Some(name.as_str()),
            Wanted::File(_) | Wanted::Fetch(_) | Wanted::Script(_) => None,
        });
        self.library.build(built)?;
        Ok(plans)
    }

    /// Whether a file has changed since it was looked at.
    pub(crate) fn has_changed(&self) -> bool {
        self.watched.differs_from(&self.sources())
    }

    fn look(&mut self) {
        self.watched = Watched::of(self.sources());
    }

    /// Everything that the proxies depend on and that somebody may edit.
    fn sources(&self) -> Vec<PathBuf> {
        let mut paths = self.resources.files.clone();
        for folder in self.paths.iter().filter(|path| path.is_dir()) {
            watched::collect(folder, &mut paths, |path| {
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
                        watched::collect(&folder, &mut paths, |path| {
                            path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
                        });
                    }
                }
                Wanted::Fetch(_) | Wanted::Script(_) => {}
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
        for Started { plan, running, .. } in &self.proxies {
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
            let _ = writeln!(text, "  admin at http://{}", running.admin());
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

//! A real Envoy of a mesh, and how it takes changes while it runs: clusters, then plugins, then listeners, as from istiod.
//!
//! Envoy's own counters tell when it has taken or refused something.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use wasmplugin_host::envoy::binary::Binary;
use wasmplugin_host::envoy::complaints::Refusal;
use wasmplugin_host::envoy::process::{Options, Process};
use wasmplugin_proxy::Rejection;

use super::discovery::Discovery;
use super::envoy::{self, Discovered};
use super::modules::Library;
use super::plan;
use super::restart::Restart;

/// How long Envoy may take for one step of a change; modules are compiled in that time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its counters are looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// An Envoy that runs, with what it has subscribed to.
#[derive(Debug)]
pub(crate) struct Subscriber {
    process: Process,
    discovery: Discovery,
    workers: usize,
    restart: Restart,
    /// Those that were taken as a whole last.
    clusters: Vec<Value>,
    /// Whether others have been sent since: of these, it may have taken some.
    clusters_differ: bool,
    /// Nothing if the last ones were not taken as a whole.
    listeners: Option<Vec<Value>>,
    /// By the names of their resources.
    plugins: BTreeMap<String, Subscribed>,
    refused: Refused,
}

/// A plugin that Envoy has been told.
#[derive(Debug)]
struct Subscribed {
    config: Value,
    /// Whether Envoy has ever taken a configuration of it.
    runs: bool,
    /// Why the last one was refused, if it was.
    refused: Option<String>,
}

/// What an Envoy did not take of what it was told last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused {
    pub(crate) plugins: Vec<Rejection>,
    /// Listeners that stay as they were, and why.
    pub(crate) listeners: Vec<(String, String)>,
}

impl Refused {
    /// For people: what was refused with what effect, and why.
    pub(crate) fn told(&self, workload: &str) -> Vec<(String, String)> {
        let plugins = self.plugins.iter().map(|Rejection { listener, plugin, reason, old_stays }| {
            let effect = if *old_stays { "its old configuration goes on" } else { "requests get 500" };
            (format!("{workload}, {listener}: `{plugin}` is refused, so {effect}"), reason.clone())
        });
        let listeners = self.listeners.iter().map(|(listener, reason)| {
            (format!("{workload}, {listener}: the listener is refused, so it stays as it was"), reason.clone())
        });
        plugins.chain(listeners).collect()
    }
}

/// What Envoy has counted of something that it discovers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    taken: u64,
    refused: u64,
    /// How often the workers have got it.
    applied: u64,
}

impl Subscriber {
    /// Starts an Envoy for a plan; what went wrong with modules, for people, comes with it.
    pub(crate) fn start(binary: &Binary, plan: &plan::Proxy, library: &mut Library) -> Result<(Self, Vec<String>)> {
        let mut discovery = Discovery::new()?;
        let told = envoy::configuration(plan, library, &mut discovery)?;
        discovery.put_clusters(&told.clusters)?;
        for plugin in &told.plugins {
            discovery.put_plugin(&plugin.resource, &plugin.config)?;
        }
        discovery.put_listeners(&told.listeners)?;
        let first = plan.listeners.first().map(|listener| listener.name.as_str());
        let options = Options { workers: plan.workers, trace: false };
        let process = Process::run(&binary.path, &told.bootstrap, first, options)?;
        discovery.forget_the_rest();
        let mut subscriber = Self {
            process,
            discovery,
            workers: plan.workers,
            restart: Restart::new(told.bootstrap, plan.workers),
            clusters: told.clusters,
            clusters_differ: false,
            listeners: Some(told.listeners),
            plugins: BTreeMap::new(),
            refused: Refused::default(),
        };
        subscriber.note(&told.plugins, &BTreeMap::new());
        subscriber.refused.plugins = subscriber.rejections(&told.plugins);
        Ok((subscriber, told.notes))
    }

    /// What it did not take of what it was told last.
    pub(crate) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Tells the Envoy what has changed, and waits until it has taken or refused it; what went wrong with modules, for people.
    ///
    /// # Errors
    ///
    /// It ends, does not answer, or does not take a cluster.
    pub(crate) fn update(&mut self, plan: &plan::Proxy, library: &mut Library) -> Result<Vec<String>> {
        let mut told = envoy::configuration(plan, library, &mut self.discovery)?;
        // What it has said before is about something else.
        self.process.refusals(0);
        // Clusters that are gone stay as long as a listener may lead to them.
        let names: Vec<_> = told.clusters.iter().map(|cluster| cluster.get("name")).collect();
        let gone = self.clusters.iter().filter(|cluster| !names.contains(&cluster.get("name")));
        let all: Vec<_> = told.clusters.iter().chain(gone).cloned().collect();
        self.change_clusters(all)?;
        let (known, new): (Vec<_>, Vec<_>) =
            told.plugins.iter().partition(|plugin| self.plugins.contains_key(&plugin.resource));
        for plugin in known {
            self.change_plugin(plugin)?;
        }
        let before = counts(&self.process);
        for plugin in &new {
            self.discovery.put_plugin(&plugin.resource, &plugin.config)?;
        }
        self.refused.listeners = self.change_listeners(std::mem::take(&mut told.listeners))?;
        let is_there = |plugin: &&Discovered| self.refused.listeners.iter().all(|(name, _)| *name != plugin.listener);
        let new: Vec<_> = new.into_iter().filter(is_there).collect();
        wait(&self.process, "new plugins", || {
            let now = counts(&self.process);
            new.iter().all(|plugin| answers(&now, &plugin.resource) > answers(&before, &plugin.resource))
        })?;
        self.note(new, &before);
        self.plugins.retain(|resource, _| told.plugins.iter().any(|plugin| plugin.resource == *resource));
        self.discovery.forget_the_rest();
        if self.refused.listeners.is_empty() {
            self.change_clusters(std::mem::take(&mut told.clusters))?;
        }
        self.refused.plugins = self.rejections(&told.plugins);
        self.restart.tell(&plan.workload, &told.bootstrap, plan.workers);
        Ok(told.notes)
    }

    fn change_clusters(&mut self, clusters: Vec<Value>) -> Result<()> {
        if self.clusters == clusters && !self.clusters_differ {
            return Ok(());
        }
        let look = || self.process.stats(r"^cluster_manager\.(cds\.update_|warming_clusters$)");
        let before = answered(&look(), "cluster_manager.cds");
        self.clusters_differ = true;
        self.discovery.put_clusters(&clusters)?;
        wait(&self.process, "clusters", || {
            let now = look();
            answered(&now, "cluster_manager.cds") > before && now.get("cluster_manager.warming_clusters") == Some(&0)
        })?;
        let (_, refused) = before;
        if answered(&look(), "cluster_manager.cds").1 > refused {
            let refusals = self.process.refusals(1);
            let said = refusals.iter().map(|refusal| format!("cluster `{}`: {}", refusal.name, refusal.reason));
            bail!("Envoy refuses {}", said.collect::<Vec<_>>().join("; "));
        }
        self.clusters = clusters;
        self.clusters_differ = false;
        Ok(())
    }

    /// Gives a plugin that is there another configuration, if it is another one.
    fn change_plugin(&mut self, plugin: &Discovered) -> Result<()> {
        if self.plugins.get(&plugin.resource).is_some_and(|known| known.config == plugin.config) {
            return Ok(());
        }
        let before = counts(&self.process);
        let of = |counts: &BTreeMap<String, Counts>| counts.get(&plugin.resource).copied().unwrap_or_default();
        let old = of(&before);
        self.discovery.put_plugin(&plugin.resource, &plugin.config)?;
        wait(&self.process, &format!("`{}`", plugin.plugin), || {
            let now = of(&counts(&self.process));
            now.refused > old.refused || now.taken > old.taken && now.applied > old.applied
        })?;
        self.note([plugin], &before);
        Ok(())
    }

    /// Gives the Envoy other listeners; those that it refuses, and why.
    fn change_listeners(&mut self, listeners: Vec<Value>) -> Result<Vec<(String, String)>> {
        if self.listeners.as_ref() == Some(&listeners) {
            return Ok(Vec::new());
        }
        let look = || self.process.stats(r"^listener_manager\.");
        let count = |stats: &BTreeMap<String, u64>, name: &str| {
            stats.get(&format!("listener_manager.{name}")).copied().unwrap_or_default()
        };
        let changes =
            |stats: &BTreeMap<String, u64>| count(stats, "listener_added") + count(stats, "listener_modified");
        let lds = |stats: &BTreeMap<String, u64>| answered(stats, "listener_manager.lds");
        let before = look();
        let since = |now: &BTreeMap<String, u64>, name: &str| count(now, name).saturating_sub(count(&before, name));
        self.listeners = None;
        self.discovery.put_listeners(&listeners)?;
        let mut refused = 0;
        wait(&self.process, "listeners", || {
            let now = look();
            refused = lds(&now).1.saturating_sub(lds(&before).1);
            let changed = changes(&now).saturating_sub(changes(&before));
            // Each worker has each of them.
            let everywhere = since(&now, "listener_create_success") >= changed * self.workers as u64;
            lds(&now) != lds(&before) && everywhere && count(&now, "total_listeners_warming") == 0
        })?;
        if refused == 0 {
            self.listeners = Some(listeners);
            return Ok(Vec::new());
        }
        let refusals = self.process.refusals(1).into_iter().filter(|refusal| !refusal.name.is_empty());
        let refusals: Vec<_> = refusals.map(|refusal| (refusal.name, refusal.reason)).collect();
        if refusals.is_empty() {
            bail!("Envoy refuses the listeners and does not tell why");
        }
        Ok(refusals)
    }

    /// Notes what has become of plugins that Envoy has been told since it counted as `before`.
    fn note<'a>(&mut self, plugins: impl IntoIterator<Item = &'a Discovered>, before: &BTreeMap<String, Counts>) {
        let now = counts(&self.process);
        let plugins: Vec<_> = plugins.into_iter().collect();
        let of = |counts: &BTreeMap<String, Counts>, plugin: &Discovered| {
            counts.get(&plugin.resource).copied().unwrap_or_default()
        };
        let is_refused = |plugin: &Discovered| of(&now, plugin).refused > of(before, plugin).refused;
        let mut refusals = self.process.refusals(plugins.iter().filter(|plugin| is_refused(plugin)).count());
        for plugin in plugins {
            let refused =
                is_refused(plugin).then(|| plugin.flaw.clone().unwrap_or_else(|| reason(&mut refusals, plugin)));
            let runs = self.plugins.get(&plugin.resource).is_some_and(|known| known.runs);
            let subscribed = Subscribed { config: plugin.config.clone(), runs: runs || refused.is_none(), refused };
            self.plugins.insert(plugin.resource.clone(), subscribed);
        }
    }

    /// The plugins whose last configuration was refused.
    fn rejections(&self, plugins: &[Discovered]) -> Vec<Rejection> {
        let rejection = |plugin: &Discovered| {
            let subscribed = self.plugins.get(&plugin.resource)?;
            Some(Rejection {
                listener: plugin.listener.clone(),
                plugin: plugin.plugin.clone(),
                reason: subscribed.refused.clone()?,
                old_stays: subscribed.runs,
            })
        };
        plugins.iter().filter_map(rejection).collect()
    }
}

impl Borrow<Process> for Subscriber {
    fn borrow(&self) -> &Process {
        &self.process
    }
}

/// Why a plugin was refused, among what was; it is then taken.
fn reason(refusals: &mut Vec<Refusal>, plugin: &Discovered) -> String {
    let own = |refusal: &Refusal| refusal.name.is_empty() && refusal.message.ends_with(&plugin.plugin);
    let found = refusals.iter().position(own).or_else(|| refusals.iter().position(|refusal| refusal.name.is_empty()));
    found.map_or_else(|| "Envoy does not tell why".to_owned(), |at| refusals.remove(at).reason)
}

/// What has been counted of each plugin, by the names of their resources.
fn counts(process: &Process) -> BTreeMap<String, Counts> {
    let mut counts = BTreeMap::<String, Counts>::new();
    for (name, value) in process.stats(r"^extension_config_discovery\..*_(success|rejected|failure|reload)$") {
        let plugin = ["http", "network"]
            .iter()
            .find_map(|kind| name.strip_prefix(&format!("extension_config_discovery.{kind}_filter.")));
        let Some((plugin, what)) = plugin.and_then(|rest| rest.rsplit_once('.')) else { continue };
        let counts = counts.entry(plugin.to_owned()).or_default();
        match what {
            "update_success" => counts.taken += value,
            "update_rejected" | "update_failure" => counts.refused += value,
            "config_reload" => counts.applied += value,
            _ => {}
        }
    }
    counts
}

/// How often something that a plugin was told was taken or refused.
fn answers(counts: &BTreeMap<String, Counts>, resource: &str) -> u64 {
    counts.get(resource).map_or(0, |counts| counts.taken + counts.refused)
}

/// How often clusters or listeners were taken, and how often not.
fn answered(stats: &BTreeMap<String, u64>, of: &str) -> (u64, u64) {
    let count = |what: &str| stats.get(&format!("{of}.update_{what}")).copied().unwrap_or_default();
    (count("success"), count("rejected") + count("failure"))
}

/// Waits until Envoy is done with something.
fn wait(process: &Process, what: &str, mut is_done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        if process.log().is_closed() {
            bail!("Envoy has ended by itself: {}", process.last_words());
        }
        if Instant::now() > deadline {
            bail!(
                "Envoy has not taken the change of {what} after {} s; `http://{}/config_dump` shows what it runs",
                PATIENCE.as_secs(),
                process.admin()
            );
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}

//! An embedded proxy of a mesh: what it has to be told for a plan, and how it takes another one while it runs.

use std::borrow::Borrow;
use std::sync::Arc;

use anyhow::Result;
use wasmplugin_deploy::resource::FailStrategy;
use wasmplugin_host::guest::{Guest, Load};
use wasmplugin_host::prometheus::StatsTag;
use wasmplugin_host::stand_in::StandIn;
use wasmplugin_host::surroundings::{self, TrafficDirection};
use wasmplugin_host::vm::VmState;
use wasmplugin_proxy::{
    ClientCertificates, ClientTls, Cluster, Code, Listener, PathNormalization, Plugin, Proxy, Refused, Rejection,
    Routes, ServerTls, Serves, Settings, VirtualHost,
};

use super::description::Normalization;
use super::modules::{Failure, Library};
use super::plan::{self, Side, Tls};
use super::plugin_config;
use super::restart::{self, Restart};
use crate::secrets;

/// An embedded proxy that runs.
pub(crate) struct Embedded {
    proxy: Proxy,
    restart: Restart,
}

impl Embedded {
    /// Starts one for a plan; what went wrong with modules, for people, comes with it.
    pub(crate) fn start(plan: &plan::Proxy, library: &mut Library) -> Result<(Self, Vec<String>)> {
        let (settings, notes) = settings(plan, library)?;
        let restart = Restart::new(restart::of_embedded(plan), plan.workers);
        Ok((Self { proxy: Proxy::start(settings)?, restart }, notes))
    }

    /// Gives it another plan; what went wrong with modules, for people.
    ///
    /// # Errors
    ///
    /// It does not take the plan, and stays as it was.
    pub(crate) fn update(&mut self, plan: &plan::Proxy, library: &mut Library) -> Result<Vec<String>> {
        let (settings, notes) = settings(plan, library)?;
        self.proxy.update(settings)?;
        self.restart.tell(&plan.workload, &restart::of_embedded(plan), plan.workers);
        Ok(notes)
    }

    /// The plugins that it did not take of what it was told last.
    pub(crate) fn rejections(&self) -> &[Rejection] {
        self.proxy.rejections()
    }
}

impl Borrow<Proxy> for Embedded {
    fn borrow(&self) -> &Proxy {
        &self.proxy
    }
}

impl From<Embedded> for Proxy {
    fn from(embedded: Embedded) -> Self {
        embedded.proxy
    }
}

/// The proxy's settings, and what went wrong with modules, for people.
pub(crate) fn settings(proxy: &plan::Proxy, library: &mut Library) -> Result<(Settings, Vec<String>)> {
    let mut notes = Vec::new();
    let mut chain = |plugins: &[plugin_config::Plugin]| -> Vec<Plugin> {
        plugins.iter().map(|plugin| compiled(plugin, library, &mut notes)).collect()
    };
    let singletons = chain(&proxy.singletons);
    let listeners = proxy.listeners.iter().map(|listener| {
        let plugins = chain(&listener.plugins);
        self::listener(proxy, listener, plugins)
    });
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let clusters = proxy.clusters.iter().map(|cluster| self::cluster(proxy, cluster)).collect::<Result<Vec<_>>>()?;
    let tags = library.stats_tags(proxy).into_iter().map(|(name, regex)| StatsTag::new(name, regex));
    let first = Cluster::new("none", []);
    let settings = Settings {
        listeners,
        clusters,
        singletons,
        admin: Some(proxy.admin),
        workers: proxy.workers,
        refused: Refused::Stays,
        node: surroundings::Node {
            id: proxy.node.id.clone(),
            cluster: proxy.node.cluster.clone(),
            metadata: proxy.node.metadata.clone(),
            locality: surroundings::Locality::default(),
        },
        stats_tags: tags.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
        secrets: secrets::of_plugins(proxy.plugins().map(|plugin| plugin.configuration.as_str())),
        ..Settings::new(first)
    };
    notes.sort();
    notes.dedup();
    Ok((settings, notes))
}

fn listener(proxy: &plan::Proxy, planned: &plan::Listener, plugins: Vec<Plugin>) -> Result<Listener> {
    let direction = match planned.side {
        Side::Inbound => TrafficDirection::Inbound,
        Side::Outbound | Side::Gateway => TrafficDirection::Outbound,
    };
    let serves = match &planned.serves {
        plan::Serves::Tcp(cluster) => Serves::Tcp { cluster: cluster.clone() },
        plan::Serves::Http(hosts) => Serves::Http(Routes::new(hosts.iter().map(|host| {
            let cluster = proxy.clusters.iter().find(|cluster| cluster.name == host.cluster);
            VirtualHost {
                name: host.name.clone(),
                domains: host.domains.clone(),
                route: host.route.clone(),
                cluster: host.cluster.clone(),
                endpoints: cluster.map_or(0, |cluster| cluster.endpoints.len() as u64),
                metadata: cluster.map(|cluster| cluster.metadata.clone()).unwrap_or_default(),
            }
        }))),
    };
    let tls = match planned.tls {
        Tls::Plain => None,
        Tls::Mutual => Some(ServerTls::new(&proxy.identity, ClientCertificates::Required)?),
        Tls::Permissive => Some(ServerTls::new(&proxy.identity, ClientCertificates::Required)?.permissive()),
    };
    Ok(Listener {
        name: planned.name.clone(),
        address: planned.address,
        stat_prefix: planned.stat_prefix.clone(),
        facts: surroundings::Listener { direction, ..surroundings::Listener::default() },
        tls,
        path_normalization: match planned.path_normalization {
            Normalization::None => PathNormalization::None,
            Normalization::Base => PathNormalization::Base,
            Normalization::MergeSlashes => PathNormalization::MergeSlashes,
            Normalization::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        },
        plugins,
        serves,
    })
}

fn cluster(proxy: &plan::Proxy, planned: &plan::Cluster) -> Result<Cluster> {
    let tls =
        planned.tls.as_ref().map(|(name, identities)| ClientTls::mutual(&proxy.identity, name, identities.clone()));
    Ok(Cluster {
        http2: planned.http2,
        tls: tls.transpose()?,
        metadata: planned.metadata.clone(),
        host_metadata: planned.host_metadata.clone(),
        ..Cluster::new(planned.name.clone(), planned.endpoints.iter().copied())
    })
}

/// The plugin with its module, or what stands in for it.
fn compiled(plugin: &plugin_config::Plugin, library: &mut Library, notes: &mut Vec<String>) -> Plugin {
    let loaded = match &plugin.flaw {
        Some(flaw) => Err(Failure::Refused(flaw.clone())),
        None => library.get(&plugin.module),
    };
    let code: Arc<dyn Load> = match loaded {
        Ok(loaded) => {
            notes.extend(loaded.lacks(&plugin.name, &plugin.sandbox.capabilities));
            loaded.module
        }
        Err(Failure::NotFetched(reason)) => {
            let open = plugin.strategy() == FailStrategy::FailOpen;
            let effect = if open { "requests pass without it" } else { "requests get 403" };
            notes.push(format!("`{}` has no module, so {effect}: {reason}", plugin.name));
            return if open { StandIn::allow() } else { StandIn::deny() }.plugin(&plugin.name);
        }
        Err(Failure::Refused(reason)) => Arc::new(Flawed(reason)),
    };
    Plugin {
        name: plugin.name.clone(),
        root_id: plugin.root_id.clone(),
        vm_id: plugin.vm_id.clone(),
        configuration: plugin.configuration.clone().into(),
        vm_configuration: plugin.vm_configuration.clone().into(),
        environment: plugin.environment.clone(),
        sandbox: plugin.sandbox.clone(),
        fail: plugin.fail,
        allow_on_headers_stop_iteration: plugin.allow_on_headers_stop_iteration,
        code: Code::Wasm(code),
    }
}

/// A module that does not start, for this reason.
#[derive(Debug)]
struct Flawed(String);

impl Load for Flawed {
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>) {
        (state, Err(self.0.clone()))
    }
}

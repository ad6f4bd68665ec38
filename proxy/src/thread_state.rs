//! What everything in one worker's thread shares, whatever listener it belongs to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use wasmplugin_host::id_map::IdMap;
use wasmplugin_host::services::Services;

use crate::client::Client;
use crate::date::Date;
use crate::listener::Listener;
use crate::request_ids::RequestIds;
use crate::settings::{self, Settings};
use crate::stats::WorkerStats;
use crate::upstream::Cluster;

/// What everything in one worker's thread shares.
pub(crate) struct ThreadState {
    /// As they were when the proxy started: what of them can change later is in the listeners and clusters.
    pub(crate) settings: Arc<Settings>,
    /// Those of the proxy, without any listener.
    pub(crate) services: Arc<Services>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) clients: RefCell<IdMap<u64, Rc<Client>>>,
    pub(crate) listeners: RefCell<BTreeMap<String, Rc<Listener>>>,
    clusters: RefCell<Vec<Rc<Cluster>>>,
    pub(crate) date: Date,
    pub(crate) request_ids: RequestIds,
    /// No new exchanges on the connections that there are.
    pub(crate) draining: Cell<bool>,
    pub(crate) drain: Notify,
    /// A client's connection has ended.
    pub(crate) left: Notify,
}

impl ThreadState {
    pub(crate) fn new(settings: Arc<Settings>, services: Arc<Services>, stats: Arc<WorkerStats>) -> Self {
        let state = Self {
            clients: RefCell::default(),
            listeners: RefCell::default(),
            clusters: RefCell::default(),
            date: Date::default(),
            request_ids: RequestIds::default(),
            draining: Cell::new(false),
            drain: Notify::new(),
            left: Notify::new(),
            settings,
            services,
            stats,
        };
        state.set_clusters(&state.settings.clusters);
        state
    }

    /// The cluster of this name.
    pub(crate) fn cluster(&self, name: &str) -> Option<Rc<Cluster>> {
        self.clusters.borrow().iter().find(|cluster| cluster.is(name)).cloned()
    }

    /// Takes those of these that are new, beside those before.
    pub(crate) fn add_clusters(&self, clusters: &[settings::Cluster]) {
        let mut known = self.clusters.borrow_mut();
        for cluster in clusters {
            if !known.iter().any(|known| known.is(&cluster.name)) {
                known.push(Rc::new(Cluster::new(cluster, &self.stats)));
            }
        }
    }

    /// Takes these in place of those before; what has not changed keeps its connections.
    pub(crate) fn set_clusters(&self, clusters: &[settings::Cluster]) {
        let old = self.clusters.take();
        let kept = |cluster: &settings::Cluster| old.iter().find(|old| old.settings == *cluster).cloned();
        let new: Vec<_> = clusters
            .iter()
            .map(|cluster| kept(cluster).unwrap_or_else(|| Rc::new(Cluster::new(cluster, &self.stats))))
            .collect();
        for gone in old.iter().filter(|old| !new.iter().any(|new| Rc::ptr_eq(new, old))) {
            gone.close();
        }
        *self.clusters.borrow_mut() = new;
    }

    /// Closes the connections to servers that wait.
    pub(crate) fn close_clusters(&self) {
        for cluster in self.clusters.borrow().iter() {
            cluster.close();
        }
    }
}

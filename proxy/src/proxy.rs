//! A proxy from its start to its end, and how it changes in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wasmplugin_host::clock::Clock;
use wasmplugin_host::services::Services;

use crate::activity::Activity;
use crate::board::{Board, Desk, Phase};
use crate::error::StartError;
use crate::front::{Bound, Front};
use crate::plugin_log;
use crate::settings::{Listener, Settings};
use crate::stats::Count;
use crate::trial::{self, Rejection};
use crate::worker_thread::{Order, WorkerThread};

/// A proxy that runs. Dropping it cuts off whatever is open; [`stop`](Self::stop) lets it finish.
#[derive(Debug)]
pub struct Proxy {
    // The front goes first, so that the workers are not given connections while they end.
    front: Front,
    workers: Vec<WorkerThread>,
    /// The thread of the singletons.
    main: Option<WorkerThread>,
    board: Arc<Board>,
    rejections: Vec<Rejection>,
}

impl Proxy {
    /// Starts the plugins and begins to serve. It either runs as a whole, or not at all: the ports do not answer
    /// before all plugins have started.
    ///
    /// # Errors
    ///
    /// What prevents it, such as a port that is taken or a plugin that refuses its configuration, unless
    /// [`Settings::refused`] says otherwise.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        settings.check()?;
        let bound = settings.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let port = settings.admin.map(|address| Bound::new("admin port", address)).transpose()?;
        let services = Services::new(Clock::system(), plugin_log::sink()).with_node(settings.node.clone());
        services.set_log_level(settings.log_level);
        services.recorder().protect(settings.secrets.clone());
        services.set_clusters(settings.clusters.iter().map(|cluster| cluster.name.clone()));
        let (settings, rejections) = trial::settled(settings, None)?;
        let (settings, services) = (Arc::new(settings), Arc::new(services));
        let main = start_main(&settings, &services)?;
        let start = |index| WorkerThread::start(format!("wasmplugin-{index}"), &settings, &services);
        let workers = (0..settings.workers).map(start).collect::<Result<Vec<_>, _>>()?;
        let desks = workers.iter().map(|worker| Desk {
            orders: worker.orders.clone(),
            stats: Arc::clone(&worker.stats),
            dealt: Count::default(),
        });
        let board = Arc::new(Board::new(services, Arc::clone(&settings), desks.collect()));
        board.set_main(main.as_ref().map(|main| Arc::clone(&main.stats)));
        let front = Front::start(port, &board)?;
        for (listener, bound) in settings.listeners.iter().zip(bound) {
            front.listen(&listener.name, bound)?;
        }
        Ok(Self { front, workers, main, board, rejections })
    }

    /// Takes other settings, without dropping a request: new exchanges meet the new chains, those under way end in the old
    /// ones. A chain that is the same goes on as it is. Threads, limits and the admin port stay those of the start.
    ///
    /// Either all of it happens or nothing, apart from the plugins that [`Settings::refused`] lets stay as they were;
    /// these are told.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings; the proxy goes on as before.
    pub fn update(&mut self, settings: Settings) -> Result<&[Rejection], StartError> {
        settings.check()?;
        let old = self.board.settings();
        let (settings, rejections) = trial::settled(settings, Some(&old))?;
        let moved = |listener: &&Listener| !old.listeners.iter().any(|old| is_same_place(old, listener));
        let moved = settings.listeners.iter().filter(moved);
        let bound = moved.map(|listener| Ok((listener.name.clone(), bind(listener)?)));
        let bound: Vec<(String, Bound)> = bound.collect::<Result<_, StartError>>()?;
        let settings = Arc::new(settings);
        let names = |settings: &Settings| -> Vec<String> {
            settings.clusters.iter().map(|cluster| cluster.name.clone()).collect()
        };
        // As in Envoy they come first: plugins may ask them as soon as they start.
        self.board.services.set_clusters([names(&old), names(&settings)].concat());
        if let Err(error) = self.prepare(&settings) {
            self.board.services.set_clusters(names(&old));
            return Err(error);
        }
        let services = &self.board.services;
        services.set_clusters(names(&settings));
        services.recorder().protect(settings.secrets.clone());
        if settings.log_level != old.log_level {
            // Otherwise what was set on the admin port stays.
            services.set_log_level(settings.log_level);
        }
        for worker in &self.workers {
            worker.commit();
        }
        for gone in old.listeners.iter().filter(|old| !settings.listeners.iter().any(|new| is_same_place(old, new))) {
            self.front.forget(&gone.name);
        }
        for (name, bound) in bound {
            self.front.listen(&name, bound)?;
        }
        self.board.set_settings(settings);
        self.board.count_update(rejections.len() as u64);
        self.rejections = rejections;
        Ok(&self.rejections)
    }

    /// Starts what is new on all threads, or nothing.
    fn prepare(&mut self, settings: &Arc<Settings>) -> Result<(), StartError> {
        let prepared = self.workers.iter().try_for_each(|worker| worker.prepare(settings));
        let main = prepared.and_then(|()| self.changed_main(settings));
        match main {
            Ok(None) => {}
            Ok(Some(main)) => {
                self.board.set_main(main.as_ref().map(|main| Arc::clone(&main.stats)));
                self.main = main;
            }
            Err(error) => {
                for worker in &self.workers {
                    // Nothing is prepared where the thread has ended.
                    worker.orders.send(Order::Abandon).ok();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Another thread for other singletons, if they are other ones.
    fn changed_main(&self, settings: &Arc<Settings>) -> Result<Option<Option<WorkerThread>>, StartError> {
        let (old, new) = (&self.board.settings().singletons, &settings.singletons);
        let same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.same(new));
        if same { Ok(None) } else { start_main(settings, &self.board.services).map(Some) }
    }

    /// The plugins that the last update, or the start, did not take, and why.
    #[must_use]
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Where clients of the first listener connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let first = self.board.settings().listeners.first().and_then(|listener| self.address_of(&listener.name));
        first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where clients of that listener connect, if there is such a listener.
    #[must_use]
    pub fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        self.board.addresses().get(listener).copied()
    }

    /// Where the admin port listens, if there is one.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.front.admin_address
    }

    /// What the plugins share: their data, queues and metrics.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.board.services
    }

    /// What is open right now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let workers = self.workers.iter().chain(&self.main).filter_map(WorkerThread::activity);
        workers.fold(Activity::default(), std::ops::Add::add)
    }

    /// Ends the proxy: there are no new connections, what is open may finish within `grace`, then the rest is cut
    /// off and the plugins end. Returns when all of it is done.
    pub fn stop(mut self, grace: Duration) {
        self.board.enter(Phase::Draining);
        for worker in &self.workers {
            // Fails only if the worker has ended by itself.
            worker.orders.send(Order::Stop(grace)).ok();
        }
        for worker in &mut self.workers {
            worker.join();
        }
        self.main = None;
        self.front.end();
    }
}

fn bind(listener: &Listener) -> Result<Bound, StartError> {
    Bound::new("listener", listener.address)
}

/// Whether the one listens where the other does.
fn is_same_place(one: &Listener, other: &Listener) -> bool {
    one.name == other.name && one.address == other.address
}

/// The thread of the singletons, if there are any: Envoy's main thread.
fn start_main(settings: &Settings, services: &Arc<Services>) -> Result<Option<WorkerThread>, StartError> {
    if settings.singletons.is_empty() {
        return Ok(None);
    }
    // A listener that nobody connects to carries them.
    let mut listener = Listener::new("singletons", crate::routes::Routes::default());
    listener.plugins.clone_from(&settings.singletons);
    let settings = Settings { listeners: vec![listener], singletons: Vec::new(), ..settings.clone() };
    WorkerThread::start("wasmplugin-main".to_owned(), &Arc::new(settings), services).map(Some)
}

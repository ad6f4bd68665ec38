//! One worker's thread: its chains, its connections, and the orders that it takes.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wasmplugin_host::services::Services;

use crate::activity::Activity;
use crate::callout;
use crate::chain::Chain;
use crate::connection;
use crate::error::StartError;
use crate::grpc;
use crate::hub::{Hub, Senders};
use crate::listener::Listener;
use crate::settings::{self, Settings};
use crate::stats::WorkerStats;
use crate::thread_state::ThreadState;
use crate::timer;

/// What a worker's thread can be told.
pub(crate) enum Order {
    /// Serve a client of that listener.
    Serve(u64, Arc<str>, TcpStream),
    /// Start the chains that these settings change, and say whether they run; nothing takes them yet.
    Prepare(Arc<Settings>, mpsc::Sender<Result<(), StartError>>),
    /// Take what was prepared last, and say when that is done.
    Commit(mpsc::Sender<()>),
    /// Forget what was prepared last.
    Abandon,
    /// Say what is going on.
    Report(mpsc::Sender<Activity>),
    /// Close each connection as soon as its client waits for nothing.
    Drain,
    /// Let everything that is open come to its end, but not longer than this; then end.
    Stop(Duration),
}

/// A worker that runs in a thread of its own.
#[derive(Debug)]
pub(crate) struct WorkerThread {
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) stats: Arc<WorkerStats>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerThread {
    /// Starts the thread, and waits until its VMs run.
    pub(crate) fn start(name: String, settings: &Arc<Settings>, services: &Arc<Services>) -> Result<Self, StartError> {
        let (orders, inbox) = unbounded_channel();
        let (started, starts) = mpsc::channel();
        let stats = Arc::<WorkerStats>::default();
        let thread = {
            let (settings, services, stats) = (Arc::clone(settings), Arc::clone(services), Arc::clone(&stats));
            thread::Builder::new()
                .name(name)
                .spawn(move || run(inbox, &started, settings, services, stats))
                .map_err(StartError::Thread)?
        };
        match starts.recv() {
            Ok(Ok(())) => Ok(Self { orders, stats, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::Thread(io::Error::other("it has ended at once"))),
        }
    }

    /// What is going on in the thread; nothing if it has ended.
    pub(crate) fn activity(&self) -> Option<Activity> {
        let (answer, answers) = mpsc::channel();
        self.orders.send(Order::Report(answer)).ok()?;
        answers.recv().ok()
    }

    /// Starts what these settings change; nothing takes it yet.
    pub(crate) fn prepare(&self, settings: &Arc<Settings>) -> Result<(), StartError> {
        let (answer, answers) = mpsc::channel();
        let ended = |_| StartError::Thread(io::Error::other("it has ended"));
        self.orders.send(Order::Prepare(Arc::clone(settings), answer)).map_err(|_| ended(()))?;
        answers.recv().map_err(|_| ended(()))?
    }

    /// Takes what was prepared.
    pub(crate) fn commit(&self) {
        let (answer, answers) = mpsc::channel();
        if self.orders.send(Order::Commit(answer)).is_ok() {
            // Nothing is left to commit if the thread has ended.
            answers.recv().ok();
        }
    }

    /// Waits for the thread's end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has been printed where it happened.
            thread.join().ok();
        }
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        if self.thread.is_some() && self.orders.send(Order::Stop(Duration::ZERO)).is_ok() {
            self.join();
        }
    }
}

/// What was started and is not taken yet.
struct Prepared {
    settings: Arc<Settings>,
    /// By the listener's place in the settings; nothing where the old chain stays.
    chains: Vec<Option<Rc<Chain>>>,
}

/// The thread from within.
struct Thread {
    state: Rc<ThreadState>,
    /// The settings whose chains run.
    current: Arc<Settings>,
    prepared: Option<Prepared>,
    hub: Rc<Hub>,
}

fn run(
    orders: UnboundedReceiver<Order>,
    started: &mpsc::Sender<Result<(), StartError>>,
    settings: Arc<Settings>,
    services: Arc<Services>,
    stats: Arc<WorkerStats>,
) {
    // Whoever started the thread waits for its word, so it is there to hear it.
    let tell = |word| drop(started.send(word));
    let state = Rc::new(ThreadState::new(Arc::clone(&settings), services, stats));
    let hub = Hub::new(&state, Senders { http: callout::start, grpc: grpc::start });
    let mut thread = Thread { state, current: Arc::clone(&settings), prepared: None, hub };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(error) => return tell(Err(StartError::Thread(error))),
    };
    // What plugins ask for while they start becomes tasks.
    if let Err(error) = runtime.block_on(async { thread.prepare(settings) }) {
        return tell(Err(error));
    }
    thread.serve(&runtime, orders, || tell(Ok(())));
}

impl Thread {
    /// Starts the chains that differ from those that run.
    fn prepare(&mut self, settings: Arc<Settings>) -> Result<(), StartError> {
        let stays = |listener: &settings::Listener| {
            let known = self.state.listeners.borrow().contains_key(&listener.name);
            let old = self.current.listeners.iter().find(|old| old.name == listener.name);
            known && old.is_some_and(|old| old.same_chain(listener))
        };
        // As in Envoy they come first: plugins may ask them as soon as they start.
        self.state.add_clusters(&settings.clusters);
        let mut chains = Vec::with_capacity(settings.listeners.len());
        for listener in &settings.listeners {
            match stays(listener) {
                true => chains.push(None),
                false => match Chain::start(&self.hub, listener) {
                    Ok(chain) => chains.push(Some(chain)),
                    Err(error) => {
                        self.forget(&chains);
                        return Err(error);
                    }
                },
            }
        }
        self.prepared = Some(Prepared { settings, chains });
        Ok(())
    }

    /// Takes the chains that were started.
    fn commit(&mut self) {
        let Some(Prepared { settings, chains }) = self.prepared.take() else { return };
        self.state.set_clusters(&settings.clusters);
        for (listener, chain) in settings.listeners.iter().zip(chains) {
            let known = self.state.listeners.borrow().get(&listener.name).cloned();
            match (known, chain) {
                (Some(known), None) => known.renew(listener),
                (Some(known), Some(chain)) => {
                    self.state.stats.forget_plugins(&listener.name);
                    known.change(listener, chain);
                }
                (None, Some(chain)) => {
                    let new = Rc::new(Listener::new(listener, chain));
                    self.state.listeners.borrow_mut().insert(listener.name.clone(), new);
                }
                (None, None) => {}
            }
        }
        let wanted = |name: &String| settings.listeners.iter().any(|listener| listener.name == *name);
        let gone: Vec<_> = self.state.listeners.borrow().keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            let listener = self.state.listeners.borrow_mut().remove(&name);
            if let Some(listener) = listener {
                self.state.stats.forget_plugins(&name);
                listener.chain().retire();
            }
        }
        // What the plugins have asked for while they started.
        self.hub.tell(|_| ());
        self.current = settings;
    }

    /// Forgets what was started and is not wanted.
    fn abandon(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.forget(&prepared.chains);
        }
    }

    /// Takes chains back that nothing has begun in, and the clusters that came with them.
    fn forget(&self, chains: &[Option<Rc<Chain>>]) {
        for chain in chains.iter().flatten() {
            chain.retire();
        }
        self.state.set_clusters(&self.current.clusters);
    }

    fn serve(mut self, runtime: &LocalRuntime, mut orders: UnboundedReceiver<Order>, started: impl FnOnce()) {
        runtime.block_on(async {
            self.commit();
            tokio::task::spawn_local(timer::run(Rc::clone(&self.hub)));
            tokio::task::spawn_local(timer::watch_clients(Rc::clone(&self.state)));
            started();
            let grace = loop {
                match orders.recv().await {
                    Some(Order::Stop(grace)) => break grace,
                    Some(order) => self.obey(order),
                    None => break Duration::ZERO,
                }
            };
            self.drain();
            let state = Rc::clone(&self.state);
            tokio::select! {
                () = everybody_left(&state) => {}
                () = tokio::time::sleep(grace) => {}
                () = self.obey_until_hurried(&mut orders) => {}
            }
            for client in state.clients.borrow().values() {
                client.cut_off();
            }
            everybody_left(&state).await;
            // The streams of HTTP/2 have tasks of their own, which now find out.
            tokio::task::yield_now().await;
            self.hub.end();
            state.listeners.borrow_mut().clear();
            state.close_clusters();
        });
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Serve(id, listener, socket) => {
                if let Err(error) = self.welcome(id, &listener, socket) {
                    // The front counts it as open until it has been here.
                    self.state.stats.connections.up();
                    log::warn!("a connection cannot be served: {error}");
                }
            }
            // Whoever asked may have given up, here and below.
            Order::Prepare(settings, answer) => drop(answer.send(self.prepare(settings))),
            Order::Commit(answer) => {
                self.commit();
                answer.send(()).ok();
            }
            Order::Abandon => self.abandon(),
            Order::Report(answer) => drop(answer.send(Activity::of(&self.hub))),
            Order::Drain | Order::Stop(_) => self.drain(),
        }
    }

    fn drain(&self) {
        self.state.draining.set(true);
        self.state.drain.notify_waiters();
    }

    fn welcome(&self, id: u64, listener: &str, socket: TcpStream) -> io::Result<()> {
        let socket = tokio::net::TcpStream::from_std(socket)?;
        // Small responses go out at once.
        socket.set_nodelay(true)?;
        let listener = self.state.listeners.borrow().get(listener).cloned();
        match listener {
            Some(listener) => connection::start(&self.state, &listener, id, socket),
            // The listener is gone: the connection is dropped, and so closed.
            None => {
                self.state.stats.connections.up();
            }
        }
        Ok(())
    }

    /// Goes on saying what is going on, until a second stop cuts the first one short.
    async fn obey_until_hurried(&mut self, orders: &mut UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop(_) => return,
                // It is dropped, and so closed: there is no new work.
                Order::Serve(..) => {}
                order => self.obey(order),
            }
        }
        std::future::pending().await
    }
}

async fn everybody_left(state: &ThreadState) {
    loop {
        let left = state.left.notified();
        if state.clients.borrow().is_empty() {
            return;
        }
        left.await;
    }
}

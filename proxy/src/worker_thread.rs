//! One worker's thread: its VMs, its connections, and the orders that it takes.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wasmplugin_host::services::Services;
use wasmplugin_host::shared::Inbox;
use wasmplugin_host::worker::{Options, Worker};

use crate::activity::Activity;
use crate::callout;
use crate::connection;
use crate::error::StartError;
use crate::grpc;
use crate::hub::{Hub, Senders};
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::timer;

/// What a worker's thread can be told.
pub(crate) enum Order {
    /// Serve a client.
    Serve(u64, TcpStream),
    /// Say what is going on.
    Report(mpsc::Sender<Activity>),
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
    pub(crate) fn start(index: usize, settings: &Arc<Settings>, services: &Arc<Services>) -> Result<Self, StartError> {
        let (orders, inbox) = unbounded_channel();
        let (started, starts) = mpsc::channel();
        let stats = Arc::new(WorkerStats::new(settings.plugins.len(), settings.clusters.len()));
        let thread = {
            let (settings, services, stats) = (Arc::clone(settings), Arc::clone(services), Arc::clone(&stats));
            thread::Builder::new()
                .name(format!("wasmplugin-{index}"))
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

fn run(
    orders: UnboundedReceiver<Order>,
    started: &mpsc::Sender<Result<(), StartError>>,
    settings: Arc<Settings>,
    services: Arc<Services>,
    stats: Arc<WorkerStats>,
) {
    // Whoever started the thread waits for its word, so it is there to hear it.
    let tell = |word| drop(started.send(word));
    let timer = Arc::new(Notify::new());
    let wake = Arc::clone(&timer);
    let options = Options {
        buffer_limit: settings.buffer_limit,
        limits: settings.limits.clone(),
        inbox: Inbox::waking(Arc::new(move || wake.notify_one())),
        ..Options::default()
    };
    let worker = match Worker::start(&settings.plugins, Arc::clone(&services), options) {
        Ok(worker) => worker,
        Err(error) => return tell(Err(StartError::Plugin(error))),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(error) => return tell(Err(StartError::Thread(error))),
    };
    let hub = Rc::new(Hub::new(
        worker,
        Senders { http: callout::start, grpc: grpc::start },
        settings,
        services,
        stats,
        timer,
    ));
    tell(Ok(()));
    serve(&runtime, &hub, orders);
}

fn serve(runtime: &LocalRuntime, hub: &Rc<Hub>, mut orders: UnboundedReceiver<Order>) {
    runtime.block_on(async {
        // What the plugins have asked for while they started.
        hub.tell(|_| ());
        tokio::task::spawn_local(timer::run(Rc::clone(hub)));
        let grace = loop {
            match orders.recv().await {
                Some(Order::Serve(id, socket)) => {
                    if let Err(error) = welcome(hub, id, socket) {
                        log::warn!("a connection cannot be served: {error}");
                    }
                }
                // Whoever asked may have given up.
                Some(Order::Report(answer)) => drop(answer.send(Activity::of(hub))),
                Some(Order::Stop(grace)) => break grace,
                None => break Duration::ZERO,
            }
        };
        hub.draining.set(true);
        hub.drain.notify_waiters();
        tokio::select! {
            () = everybody_left(hub) => {}
            () = tokio::time::sleep(grace) => {}
            () = answer_reports(hub, &mut orders) => {}
        }
        for client in hub.clients.borrow().values() {
            if let Some(task) = client.task.borrow().as_ref() {
                task.abort();
            }
        }
        everybody_left(hub).await;
        // The streams of HTTP/2 have tasks of their own, which now find out.
        tokio::task::yield_now().await;
        hub.tell(Worker::stop);
        for cluster in &hub.clusters {
            cluster.close();
        }
    });
}

fn welcome(hub: &Rc<Hub>, id: u64, socket: TcpStream) -> io::Result<()> {
    let socket = tokio::net::TcpStream::from_std(socket)?;
    // Small responses go out at once.
    socket.set_nodelay(true)?;
    connection::start(hub, id, socket);
    Ok(())
}

async fn everybody_left(hub: &Hub) {
    loop {
        let left = hub.left.notified();
        if hub.clients.borrow().is_empty() {
            return;
        }
        left.await;
    }
}

/// Goes on saying what is going on, until a second stop cuts the first one short.
async fn answer_reports(hub: &Hub, orders: &mut UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Report(answer) => drop(answer.send(Activity::of(hub))),
            Order::Stop(_) => return,
            // It is dropped, and so closed: there is no new work.
            Order::Serve(..) => {}
        }
    }
    std::future::pending().await
}

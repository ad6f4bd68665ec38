//! Time: the worker's ticks and timeouts, and what the proxy itself does not wait for any longer.

use std::rc::Rc;
use std::time::{Duration, Instant};

use wasmplugin_host::worker::{LocalReply, UpstreamFailure};

use crate::hub::Hub;
use crate::thread_state::ThreadState;

/// Runs what is due in a thread's worker, for as long as it lives.
pub(crate) async fn run(hub: Rc<Hub>) {
    let pause = hub.thread.settings.timeouts.sweep();
    let mut next_sweep = Instant::now() + pause;
    while !hub.over.get() {
        let clock = hub.thread.services.clock();
        let due = match (hub.ask(|worker| worker.next_deadline()), hub.armed.get()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let until_sweep = next_sweep.saturating_duration_since(Instant::now());
        let wait = due.map_or(until_sweep, |due| due.saturating_sub(clock.now()).min(until_sweep));
        hub.armed.set(Some(clock.now() + wait));
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = hub.timer.notified() => {}
            }
        }
        let now = clock.now();
        if hub.ask(|worker| worker.next_deadline()).is_some_and(|due| due <= now) {
            hub.tell(|worker| worker.advance_to(now));
            // A plugin with a tick of nothing must not keep everybody else waiting.
            tokio::task::yield_now().await;
        }
        // Whoever rang has told when; that was looked at above, or will be when the loop begins again.
        hub.armed.set(None);
        if Instant::now() >= next_sweep {
            sweep(&hub);
            next_sweep = Instant::now() + pause;
        }
    }
}

/// Ends connections that have taken too long, for as long as the thread lives.
pub(crate) async fn watch_clients(thread: Rc<ThreadState>) {
    let timeouts = &thread.settings.timeouts;
    loop {
        tokio::time::sleep(timeouts.sweep()).await;
        let now = Instant::now();
        for client in thread.clients.borrow().values() {
            if is_late(now, client.head_since.get(), timeouts.request_headers)
                || is_late(now, client.idle_since(), timeouts.connection_idle)
            {
                if let Some(stats) = client.stats.borrow().as_ref() {
                    stats.connection_timeouts.up();
                }
                client.cut_off();
            }
        }
    }
}

fn is_late(now: Instant, since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|since| now.duration_since(since) > limit)
}

/// Ends exchanges that have taken too long.
fn sweep(hub: &Rc<Hub>) {
    hub.report();
    for listener in hub.thread.listeners.borrow().values() {
        listener.chain().report();
    }
    let timeouts = &hub.thread.settings.timeouts;
    let now = Instant::now();
    if let Some(limit) = timeouts.route {
        let overdue = hub.lanes_where(|lane, _| {
            lane.asked.get().is_some() && !lane.upstream_gone.get() && is_late(now, lane.request_ended.get(), limit)
        });
        for (id, lane) in overdue {
            lane.upstream_gone.set(true);
            if let Some(cluster) = lane.cluster.borrow().as_ref() {
                cluster.stats.timeouts.up();
            }
            hub.tell(|worker| worker.upstream_reset(id, UpstreamFailure::Timeout));
            lane.driver.wake();
        }
    }
    for (id, lane) in hub.lanes_where(|lane, _| is_late(now, Some(lane.active.get()), timeouts.stream_idle)) {
        if lane.cut.get() {
            // It has been cut, but nobody noticed: the client does not read what it was sent before.
            lane.client.cut_off();
            continue;
        }
        lane.stats.idle_timeouts.up();
        if lane.timed_out.replace(true) {
            // The plugins hold the answer back as well.
            lane.cut.set(true);
        } else {
            lane.active.set(now);
            let status = if lane.request_ended.get().is_some() { 504 } else { 408 };
            hub.tell(|worker| worker.reply(id, LocalReply::text(status, "stream timeout", "stream_idle_timeout")));
        }
        lane.driver.wake();
    }
    let idle = |since: Instant| is_late(now, Some(since), timeouts.connection_idle);
    let tcp: Vec<_> = hub.tcp.borrow().iter().map(|(id, lane)| (*id, Rc::clone(lane))).collect();
    for (id, lane) in tcp.into_iter().filter(|(_, lane)| idle(lane.active.get())) {
        if lane.is_closed() {
            // The client does not read what it was sent before the end.
            lane.client.cut_off();
            continue;
        }
        lane.stats.idle_timeouts.up();
        hub.tell(|worker| worker.tcp_upstream_gone(id));
    }
    for lane in hub.tcp.borrow().values() {
        // A callout's answer may have released what a filter held.
        lane.up.look_again();
        lane.down.look_again();
    }
}

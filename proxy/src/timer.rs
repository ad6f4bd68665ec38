//! Time: the worker's ticks and timeouts, and what the proxy itself does not wait for any longer.

use std::rc::Rc;
use std::time::{Duration, Instant};

use wasmplugin_host::worker::{LocalReply, UpstreamFailure};

use crate::hub::Hub;

/// Runs what is due, for as long as the worker lives.
pub(crate) async fn run(hub: Rc<Hub>) {
    let pause = hub.settings.timeouts.sweep();
    let mut next_sweep = Instant::now() + pause;
    loop {
        let clock = hub.services.clock();
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

/// Ends what has taken too long.
fn sweep(hub: &Rc<Hub>) {
    report(hub);
    let timeouts = &hub.settings.timeouts;
    let now = Instant::now();
    let late = |since: Option<Instant>, limit: Duration| since.is_some_and(|since| now.duration_since(since) > limit);
    if let Some(limit) = timeouts.route {
        let overdue = hub.lanes_where(|lane, _| {
            lane.asked.get().is_some() && !lane.upstream_gone.get() && late(lane.request_ended.get(), limit)
        });
        for (id, lane) in overdue {
            lane.upstream_gone.set(true);
            if let Some(stats) = hub.cluster(&hub.settings.route).and_then(|cluster| cluster.stats()) {
                stats.timeouts.up();
            }
            hub.tell(|worker| worker.upstream_reset(id, UpstreamFailure::Timeout));
            lane.driver.wake();
        }
    }
    for (id, lane) in hub.lanes_where(|lane, _| late(Some(lane.active.get()), timeouts.stream_idle)) {
        hub.stats.idle_timeouts.up();
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
    for client in hub.clients.borrow().values() {
        if late(client.head_since.get(), timeouts.request_headers)
            || late(client.idle_since(), timeouts.connection_idle)
        {
            hub.stats.connection_timeouts.up();
            if let Some(task) = client.task.borrow().as_ref() {
                task.abort();
            }
        }
    }
}

/// Tells the admin port how the worker is doing.
fn report(hub: &Hub) {
    hub.ask(|worker| {
        let counters = worker.counters();
        hub.stats.traps.set(counters.traps);
        hub.stats.host_calls.set(counters.host_calls);
        hub.stats.vms.set(worker.running_vms() as u64);
        hub.stats.vms_started.set(worker.started_vms());
        for (index, failed) in hub.stats.failed.iter().enumerate() {
            failed.set(u64::from(worker.has_failed(index)));
        }
    });
}

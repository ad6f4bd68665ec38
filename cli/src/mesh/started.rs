//! One proxy of a mesh that runs: how it starts, takes another plan, and what it did not take.

use anyhow::{Context as _, Result};

use super::modules::Library;
use super::restart::{self, Restart};
use super::subscriptions::{Refused, Subscriptions};
use super::{embedded, plan};
use crate::engine::{Ready, Running};

/// A proxy with its plan.
pub(crate) struct Started {
    pub(crate) plan: plan::Proxy,
    pub(crate) running: Running,
    keeps: Keeps,
}

/// What is remembered of a proxy beside its plan.
enum Keeps {
    /// Of the embedded one, what it was started with.
    Embedded(Restart),
    /// Of a real Envoy, what it has subscribed to.
    Envoy(Box<Subscriptions>),
}

impl Started {
    /// Starts a proxy for a plan.
    pub(crate) fn start(ready: &Ready, plan: plan::Proxy, library: &mut Library) -> Result<Self> {
        let workload = plan.workload.clone();
        let started = match ready {
            Ready::Embedded => Self::embedded(plan, library),
            Ready::Envoy(binary) => {
                Subscriptions::start(binary, &plan, library).map(|(process, subscriptions, notes)| {
                    tell(&plan.workload, &notes);
                    Self { plan, running: Running::Envoy(process), keeps: Keeps::Envoy(Box::new(subscriptions)) }
                })
            }
        };
        let started = started.with_context(|| format!("the proxy of `{workload}` does not start"))?;
        started.tell_refused();
        Ok(started)
    }

    fn embedded(plan: plan::Proxy, library: &mut Library) -> Result<Self> {
        let (settings, notes) = embedded::settings(&plan, library)?;
        tell(&plan.workload, &notes);
        let proxy = wasmplugin_proxy::Proxy::start(settings)?;
        let restart = Restart::new(restart::of_embedded(&plan), plan.workers);
        Ok(Self { plan, running: Running::Embedded(proxy), keeps: Keeps::Embedded(restart) })
    }

    /// Takes another plan while it runs; it stays as it was if this fails.
    pub(crate) fn change(&mut self, plan: plan::Proxy, library: &mut Library) -> Result<()> {
        let notes = match (&mut self.running, &mut self.keeps) {
            (Running::Embedded(proxy), Keeps::Embedded(restart)) => {
                let (settings, notes) = embedded::settings(&plan, library)?;
                proxy.update(settings)?;
                restart.tell(&plan.workload, &restart::of_embedded(&plan), plan.workers);
                notes
            }
            (Running::Envoy(process), Keeps::Envoy(subscriptions)) => subscriptions.update(process, &plan, library)?,
            _ => Vec::new(),
        };
        self.plan = plan;
        tell(&self.plan.workload, &notes);
        self.tell_refused();
        Ok(())
    }

    /// What it did not take of what it was told last.
    pub(crate) fn refused(&self) -> Refused {
        match (&self.running, &self.keeps) {
            (_, Keeps::Envoy(subscriptions)) => subscriptions.refused().clone(),
            (Running::Embedded(proxy), _) => Refused { plugins: proxy.rejections().to_vec(), listeners: Vec::new() },
            (Running::Envoy(_), Keeps::Embedded(_)) => Refused::default(),
        }
    }

    fn tell_refused(&self) {
        for (what, reason) in self.refused().told(&self.plan.workload) {
            log::error!("{what}: {reason}");
        }
    }
}

fn tell(workload: &str, notes: &[String]) {
    for note in notes {
        log::warn!("{workload}: {note}");
    }
}

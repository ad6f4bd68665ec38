//! One proxy of a mesh that runs: how it starts, takes another plan, and what it did not take.

use anyhow::{Context as _, Result};

use super::embedded::Embedded;
use super::modules::Library;
use super::plan;
use super::subscriber::{Refused, Subscriber};
use crate::engine::{Ready, Running};

/// A proxy with its plan.
pub(crate) struct Started {
    pub(crate) plan: plan::Proxy,
    pub(crate) running: Running<Embedded, Subscriber>,
}

impl Started {
    /// Starts a proxy for a plan.
    pub(crate) fn start(ready: &Ready, plan: plan::Proxy, library: &mut Library) -> Result<Self> {
        let started = match ready {
            Ready::Embedded => {
                Embedded::start(&plan, library).map(|(embedded, notes)| (Running::Embedded(embedded), notes))
            }
            Ready::Envoy(binary) => {
                Subscriber::start(binary, &plan, library).map(|(envoy, notes)| (Running::Envoy(envoy), notes))
            }
        };
        let (running, notes) = started.with_context(|| format!("the proxy of `{}` does not start", plan.workload))?;
        let started = Self { plan, running };
        started.tell(&notes);
        Ok(started)
    }

    /// Takes another plan while it runs; it stays as it was if this fails.
    pub(crate) fn change(&mut self, plan: plan::Proxy, library: &mut Library) -> Result<()> {
        let notes = match &mut self.running {
            Running::Embedded(embedded) => embedded.update(&plan, library)?,
            Running::Envoy(envoy) => envoy.update(&plan, library)?,
        };
        self.plan = plan;
        self.tell(&notes);
        Ok(())
    }

    /// What it did not take of what it was told last.
    pub(crate) fn refused(&self) -> Refused {
        match &self.running {
            Running::Embedded(embedded) => Refused { plugins: embedded.rejections().to_vec(), ..Refused::default() },
            Running::Envoy(envoy) => envoy.refused().clone(),
        }
    }

    /// Tells people what went wrong with modules, and what was refused.
    fn tell(&self, notes: &[String]) {
        for note in notes {
            log::warn!("{}: {note}", self.plan.workload);
        }
        for (what, reason) in self.refused().told(&self.plan.workload) {
            log::error!("{what}: {reason}");
        }
    }
}

//! `run` with Istio's resources: a proxy per workload, as Istio would set them up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::trace::Trace;
use super::upstream;
use crate::engine::Engine;
use crate::exit::Exit;
use crate::logger;
use crate::mesh::running::Mesh;
use crate::output;
use crate::stop::Stop;

/// How often the proxies and their logs are looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// How often files are looked at, in glances.
const LOOK: u32 = 3;

/// What is wanted beside the proxies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// Changes of files are taken.
    pub(super) watch: bool,
    /// Exchanges are printed.
    pub(super) trace: bool,
}

/// Runs until Ctrl-C.
pub(super) fn run(paths: &[PathBuf], engine: Engine, wishes: Wishes, envoy_folder: &Path) -> Result<Exit> {
    logger::hold_plugins();
    let mut mesh = Mesh::start(paths, engine, envoy_folder, upstream::mirror)?;
    if wishes.trace {
        mesh.record();
    }
    logger::show_plugins();
    let stop = Stop::listen()?;
    output::print(&format!("{}\n{}stop it with Ctrl-C\n", mesh.title(), mesh.describe()))?;
    attend(&mut mesh, stop, wishes)?;
    mesh.stop();
    Ok(Exit::Success)
}

fn attend(mesh: &mut Mesh, mut stop: Stop, wishes: Wishes) -> Result<()> {
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    for glance in 1_u32.. {
        let stopping = stop.within(GLANCE);
        mesh.relay_log();
        if wishes.trace {
            show(mesh, &mut traces)?;
        }
        if let Some(reason) = mesh.end() {
            bail!("a proxy has ended by itself: {reason}");
        }
        if stopping {
            break;
        }
        if wishes.watch && glance.is_multiple_of(LOOK) && mesh.has_changed() {
            match mesh.reload() {
                Ok(()) => {
                    if wishes.trace {
                        // Workloads that are new among them.
                        mesh.record();
                    }
                    output::print(&format!("reloaded\n{}", mesh.describe()))?;
                }
                Err(error) => eprintln!("error: {error:#}"),
            }
        }
    }
    eprintln!("\nstopping");
    stop.hurry();
    Ok(())
}

/// Prints the exchanges that have ended, with the workload in front.
fn show(mesh: &Mesh, traces: &mut BTreeMap<String, Trace>) -> Result<()> {
    for started in mesh.proxies() {
        if let Some(recorder) = started.running.recorder() {
            let workload = &started.plan.workload;
            traces.entry(workload.clone()).or_default().show(recorder, workload)?;
        }
    }
    Ok(())
}

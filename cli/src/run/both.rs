//! The two sides that `run --compare` puts beside each other, and their end.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::compare::{Carries, Comparison, Pair, Sides, Witnesses};
use super::upstream;
use crate::engine::{Chain, Engine, envoy_folder};
use crate::exit::Exit;
use crate::logger;
use crate::mesh::plan::{Serves, Tls};
use crate::mesh::running::Mesh;
use crate::output;
use crate::stop::Stop;

/// How often the proxies are looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// How often files are looked at, in glances.
const LOOK: u32 = 3;

/// Compares how modules behave, until Ctrl-C.
pub(super) fn modules(chain: &Chain) -> Result<Exit> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let one = Chain { listen: free, ..chain.clone() };
    let other = Chain { admin: free, ..one.clone() };
    let ready = Engine::Envoy.prepare(&envoy_folder())?;
    logger::hold_plugins();
    let embedded = match Engine::Embedded.prepare(&envoy_folder())?.start(&one) {
        Ok(embedded) => embedded,
        Err(error) => return Err(super::blame(chain, error)),
    };
    let envoy = ready.start(&other)?;
    logger::show_plugins();
    let pair = Pair {
        name: "requests".to_owned(),
        listen: chain.listen,
        embedded: embedded.address(),
        envoy: envoy.address(),
        carries: Carries::Requests,
    };
    let witnesses = Witnesses { name: String::new(), embedded: embedded.admin(), envoy: envoy.admin() };
    let sides =
        Sides { pairs: vec![pair], witnesses: vec![witnesses], envoys: envoy.log().cloned().into_iter().collect() };
    let comparison = Comparison::start(sides, &[])?;
    let exit = attend(comparison, &ready.title(), |_| match envoy.end() {
        Some(reason) => bail!("Envoy has ended by itself: {reason}"),
        None => Ok(()),
    })?;
    embedded.stop();
    envoy.stop();
    Ok(exit)
}

/// Compares how resources behave, until Ctrl-C; with `watch`, also how changes of them are taken.
pub(super) fn resources(paths: &[PathBuf], watch: bool) -> Result<Exit> {
    logger::hold_plugins();
    let embedded = Mesh::start(paths, Engine::Embedded, &envoy_folder(), upstream::mirror)?;
    let envoy = embedded.beside(Engine::Envoy, &envoy_folder())?;
    logger::show_plugins();
    let mut meshes = Meshes { embedded, envoy };
    let comparison = Comparison::start(meshes.sides(), &meshes.differences())?;
    let title = meshes.envoy.title();
    let mut glance = 0_u32;
    let exit = attend(comparison, &title, |comparison| {
        if let Some(reason) = meshes.envoy.end() {
            bail!("Envoy has ended by itself: {reason}");
        }
        glance = glance.wrapping_add(1);
        if watch && glance.is_multiple_of(LOOK) && meshes.embedded.has_changed() {
            comparison.change(|| meshes.reload())?;
            output::print(&format!("reloaded\n{}", comparison.describe()))?;
        }
        Ok(())
    })?;
    meshes.embedded.stop();
    meshes.envoy.stop();
    Ok(exit)
}

/// The same resources in two kinds of proxies.
struct Meshes {
    embedded: Mesh,
    envoy: Mesh,
}

impl Meshes {
    /// Where requests come in, and where it is told what has come of them.
    fn sides(&self) -> Sides {
        let (mut pairs, mut witnesses) = (Vec::new(), Vec::new());
        for one in self.embedded.proxies() {
            let workload = &one.plan.workload;
            let Some(other) = self.envoy.proxies().iter().find(|other| other.plan.workload == *workload) else {
                continue;
            };
            let (embedded, envoy) = (one.running.admin(), other.running.admin());
            witnesses.push(Witnesses { name: workload.clone(), embedded, envoy });
            for mine in &one.plan.listeners {
                let Some(theirs) = other.plan.listeners.iter().find(|theirs| theirs.name == mine.name) else {
                    continue;
                };
                // What speaks mutual TLS is reached through its clients' proxies.
                if mine.tls != Tls::Mutual {
                    pairs.push(Pair {
                        name: format!("{workload}, {}", mine.name),
                        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                        embedded: mine.address,
                        envoy: theirs.address,
                        carries: match mine.serves {
                            Serves::Http(_) => Carries::Requests,
                            Serves::Tcp(_) => Carries::Bytes,
                        },
                    });
                }
            }
        }
        let envoys = self.envoy.proxies().iter().filter_map(|started| started.running.log().cloned()).collect();
        Sides { pairs, witnesses, envoys }
    }

    /// Takes the files as they are now, and tells what differed in that.
    fn reload(&mut self) -> (Sides, Vec<String>) {
        let told = |error: anyhow::Error| format!("{error:#}");
        let mut found = Vec::new();
        match (self.embedded.reload().map_err(told), self.envoy.reload().map_err(told)) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(_)) => eprintln!("error: {error}"),
            (Err(error), Ok(())) => found.push(format!("embedded does not take it: {error}; envoy does")),
            (Ok(()), Err(error)) => found.push(format!("envoy does not take it: {error}; embedded does")),
        }
        found.extend(self.differences());
        (self.sides(), found)
    }

    /// What only one of them has refused, or has refused with another effect.
    fn differences(&self) -> Vec<String> {
        let [one, other] = [&self.embedded, &self.envoy].map(refused);
        let only = |name: &str, one: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
            one.difference(other).map(|what| format!("in {name} alone: {what}")).collect()
        };
        [only("embedded", &one, &other), only("envoy", &other, &one)].concat()
    }
}

/// What a mesh has not taken, and what comes of that.
fn refused(mesh: &Mesh) -> BTreeSet<String> {
    let told = mesh.proxies().iter().flat_map(|started| started.refused().told(&started.plan.workload));
    told.map(|(what, _)| what).collect()
}

/// Waits for the wish to stop, and tells the result; `look` is called in between.
fn attend(
    mut comparison: Comparison,
    envoy: &str,
    mut look: impl FnMut(&mut Comparison) -> Result<()>,
) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    output::print(&format!(
        "each request and each connection goes through the embedded proxy and {envoy}, and is answered by the first\n{}stop it with Ctrl-C\n",
        comparison.describe()
    ))?;
    while !stop.within(GLANCE) {
        look(&mut comparison)?;
    }
    eprintln!("\nstopping");
    stop.hurry();
    let (text, same) = comparison.end();
    output::print(&text)?;
    Ok(if same { Exit::Success } else { Exit::Failure })
}

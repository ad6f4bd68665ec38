//! The two sides that `run --compare` puts beside each other, and their end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::compare::{Carries, Comparison, Pair, Witnesses};
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
    let comparison = Comparison::start(vec![pair], vec![witnesses], envoy.log().cloned().into_iter().collect())?;
    let exit = attend(comparison, &ready.title(), || envoy.end())?;
    embedded.stop();
    envoy.stop();
    Ok(exit)
}

/// Compares how resources behave, until Ctrl-C.
pub(super) fn resources(paths: &[PathBuf]) -> Result<Exit> {
    logger::hold_plugins();
    let embedded = Mesh::start(paths, Engine::Embedded, &envoy_folder(), upstream::mirror)?;
    let envoy = embedded.beside(Engine::Envoy, &envoy_folder())?;
    logger::show_plugins();
    let (mut pairs, mut witnesses) = (Vec::new(), Vec::new());
    for (one, other) in embedded.proxies().iter().zip(envoy.proxies()) {
        let workload = &one.plan.workload;
        witnesses.push(Witnesses { name: workload.clone(), embedded: one.plan.admin, envoy: other.plan.admin });
        for (mine, theirs) in one.plan.listeners.iter().zip(&other.plan.listeners) {
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
    let logs = envoy.proxies().iter().filter_map(|started| started.running.log().cloned()).collect();
    let comparison = Comparison::start(pairs, witnesses, logs)?;
    let exit = attend(comparison, &envoy.title(), || envoy.end())?;
    embedded.stop();
    envoy.stop();
    Ok(exit)
}

/// Waits for the wish to stop, and tells the result.
fn attend(comparison: Comparison, envoy: &str, look: impl Fn() -> Option<String>) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    output::print(&format!(
        "each request and each connection goes through the embedded proxy and {envoy}, and is answered by the first\n{}stop it with Ctrl-C\n",
        comparison.describe()
    ))?;
    while !stop.within(GLANCE) {
        if let Some(reason) = look() {
            bail!("Envoy has ended by itself: {reason}");
        }
    }
    eprintln!("\nstopping");
    stop.hurry();
    let (text, same) = comparison.end();
    output::print(&text)?;
    Ok(if same { Exit::Success } else { Exit::Failure })
}

//! The verb `demo`: the examples at work, with every answer checked.
//!
//! [`services`] are the servers around the proxies, [`chains`] the proxies, [`story`] the requests with what must come
//! of them, [`evidence`] what came of one.

mod chains;
mod evidence;
mod services;
mod story;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::client;
use crate::engine::{Engine, Ready, Running};
use crate::exit::Exit;
use crate::modules;
use crate::output;
use crate::stop::Stop;
use crate::table::Table;
use crate::workspace::Workspace;
use chains::{EXAMPLES, Which};
use evidence::{Evidence, brief};
use services::{Mood, Services, TOKEN};
use story::{Scene, scenes};

/// How long an answer may take; the slowest takes a second on purpose.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a proxy that is kept is looked after.
const GLANCE: Duration = Duration::from_millis(500);
/// The host that the client asks for, the same on all ports.
const HOST: &str = "demo.example";

/// See the examples at work: real requests through real plugins, every answer checked.
///
/// Builds the examples to Wasm, starts an upstream and the services that the plugins ask, puts proxies with chains of
/// the plugins before them, sends requests and prints what each plugin did. Succeeds only if every answer was right.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin demo
  cargo wasmplugin demo --engine envoy
  cargo wasmplugin demo --keep                then try it yourself, with curl")]
pub(crate) struct Arguments {
    /// Which proxy runs the plugins.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Leave everything running after the requests, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Plays the demo.
pub(crate) fn demo(arguments: &Arguments) -> Result<Exit> {
    let workspace = Workspace::here()?;
    for example in EXAMPLES {
        let missing = || {
            format!(
                "the demo belongs to the wasmplugin repository, but `{}` has no `examples/{example}`",
                workspace.root.display()
            )
        };
        workspace.sources.get(example).with_context(missing)?;
    }
    eprintln!("building {} examples to Wasm", EXAMPLES.len());
    modules::finish(&workspace, &EXAMPLES.map(str::to_owned))?;
    let ready = arguments.engine.prepare(&workspace.target)?;

    eprintln!("starting {} on three ports of this machine", ready.title());
    let mut services = Services::start()?;
    let proxies = start(&ready, &workspace, &services)?;

    let mut wrong = 0;
    let scenes = scenes();
    for (which, proxy) in Which::ALL.iter().zip(&proxies) {
        let played: Vec<_> = scenes.iter().filter(|scene| scene.which == *which).collect();
        let (text, failures) = act(*which, &played, proxy, &mut services);
        output::print(&text)?;
        wrong += failures;
    }
    let total = scenes.len();
    output::print(&match wrong {
        0 => format!("\nall {total} answers are right\n"),
        _ => format!("\n{wrong} of {total} answers are wrong; what plugins say is shown with `WASMPLUGIN_LOG=info`\n"),
    })?;

    if arguments.keep {
        keep(&proxies, &mut services)?;
    }
    for proxy in proxies {
        proxy.stop();
    }
    Ok(if wrong == 0 { Exit::Success } else { Exit::Failure })
}

/// Starts the proxies of all chains, at the same time.
fn start(ready: &Ready, workspace: &Workspace, services: &Services) -> Result<Vec<Running>> {
    let modules = workspace.modules();
    let chains = Which::ALL.map(|which| which.chain(&modules, services));
    thread::scope(|scope| {
        let threads: Vec<_> = chains.into_iter().map(|chain| scope.spawn(|| ready.start(&chain?))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Running>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a proxy panicked while it started")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Sends the requests of one chain; says what happened, and how many answers were wrong.
fn act(which: Which, scenes: &[&Scene], proxy: &Running, services: &mut Services) -> (String, usize) {
    let plugins = which.plugins();
    let head = std::iter::once("request").chain(plugins.iter().copied()).chain(["status", ""]);
    let mut table = Table::new(head);
    let mut wrong = 0;
    for scene in scenes {
        services.forget(scene.mood);
        let answer = scene.send(proxy).map_err(|error| format!("{error:#}"));
        let evidence = Evidence { answer, seen: services.seen() };
        let differences = evidence.differences(scene);
        let right = differences.is_empty();
        wrong += usize::from(!right);

        let request = format!("{} {}, {}", scene.method, scene.path, scene.remark);
        let deeds = plugins.iter().map(|plugin| evidence.deed(plugin));
        let verdict = if right { "✓" } else { "✗" };
        let body = evidence
            .answer
            .iter()
            .filter(|answer| !answer.body.is_empty())
            .map(|answer| format!("→ {}", brief(&answer.text())));
        let notes = body.chain(differences.iter().map(|difference| format!("✗ {difference}"))).collect();
        table.row(std::iter::once(request).chain(deeds).chain([evidence.status(), verdict.to_owned()]), notes);
    }
    services.forget(Mood::default());
    proxy.relay_log();
    (format!("\n{}: {}\n\n{}", which.title(), plugins.join(" → "), table.render("  ")), wrong)
}

impl Scene {
    /// Sends the request over a socket.
    fn send(&self, proxy: &Running) -> Result<client::Response> {
        let mut headers = vec![("host", HOST)];
        headers.extend(self.token.map(|token| ("authorization", token)));
        headers.extend(self.claim.map(|claim| ("x-user", claim)));
        let body = self.body_sent();
        let request = client::Request { method: self.method, path: self.path, headers: &headers, body: &body };
        client::send(proxy.address(), &request, PATIENCE)
    }

    /// The body of the request: bytes that tell when some are lost or out of order.
    fn body_sent(&self) -> Vec<u8> {
        (0..self.bytes).map(|place| b'a' + u8::try_from(place % 23).unwrap_or_default()).collect()
    }
}

/// Says what can be tried, and waits for Ctrl-C.
fn keep(proxies: &[Running], services: &mut Services) -> Result<()> {
    let mut stop = Stop::listen()?;
    output::print(&invitation(proxies))?;
    loop {
        if stop.within(GLANCE) {
            eprintln!("\nstopping");
            stop.hurry();
            return Ok(());
        }
        for proxy in proxies {
            proxy.relay_log();
            if let Some(reason) = proxy.end() {
                anyhow::bail!("a proxy has ended by itself: {reason}");
            }
        }
        // What visitors send is not needed, and would only pile up.
        services.forget(Mood::default());
    }
}

/// What to type.
fn invitation(proxies: &[Running]) -> String {
    let mut text = String::from("\nstill running; stop it with Ctrl-C\n");
    for (which, proxy) in Which::ALL.iter().zip(proxies) {
        let (address, admin) = (proxy.address(), proxy.admin());
        text.push_str(&format!("\n{}: {}\n", which.title(), which.plugins().join(" → ")));
        let path = which.path();
        text.push_str(&format!("  curl -i http://{address}{path}\n"));
        text.push_str(&format!("  curl -i -H 'authorization: {TOKEN}' http://{address}{path}\n"));
        text.push_str(&format!("  curl http://{admin}/stats/prometheus\n"));
    }
    text
}

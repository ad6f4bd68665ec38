//! The verb `demo`: the mesh of `examples/mesh` at work, with every answer checked.
//!
//! [`story`] are the requests with what must come of them, [`evidence`] is what came of one, [`counters`] what the modules
//! say of it themselves, and [`telemetry`] whether both sides have counted all of it under the right names.

mod counters;
mod evidence;
mod story;
mod telemetry;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wasmplugin_host::test::{Answer, Request};

use crate::client;
use crate::engine::Engine;
use crate::exit::Exit;
use crate::mesh::plan::Side;
use crate::mesh::running::{Application, Mesh};
use crate::output;
use crate::stop::Stop;
use crate::table::Table;
use crate::workspace::Workspace;
use counters::Counters;
use evidence::{Evidence, brief};
use story::{ALICE, Entrance, Scene, scenes};
use telemetry::Reporter;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often proxies that are kept are looked after.
const GLANCE: Duration = Duration::from_millis(500);
/// How often counters are asked for that are not there yet: an exchange is counted when it is over, after its answer.
const SOON: Duration = Duration::from_millis(20);
/// The host that the client asks for.
const HOST: &str = "orders.shop";
/// The workload that asks.
const CLIENT: &str = "browser.shop";
/// The workload that is asked.
const SERVER: &str = "orders.shop";

/// See Istio's resources at work: real requests through real sidecars, every answer checked.
///
/// Builds the modules that `examples/mesh` needs, starts two workloads with a sidecar each from the files that one would
/// `kubectl apply`, sends requests and prints what each module decided. Succeeds only if every answer was right.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin demo
  cargo wasmplugin demo --engine envoy
  cargo wasmplugin demo --keep                then try it yourself, with curl")]
pub(crate) struct Arguments {
    /// Which proxy runs the modules.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Leave everything running after the requests, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Plays the demo.
pub(crate) fn demo(arguments: &Arguments) -> Result<Exit> {
    let workspace = Workspace::here()?;
    let folder = workspace.root.join("examples/mesh");
    if !folder.is_dir() {
        bail!(
            "the demo belongs to the wasmplugin repository, but `{}` has no `examples/mesh`",
            workspace.root.display()
        );
    }
    eprintln!("starting two workloads with a sidecar each");
    let mesh = Mesh::start(&[folder], arguments.engine, &workspace.target, application)?;
    let stage = Stage::of(&mesh)?;
    output::print(&chains(&mesh))?;
    let scenes = scenes();
    let (text, wrong) = stage.play(&scenes)?;
    output::print(&text)?;
    let (text, miscounted) = stage.counts(&scenes)?;
    output::print(&text)?;
    output::print(&verdict(scenes.len(), wrong, miscounted))?;
    if arguments.keep {
        // Whoever reads the invitation may stop it at once.
        let stop = Stop::listen()?;
        output::print(&stage.invitation())?;
        keep(&mesh, stop)?;
    }
    mesh.stop();
    Ok(if wrong + miscounted == 0 { Exit::Success } else { Exit::Failure })
}

/// How it went.
fn verdict(total: usize, wrong: usize, miscounted: usize) -> String {
    let answers = match wrong {
        0 => format!("\nall {total} answers are right"),
        _ => format!("\n{wrong} of {total} answers are wrong"),
    };
    let counts = match miscounted {
        0 => ", and each side knows the other",
        _ => ", and the counters are not what they must be",
    };
    let help = match wrong + miscounted {
        0 => "",
        _ => "; what plugins say is shown with `WASMPLUGIN_LOG=info`",
    };
    format!("{answers}{counts}{help}\n")
}

/// What the application answers.
fn application(request: &Request) -> Answer {
    Answer::new(200).header("content-type", "text/plain").body(format!("{} {}\n", request.method(), request.path()))
}

/// Which modules stand where.
fn chains(mesh: &Mesh) -> String {
    let mut text = String::new();
    for started in mesh.proxies() {
        for listener in started.plan.listeners.iter().filter(|listener| !listener.plugins.is_empty()) {
            let names: Vec<_> = listener.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            text.push_str(&format!("{}, port {}: {}\n", started.plan.workload, listener.port, names.join(" → ")));
        }
    }
    text
}

/// Where the demo is played.
struct Stage<'a> {
    /// Where the client's application asks.
    sidecar: SocketAddr,
    /// Where the server's sidecar listens for others.
    street: SocketAddr,
    /// Where the server's sidecar tells what its modules have counted.
    witness: SocketAddr,
    application: &'a Application,
    /// The admin ports of both, the client's first.
    admins: [(&'static str, Reporter, SocketAddr); 2],
}

impl<'a> Stage<'a> {
    fn of(mesh: &'a Mesh) -> Result<Self> {
        let proxy = |name: &str| {
            let found = mesh.proxies().iter().find(|started| started.plan.workload == name);
            found.map(|started| &started.plan).with_context(|| format!("`examples/mesh` has no workload `{name}`"))
        };
        let (client, server) = (proxy(CLIENT)?, proxy(SERVER)?);
        let missing = || "`examples/mesh` has no service `orders` with port 80 for port 8080";
        Ok(Self {
            sidecar: client.address(Side::Outbound, 80).with_context(missing)?,
            street: server.address(Side::Inbound, 8080).with_context(missing)?,
            witness: server.admin,
            application: mesh.application(SERVER, 8080).with_context(missing)?,
            admins: [(CLIENT, Reporter::Source, client.admin), (SERVER, Reporter::Destination, server.admin)],
        })
    }

    /// Sends the requests; says what happened, and how many answers were wrong.
    fn play(&self, scenes: &[Scene]) -> Result<(String, usize)> {
        let mut table = Table::new(["request", "jwt", "rbac", "hello", "status", ""]);
        let mut wrong = 0;
        let mut before = Counters::ask(self.witness, PATIENCE)?;
        for scene in scenes {
            let known = self.application.cluster.requests().len();
            let answer = self.send(scene).map_err(|error| format!("{error:#}"));
            let seen = self.application.cluster.requests().into_iter().skip(known).collect();
            let now = Counters::ask(self.witness, PATIENCE)?;
            let evidence = Evidence { answer, seen, counted: now.since(&before) };
            before = now;
            let differences = evidence.differences(scene);
            wrong += usize::from(!differences.is_empty());
            let body = evidence.answer.iter().filter(|answer| !answer.body.is_empty());
            let body = body.map(|answer| format!("→ {}", brief(&answer.text())));
            let notes = body.chain(differences.iter().map(|difference| format!("✗ {difference}"))).collect();
            let row = [
                format!("{} {}, {}", scene.method, scene.path, scene.remark),
                evidence.jwt(scene),
                evidence.rbac(),
                evidence.hello().to_owned(),
                evidence.status(),
                if differences.is_empty() { "✓" } else { "✗" }.to_owned(),
            ];
            table.row(row, notes);
        }
        Ok((format!("\n{}", table.render("  ")), wrong))
    }

    fn send(&self, scene: &Scene) -> Result<client::Response> {
        let authorization = scene.token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("host", HOST)];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        headers.extend(scene.claim.map(|claim| ("x-user", claim)));
        let request =
            client::Request { method: scene.method, path: scene.path, headers: &headers, ..client::Request::default() };
        let to = match scene.entrance {
            Entrance::Sidecar => self.sidecar,
            Entrance::Street => self.street,
        };
        client::send(to, &request, PATIENCE)
    }

    /// What both sides have counted, and how much of it is not as it must be.
    fn counts(&self, scenes: &[Scene]) -> Result<(String, usize)> {
        let expected = telemetry::expected(scenes);
        let (mut text, mut wrong) = (String::new(), 0);
        for (workload, reporter, admin) in self.admins {
            let counters = settled(admin, expected.values().sum())?;
            let differences = telemetry::differences(reporter, &counters, &expected);
            wrong += differences.len();
            text.push_str(&format!("\n{workload} has counted\n{}", counters.render("  ")));
            text.extend(differences.iter().map(|difference| format!("  ✗ {difference}\n")));
        }
        Ok((text, wrong))
    }

    /// What to type.
    fn invitation(&self) -> String {
        let sidecar = self.sidecar;
        let mut text = format!(
            "\nstill running; stop it with Ctrl-C\n\n  curl -i -H 'host: {HOST}' http://{sidecar}/\n  \
             curl -i -H 'host: {HOST}' -H 'authorization: Bearer {ALICE}' http://{sidecar}/orders\n"
        );
        for (_, _, admin) in self.admins {
            text.push_str(&format!("  curl http://{admin}/stats/prometheus\n"));
        }
        text
    }
}

/// Counters, as soon as they hold so many requests; in the end without.
fn settled(admin: SocketAddr, requests: u64) -> Result<Counters> {
    let end = Instant::now() + PATIENCE;
    loop {
        let counters = Counters::ask(admin, PATIENCE)?;
        if telemetry::total(&counters) >= requests || Instant::now() >= end {
            return Ok(counters);
        }
        std::thread::sleep(SOON);
    }
}

/// Waits for Ctrl-C.
fn keep(mesh: &Mesh, mut stop: Stop) -> Result<()> {
    loop {
        let stopping = stop.within(GLANCE);
        mesh.relay_log();
        if let Some(reason) = mesh.end() {
            bail!("a proxy has ended by itself: {reason}");
        }
        if stopping {
            eprintln!("\nstopping");
            stop.hurry();
            return Ok(());
        }
    }
}

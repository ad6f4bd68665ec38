//! A TCP plugin that does what its configuration asks for; the scenarios' instrument.

use std::rc::Rc;
use std::time::Duration;

use wasmplugin::tcp::{Connection, ConnectionHead, Downstream, TcpFlow, Upstream};
use wasmplugin::{Cluster, Done, Error, Result, Tcp, attributes, future, time};

/// How long the probe waits, where it waits.
const WAIT: Duration = Duration::from_millis(50);
/// How long the probe waits where it is patient: a client that talks does so by then, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(serde::Deserialize)]
struct Probe {
    mode: Mode,
}

#[derive(serde::Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    HookCloses,
    HookFails,
    Pass,
    Close,
    Fail,
    Drop,
    Panic,
    Ask,
    Upper,
    SlowUpper,
    Bytewise,
    Peek,
    Collect,
    PeekDeadline,
    PeekPatient,
    SlowUpstream,
    LateUpstream,
    VeryLateUpstream,
    Banner,
    Refuse,
    Attributes,
}

impl Tcp for Probe {
    fn on_connection(&self, connection: &ConnectionHead) -> Result<TcpFlow> {
        match self.mode {
            Mode::HookCloses => Ok(TcpFlow::Close),
            Mode::HookFails => Err(Error::app("the hook fails")),
            _ if connection.source()?.port() == 0 => Ok(TcpFlow::Close),
            _ => Ok(TcpFlow::Continue),
        }
    }

    async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done> {
        match self.mode {
            Mode::HookCloses | Mode::HookFails | Mode::Pass => connection.pass(),
            Mode::Close => connection.close(),
            Mode::Fail => Err(Error::app("the handler fails")),
            Mode::Drop => {
                let (client, upstream) = connection.into_halves()?;
                drop(upstream);
                client.pass()
            }
            Mode::Panic => panics(connection).await,
            Mode::Ask => match Cluster::named("auth")?.get("/").send().await?.status() {
                200 => connection.pass(),
                _ => connection.close(),
            },
            Mode::Upper => {
                let (client, upstream) = connection.into_halves()?;
                both(future::join(upper(client), brackets(upstream)).await)
            }
            Mode::SlowUpper => slow_upper(connection.into_downstream()?).await,
            Mode::Bytewise => bytewise(connection.into_downstream()?).await,
            Mode::Peek => peek(connection.into_downstream()?).await,
            Mode::PeekDeadline => peek_within(WAIT, connection.into_downstream()?).await,
            Mode::PeekPatient => peek_within(PATIENCE, connection.into_downstream()?).await,
            Mode::Collect => {
                let mut client = connection.into_downstream()?;
                let mut all = client.read_to_end(8).await?;
                all.reverse();
                client.write(all);
                client.pass()
            }
            Mode::SlowUpstream => slow_upstream(connection.into_upstream()?).await,
            Mode::LateUpstream => passes_after(WAIT, connection).await,
            Mode::VeryLateUpstream => passes_after(WAIT * 20, connection).await,
            Mode::Banner => {
                let mut upstream = connection.into_upstream()?;
                upstream.write("banner ");
                upstream.pass()
            }
            Mode::Attributes => {
                log::info!("from {:?}", connection.attribute(attributes::SOURCE_PORT)?);
                if let Err(error) = connection.attribute(attributes::RESPONSE_CODE) {
                    log::info!("{error}");
                }
                let mut client = connection.into_downstream()?;
                client.peek(1).await?;
                log::info!("to {:?}", client.head().attribute(attributes::DESTINATION_PORT)?.is_some());
                client.pass()
            }
            Mode::Refuse => {
                let mut upstream = connection.into_upstream()?;
                match upstream.read(1024).await? {
                    Some(bytes) if bytes.starts_with(b"ok") => {
                        upstream.write(bytes);
                        upstream.pass()
                    }
                    _ => upstream.close(),
                }
            }
        }
    }

    fn on_log(&self, connection: &ConnectionHead) {
        log::info!("over: {:?}", connection.source().map(|source| source.to_string()).ok());
    }
}

wasmplugin::plugin!(Probe: Tcp, config = Probe);

fn both((one, other): (Result<Done>, Result<Done>)) -> Result<Done> {
    one.and(other)
}

async fn panics(connection: Connection) -> Result<Done> {
    let mut client = connection.into_downstream()?;
    while let Some(bytes) = client.read(1024).await? {
        assert!(bytes != b"panic", "the probe panics");
        client.write(bytes);
    }
    client.pass()
}

async fn passes_after(wait: Duration, connection: Connection) -> Result<Done> {
    let (client, upstream) = connection.into_halves()?;
    time::sleep(wait).await;
    both((client.pass(), upstream.pass()))
}

async fn upper(mut client: Downstream) -> Result<Done> {
    while let Some(bytes) = client.read(1024).await? {
        client.write(bytes.to_ascii_uppercase());
    }
    client.write("!");
    client.pass()
}

async fn brackets(mut upstream: Upstream) -> Result<Done> {
    while let Some(bytes) = upstream.read(1024).await? {
        upstream.write([b"<", bytes.as_slice(), b">"].concat());
    }
    upstream.write(".");
    upstream.pass()
}

async fn slow_upper(mut client: Downstream) -> Result<Done> {
    while let Some(bytes) = client.read(1024).await? {
        time::sleep(WAIT).await;
        client.write(bytes.to_ascii_uppercase());
    }
    time::sleep(WAIT).await;
    client.pass()
}

async fn bytewise(mut client: Downstream) -> Result<Done> {
    while let Some(byte) = client.read(1).await? {
        client.write(byte);
        client.write(",");
    }
    client.pass()
}

async fn peek(mut client: Downstream) -> Result<Done> {
    match client.peek(4).await?.as_slice() {
        b"PASS" => client.pass(),
        b"CUT " => {
            client.read(4).await?;
            client.pass()
        }
        _ => client.close(),
    }
}

/// Gives up a client that does not begin.
async fn peek_within(time: Duration, mut client: Downstream) -> Result<Done> {
    match time::timeout(time, client.peek(4)).await {
        Some(start) => start.and_then(|_| client.pass()),
        None => client.close(),
    }
}

/// Only the first bytes take their time.
async fn slow_upstream(mut upstream: Upstream) -> Result<Done> {
    let first = upstream.read(1024).await?;
    time::sleep(WAIT).await;
    upstream.write(first.unwrap_or_default().to_ascii_uppercase());
    while let Some(bytes) = upstream.read(1024).await? {
        upstream.write(bytes);
    }
    upstream.pass()
}

//! The exchange over TCP, in a preface before the first bytes.

use std::collections::BTreeSet;
use std::rc::Rc;

use istio_core::peer::exchange::{Audience, Cluster, Direction};
use istio_core::peer::preface::{HEAD_BYTES, Head, MAGIC, Preface};
use istio_core::wire::{self, PEER_UNKNOWN};
use serde::Deserialize;
use wasmplugin::config::ConfigError;
use wasmplugin::filter_state::FilterState;
use wasmplugin::future::{race, try_join};
use wasmplugin::tcp::{Connection, Downstream, Upstream};
use wasmplugin::{Done, Result, Tcp, attributes};

use crate::http::DISABLE_MX;
use crate::node;
use crate::place::{self, DOWNSTREAM, Place, UPSTREAM};

/// How a proxy takes part.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
pub(crate) struct Config {
    /// Accepted as in Envoy's native filter, without effect: a plugin does not see which protocol TLS has agreed on, and
    /// looks at the first bytes instead.
    protocol: String,
    /// Accepted as in the native filter, without effect: a plugin cannot ask the control plane.
    #[serde(alias = "enableDiscovery")]
    enable_discovery: bool,
    /// Labels that are told and kept beyond those of the canonical service, `app` and `version`.
    #[serde(alias = "additionalLabels")]
    additional_labels: BTreeSet<String>,
    /// Whether outbound connections begin with this proxy's preface. Only where every upstream of the listener takes part:
    /// one that does not would take the preface for the client's bytes.
    #[serde(alias = "tellUpstream")]
    tell_upstream: bool,
}

/// Where it is left how much of a connection is not the client's, for who counts.
const PREFACE_BYTES: FilterState = FilterState::of(wire::PREFACE_BYTES);

/// Tells the peers of TCP connections who this proxy is, and learns who they are.
#[derive(Debug)]
pub(crate) struct TcpExchange {
    additional_labels: BTreeSet<String>,
    tell_upstream: bool,
    /// Head and all.
    preface: Vec<u8>,
}

impl TryFrom<Config> for TcpExchange {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        if config.enable_discovery {
            log::warn!("`enable_discovery` is passed over: a plugin cannot ask the control plane who a peer is");
        }
        place::declare().map_err(|error| ConfigError::at("", error.to_string()))?;
        let (id, peer) = node::read(&config.additional_labels);
        let preface = Preface { id, peer }.encode();
        Ok(Self { additional_labels: config.additional_labels, tell_upstream: config.tell_upstream, preface })
    }
}

impl Tcp for TcpExchange {
    async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done> {
        let number = connection.attribute(attributes::LISTENER_DIRECTION)?;
        match Direction::from_number(number.unwrap_or_default()) {
            Direction::Outbound => self.outbound(connection).await,
            Direction::Inbound | Direction::Unspecified => self.inbound(connection).await,
        }
    }
}

impl TcpExchange {
    /// The client may say who it is; if it does, it is told in its turn.
    async fn inbound(&self, connection: Connection) -> Result<Done> {
        let (mut client, mut upstream) = connection.into_halves()?;
        let first = race(head(&mut client), async {
            upstream.peek(1).await?;
            Ok(Head::Plain)
        });
        // Whatever the client is, the upstream's bytes must not wait: the host lets them go only as they come. One that
        // speaks first goes unannounced, since nobody knows yet whether the client would understand a preface.
        let is_told = matches!(first.await?, Head::Preface(_));
        if is_told {
            upstream.write(&self.preface);
        }
        let passed = upstream.pass()?;
        let taken_out = self.meet(&mut client, &DOWNSTREAM).await?;
        if is_told {
            let bytes = wire::write_two([taken_out as u64, self.preface.len() as u64]);
            client.leave(&PREFACE_BYTES, bytes.as_bytes())?;
        }
        client.pass().and(Ok(passed))
    }

    /// The upstream may say who it is; it is told first where the configuration says that it wants to know.
    async fn outbound(&self, connection: Connection) -> Result<Done> {
        let (mut client, mut upstream) = connection.into_halves()?;
        let tell = async {
            // Before the client's first bytes, and not without them: nothing else lets a plugin send.
            if self.tell_upstream && !client.peek(1).await?.is_empty() && tells(&client)? {
                client.write(&self.preface);
            }
            client.pass()
        };
        let listen = async {
            self.meet(&mut upstream, &UPSTREAM).await?;
            upstream.pass()
        };
        try_join(tell, listen).await.map(|(done, _)| done)
    }

    /// Takes a peer's preface out, and leaves who it is, or that nobody will come to know. Says how many bytes that were.
    async fn meet(&self, half: &mut impl Half, place: &Place) -> Result<usize> {
        let bytes = match head(half).await? {
            Head::Preface(length) => take(half, HEAD_BYTES + length).await?,
            Head::Oversized => {
                log::warn!("a peer announced more metadata than anybody has; its bytes pass as they are");
                Vec::new()
            }
            Head::Short | Head::Plain => Vec::new(),
        };
        match bytes.get(HEAD_BYTES..).and_then(|body| Preface::read(body, &self.additional_labels)) {
            None => half.leave(&place.id, PEER_UNKNOWN.as_bytes())?,
            Some(Preface { id, peer }) => {
                if !id.is_empty() {
                    half.leave(&place.id, id.as_bytes())?;
                }
                half.leave(&place.peer, &peer.to_state())?;
            }
        }
        Ok(bytes.len())
    }
}

/// So many bytes, or none and nothing taken where the peer finishes in the middle of them.
async fn take(half: &mut impl Half, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if half.peek(length).await?.len() >= length {
        while bytes.len() < length
            && let Some(more) = half.read(length - bytes.len()).await?
        {
            bytes.extend_from_slice(&more);
        }
    }
    Ok(bytes)
}

/// Whether the cluster that the connection goes to is to know who connects.
fn tells(client: &Downstream) -> Result<bool> {
    let cluster =
        Cluster { disable_mx: client.head().attribute(DISABLE_MX)?.unwrap_or_default(), ..Cluster::default() };
    Ok(Audience::Everybody.includes(&cluster))
}

/// What a direction begins with. Byte by byte while it may be a preface, so that no short message waits for more.
async fn head(half: &mut impl Half) -> Result<Head> {
    for count in [1, 2, 3, MAGIC.len(), HEAD_BYTES] {
        let bytes = half.peek(count).await?;
        let head = Head::read(&bytes);
        if head != Head::Short || bytes.len() < count {
            return Ok(head);
        }
    }
    Ok(Head::Short)
}

/// What both directions can do.
trait Half {
    async fn peek(&mut self, count: usize) -> Result<Vec<u8>>;
    async fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>>;
    fn leave(&self, place: &FilterState, value: &[u8]) -> Result<()>;
}

macro_rules! half {
    ($($name:ident)*) => {$(
        impl Half for $name {
            async fn peek(&mut self, count: usize) -> Result<Vec<u8>> {
                $name::peek(self, count).await
            }

            async fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
                $name::read(self, limit).await
            }

            fn leave(&self, place: &FilterState, value: &[u8]) -> Result<()> {
                self.head().set_filter_state(place, value)
            }
        }
    )*};
}

half!(Downstream Upstream);

//! The exchange over HTTP, in headers.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;
use istio_core::peer::Peers;
use istio_core::peer::exchange::{Audience, Cluster, Config, Direction, Rules, Told};
use istio_core::peer::header::{ID, MAX_ID_BYTES, MAX_METADATA_BYTES, METADATA};
use wasmplugin::attributes::{self, Attribute, Phases};
use wasmplugin::config::ConfigError;
use wasmplugin::headers::Headers;
use wasmplugin::sys::{self, MapKind, Status};
use wasmplugin::{Flow, Http, LogEntry, RequestHead, ResponseHead, Result};

use crate::node;
use crate::place::{self, DOWNSTREAM, UPSTREAM};

/// Whether a cluster is to be told nothing.
pub(crate) const DISABLE_MX: Attribute<bool> =
    Attribute::named("xds\0cluster_metadata\0filter_metadata\0istio\0disable_mx", Phases::EXCHANGE);
const EXTERNAL: Attribute<bool> =
    Attribute::named("xds\0cluster_metadata\0filter_metadata\0istio\0external", Phases::EXCHANGE);

/// Tells the peers of HTTP exchanges who this proxy is, and learns who they are.
///
/// It never refuses: an exchange in which something fails passes, with a line in the log.
#[derive(Debug)]
pub(crate) struct HttpExchange {
    config: Config,
    /// The same on every listener, if the configuration says so.
    rules: Option<Rules>,
    id: String,
    metadata: String,
    peers: RefCell<Peers>,
    /// What is to be done with the responses to come, by exchange.
    expected: RefCell<HashMap<u32, Expected>>,
}

impl TryFrom<Config> for HttpExchange {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        for warning in config.warnings() {
            log::warn!("{warning}");
        }
        place::declare().map_err(|error| ConfigError::at("", error.to_string()))?;
        let (id, peer) = node::read(&config.additional_labels);
        Ok(Self {
            rules: Rules::listed(&config),
            id,
            metadata: peer.to_header(),
            peers: RefCell::new(Peers::new(config.peers(), config.additional_labels.clone())),
            expected: RefCell::default(),
            config,
        })
    }
}

/// What the sender of a request has said, and so is told in its turn.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    id: bool,
    metadata: bool,
}

/// What is to be done with the response to a request.
#[derive(Debug, Clone, Copy)]
struct Expected {
    rules: Rules,
    asked: Asked,
}

impl Http for HttpExchange {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let rules = self.rules(request);
        let asked = or_log(self.meet_request(rules, request)).unwrap_or_default();
        let answers = rules.tell_downstream && (asked.id || asked.metadata);
        if answers || rules.read_response {
            self.expected.borrow_mut().insert(request.id(), Expected { rules, asked });
        }
        Ok(Flow::Continue)
    }

    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        let expected = self.expected.borrow_mut().remove(&response.id());
        if let Some(Expected { rules, asked }) = expected {
            or_log(self.meet_response(rules, asked, response));
        }
        Ok(Flow::Continue)
    }

    fn on_log(&self, entry: &LogEntry) {
        // There may have been no response.
        self.expected.borrow_mut().remove(&entry.id());
    }
}

impl HttpExchange {
    /// What is done with the headers of a request, and those of its response. Listeners of either direction may share the
    /// plugin, so each request is asked for its own.
    fn rules(&self, request: &RequestHead) -> Rules {
        self.rules.unwrap_or_else(|| {
            let number = or_log(request.attribute(attributes::LISTENER_DIRECTION)).flatten();
            Rules::of(Direction::from_number(number.unwrap_or_default()), &self.config)
        })
    }

    /// Learns who sent the request, and tells the upstream who sends it on.
    fn meet_request(&self, rules: Rules, request: &mut RequestHead) -> Result<Asked> {
        let from_peer = rules.tell_upstream == Audience::Nobody;
        let told = told(MapKind::RequestHeaders, from_peer, || request.headers())?;
        let asked = Asked { id: told.id.asks(), metadata: told.metadata.asks() };
        let (has_id, has_metadata) = (told.id.is_present(), told.metadata.is_present());
        if rules.read_request {
            if let Some(id) = told.id.value(MAX_ID_BYTES) {
                request.set_filter_state(&DOWNSTREAM.id, id)?;
            }
            if let Some(state) = self.state(&told) {
                request.set_filter_state(&DOWNSTREAM.peer, &state)?;
            }
        }
        if rules.tell_upstream != Audience::Nobody && is_told(rules.tell_upstream, request)? {
            request.set_header(METADATA, &self.metadata)?;
            if !self.id.is_empty() {
                request.set_header(ID, &self.id)?;
            } else if rules.read_request && has_id {
                request.remove_header(ID)?;
            }
        } else if rules.read_request {
            for (name, present) in [(ID, has_id), (METADATA, has_metadata)] {
                if present {
                    request.remove_header(name)?;
                }
            }
        }
        Ok(asked)
    }

    /// Learns who answered, and tells the client who passes the answer on.
    fn meet_response(&self, rules: Rules, asked: Asked, response: &mut ResponseHead) -> Result<()> {
        if rules.read_response {
            let from_peer = rules.tell_upstream != Audience::Nobody;
            let told = told(MapKind::ResponseHeaders, from_peer, || response.headers())?;
            let present = [(ID, told.id.is_present()), (METADATA, told.metadata.is_present())];
            if let Some(id) = told.id.value(MAX_ID_BYTES) {
                response.set_filter_state(&UPSTREAM.id, id)?;
            }
            if let Some(state) = self.state(&told) {
                response.set_filter_state(&UPSTREAM.peer, &state)?;
            }
            for (name, present) in present {
                if present {
                    response.remove_header(name)?;
                }
            }
        }
        if rules.tell_downstream {
            if asked.metadata {
                response.set_header(METADATA, &self.metadata)?;
            }
            if asked.id && !self.id.is_empty() {
                response.set_header(ID, &self.id)?;
            }
        }
        Ok(())
    }

    /// What is left in filter state of a peer that has told who it is.
    fn state(&self, told: &Told<'_>) -> Option<Rc<[u8]>> {
        let value = told.metadata.value(MAX_METADATA_BYTES)?;
        self.peers.borrow_mut().state(value)
    }
}

/// Whether the cluster that the request goes to is to know who asks. What cannot be read is not told.
fn is_told(audience: Audience, request: &RequestHead) -> Result<bool> {
    let mut cluster = Cluster { disable_mx: request.attribute(DISABLE_MX)?.unwrap_or_default(), ..Cluster::default() };
    if audience == Audience::Everybody {
        return Ok(audience.includes(&cluster));
    }
    cluster.external = request.attribute(EXTERNAL)?.unwrap_or_default();
    let name = request.attribute(attributes::CLUSTER_NAME)?.unwrap_or_default();
    cluster.name = &name;
    Ok(audience.includes(&cluster))
}

/// What a message's headers say. Reading all of them costs as much as all else, so those of somebody who hardly is a peer
/// are read only if they have one of the two.
fn told<'a>(kind: MapKind, from_peer: bool, headers: impl FnOnce() -> Result<&'a Headers>) -> Result<Told<'a>> {
    let mut value = Vec::new();
    let mut is_absent = |name: &&str| {
        let read = sys::header_map_value_into(kind, name, &mut value);
        read.is_err_and(|error| error.status == Status::NOT_FOUND)
    };
    if !from_peer && [METADATA, ID].iter().all(&mut is_absent) {
        return Ok(Told::default());
    }
    Ok(Told::find(headers()?.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))))
}

/// Telemetry is no reason to fail a request: it passes, and the log says what was wrong.
fn or_log<T>(outcome: Result<T>) -> Option<T> {
    outcome.inspect_err(|error| log::warn!("metadata was not exchanged: {error}")).ok()
}

//! The facts about a stream, read from the proxy into memory that is kept.

use std::rc::Rc;

use istio_core::peer::Peer;
use istio_core::stats::Config;
use istio_core::stats::config::Reporter;
use istio_core::stats::facts::{Facts, Local, Principals, Protocol, Role};
use istio_core::stats::host::{HostList, OTHER};
use istio_core::wire;
use wasmplugin::observer::{Part, Stream};
use wasmplugin::sys::MapKind;

use crate::live::{LONGEST_HOST, Live};
use crate::services::{self, Services};
use crate::sheet::{Filled, Item, Sheet, Subject};

/// What the control plane says of an endpoint's workload.
pub(crate) const ENDPOINT: &str = "xds\0upstream_host_metadata\0filter_metadata\0istio\0workload";

/// Where Envoy's `grpc_stats` leaves the number of messages, as `3,13`.
pub(crate) const GRPC_STATS: &str = "filter_state\0envoy.filters.http.grpc_stats";

/// How often bodies are looked into before Envoy is asked whether it counts: as often as the answer would cost in a call
/// with a message each way.
const LOOKS: u8 = 2;

/// Reads facts, for one stream at a time.
#[derive(Debug)]
pub(crate) struct Reader {
    local: Local,
    hosts: Option<HostList>,
    is_waypoint: bool,
    client_security_policy: bool,
    sheets: Sheets,
    /// Whether the last stream came in through an inbound listener; the next one mostly does so too.
    inbound: bool,
    filled: Filled,
    services: Services,
    /// The service of the stream's cluster, as a map.
    service: Rc<[u8]>,
    downstream_peer: Vec<u8>,
    upstream_peer: Vec<u8>,
    endpoint: Vec<u8>,
    scratch: Vec<u8>,
}

/// One for each direction and protocol.
#[derive(Debug)]
struct Sheets {
    inbound: SheetsOfDirection,
    outbound: SheetsOfDirection,
}

#[derive(Debug)]
struct SheetsOfDirection {
    http: Sheet,
    grpc: Sheet,
    tcp: Sheet,
}

impl Sheets {
    fn new(has_host: bool) -> Self {
        let sheets = |is_inbound| {
            let sheet = |protocol| Sheet::new(Subject { protocol, is_inbound, has_host });
            SheetsOfDirection { http: sheet(Protocol::Http), grpc: sheet(Protocol::Grpc), tcp: sheet(Protocol::Tcp) }
        };
        Self { inbound: sheets(true), outbound: sheets(false) }
    }

    fn of(&self, is_inbound: bool, protocol: Protocol) -> &Sheet {
        let sheets = if is_inbound { &self.inbound } else { &self.outbound };
        match protocol {
            Protocol::Http => &sheets.http,
            Protocol::Grpc => &sheets.grpc,
            Protocol::Tcp => &sheets.tcp,
        }
    }
}

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Whether it is settled who the peer is, or that nobody will say.
    pub(crate) knows_peer: bool,
}

impl Reader {
    pub(crate) fn new(config: &Config, local: Local, hosts: Option<HostList>) -> Self {
        Self {
            local,
            hosts,
            is_waypoint: config.reporter == Reporter::ServerGateway,
            client_security_policy: config.client_security_policy,
            sheets: Sheets::new(!config.disable_host_header_fallback),
            inbound: false,
            filled: Filled::default(),
            services: Services::new(!config.tcp_reporting_duration.is_zero()),
            service: Rc::from([]),
            downstream_peer: Vec::new(),
            upstream_peer: Vec::new(),
            endpoint: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// What a stream speaks whose beginning was not seen; at its end.
    pub(crate) fn protocol_at_end(&mut self, stream: Stream) -> Protocol {
        if stream.header_into(MapKind::RequestHeaders, ":method", &mut self.scratch) {
            self.protocol(stream)
        } else {
            Protocol::Tcp
        }
    }

    /// What a request speaks; while its headers pass, and at its end.
    pub(crate) fn protocol(&mut self, stream: Stream) -> Protocol {
        stream.header_into(MapKind::RequestHeaders, "content-type", &mut self.scratch);
        Protocol::of_content_type(&self.scratch)
    }

    /// The host that a request asks for; while its headers pass.
    pub(crate) fn read_host(&mut self, stream: Stream, host: &mut Vec<u8>) {
        stream.header_into(MapKind::RequestHeaders, ":authority", &mut self.scratch);
        host.clear();
        host.extend_from_slice(self.scratch.get(..LONGEST_HOST).unwrap_or(&self.scratch));
    }

    /// Reads everything but the amounts; nothing where the stream is gone.
    pub(crate) fn read(&mut self, stream: Stream, live: &Live, ended: bool) -> Option<Reading> {
        self.read_sheet(stream, live.protocol)?;
        self.service = self.services.of(self.filled.bytes(Item::Cluster), stream, &mut self.scratch);
        let role = self.role();
        self.downstream_peer.clear();
        self.upstream_peer.clear();
        self.endpoint.clear();
        if role != Role::Source {
            stream.property_into(wire::DOWNSTREAM_PEER, &mut self.downstream_peer);
        }
        if role != Role::Destination {
            stream.property_into(wire::UPSTREAM_PEER, &mut self.upstream_peer);
        }
        if role == Role::Source && self.upstream_peer.is_empty() {
            if live.protocol == Protocol::Grpc {
                self.endpoint.extend_from_slice(self.filled.bytes(Item::Endpoint));
            } else {
                stream.property_into(ENDPOINT, &mut self.endpoint);
            }
        }
        let (peer, id) = match role {
            Role::Source => (&self.upstream_peer, wire::UPSTREAM_PEER_ID),
            Role::Destination | Role::Waypoint => (&self.downstream_peer, wire::DOWNSTREAM_PEER_ID),
        };
        let is_told = !peer.is_empty() || !self.endpoint.is_empty();
        // Only a report that could wait has to know.
        let knows_peer = is_told || ended || {
            stream.property_into(id, &mut self.scratch) && self.scratch == wire::PEER_UNKNOWN.as_bytes()
        };
        Some(Reading { knows_peer })
    }

    /// Time has passed, in which clusters may have got other metadata.
    pub(crate) fn forget_services(&mut self) {
        self.services.forget();
    }

    fn read_sheet(&mut self, stream: Stream, protocol: Protocol) -> Option<()> {
        for _ in 0..2 {
            let sheet = self.sheets.of(self.inbound || self.is_waypoint, protocol);
            if !sheet.read(stream, &mut self.filled) {
                return None;
            }
            let is_inbound = self.filled.number(Item::Direction) == 1;
            if is_inbound == self.inbound || self.is_waypoint {
                return Some(());
            }
            self.inbound = is_inbound;
        }
        Some(())
    }

    pub(crate) fn filled(&self) -> &Filled {
        &self.filled
    }

    fn role(&self) -> Role {
        match (self.is_waypoint, self.inbound) {
            (true, _) => Role::Waypoint,
            (false, true) => Role::Destination,
            (false, false) => Role::Source,
        }
    }

    /// Counts the messages in what passes, unless somebody else does.
    pub(crate) fn count_messages(&mut self, stream: Stream, live: &mut Live, part: Part, size: usize) {
        if live.is_counted_elsewhere {
            return;
        }
        let scratch = &mut self.scratch;
        let (looks, is_counted_elsewhere) = (&mut live.looks, &mut live.is_counted_elsewhere);
        let frames = match part {
            Part::Request => &mut live.request,
            Part::Response => &mut live.response,
        };
        frames.pass(size, |at, max, show| {
            *looks = looks.saturating_add(1);
            if *looks == LOOKS + 1 && stream.property_into(GRPC_STATS, scratch) {
                *is_counted_elsewhere = true;
                return false;
            }
            let shown = stream.body_into(part, at, max, scratch);
            show(scratch);
            shown
        });
    }

    /// The messages of a gRPC stream so far, from the client and to it.
    pub(crate) fn messages(&self, live: &Live) -> [u64; 2] {
        self.counted_elsewhere().unwrap_or_else(|| [live.request.messages(), live.response.messages()])
    }

    /// The bytes of a connection so far, from the client and to it, without what proxies have told each other.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        let [taken_out, added] = self.counted_elsewhere().unwrap_or_default();
        let size = |item| u64::try_from(self.filled.number(item)).unwrap_or_default();
        [size(Item::RequestSize).saturating_sub(taken_out), size(Item::ResponseSize).saturating_sub(added)]
    }

    fn counted_elsewhere(&self) -> Option<[u64; 2]> {
        wire::read_two(self.filled.bytes(Item::Counted))
    }

    /// Appends what streams of the same labels have in common.
    pub(crate) fn write_key(&self, live: &Live, key: &mut Vec<u8>) {
        let [lengths, values] = self.filled.label_bytes();
        key.extend_from_slice(&[self.role() as u8, live.protocol as u8]);
        let parts =
            [lengths, values, &self.service, &self.downstream_peer, &self.upstream_peer, &self.endpoint, &live.host];
        for part in parts {
            write_part(key, part);
        }
    }

    /// The facts that labels are made of.
    pub(crate) fn facts<'a>(&'a self, live: &'a Live) -> Facts<'a> {
        let filled = self.filled();
        let role = self.role();
        let principals =
            Principals { local: filled.text(Item::LocalPrincipal), peer: filled.text(Item::PeerPrincipal) };
        let (downstream, upstream) = match role {
            Role::Source => (Principals::default(), principals),
            Role::Destination | Role::Waypoint => (principals, Principals::default()),
        };
        let endpoint = || Peer::from_endpoint(std::str::from_utf8(&self.endpoint).ok()?);
        Facts {
            role,
            protocol: live.protocol,
            local: &self.local,
            downstream_peer: Peer::from_state(&self.downstream_peer).filter(|_| !self.downstream_peer.is_empty()),
            upstream_peer: if self.upstream_peer.is_empty() {
                endpoint()
            } else {
                Peer::from_state(&self.upstream_peer)
            },
            downstream,
            upstream,
            route: filled.text(Item::Route),
            cluster: filled.text(Item::Cluster),
            service: services::read(&self.service),
            host: self.host(live),
            code: filled.number(Item::Code).cast_unsigned(),
            flags: filled.number(Item::Flags).cast_unsigned(),
            grpc_status: u64::try_from(filled.number(Item::GrpcStatus)).ok(),
            client_security_policy: self.client_security_policy,
        }
    }

    fn host<'a>(&'a self, live: &'a Live) -> &'a str {
        let host = match live.host.as_slice() {
            b"" => self.filled.text(Item::Host),
            host => std::str::from_utf8(host).unwrap_or_default(),
        };
        match &self.hosts {
            Some(hosts) if !host.is_empty() && !hosts.contains(host) => OTHER,
            _ => host,
        }
    }
}

/// Appends a part of a key so that no other parts make the same key.
pub(crate) fn write_part(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    key.extend_from_slice(part);
}

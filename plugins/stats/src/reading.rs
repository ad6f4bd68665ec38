//! The facts about a stream, read from the proxy into memory that is kept.

use istio_core::peer::Peer;
use istio_core::stats::Config;
use istio_core::stats::config::Reporter;
use istio_core::stats::facts::{Facts, Local, Principals, Protocol, Role, Service};
use istio_core::stats::host::{HostList, OTHER};
use istio_core::wire;
use wasmplugin::observer::{Part, Stream};
use wasmplugin::sys::MapKind;

use crate::live::{LONGEST_HOST, Live};
use crate::sheet::{Filled, Item, Sheet, Subject, pairs};

/// The service that a cluster is about.
const SERVICE: &str = "xds\0cluster_metadata\0filter_metadata\0istio\0services\x000";

/// What the control plane says of an endpoint's workload.
const ENDPOINT: &str = "xds\0upstream_host_metadata\0filter_metadata\0istio\0workload";

/// Where Envoy's `grpc_stats` leaves the number of messages, as `3,13`.
const GRPC_STATS: &str = "filter_state\0envoy.filters.http.grpc_stats";

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
    sheet: Vec<u8>,
    service: Vec<u8>,
    downstream_peer: Vec<u8>,
    upstream_peer: Vec<u8>,
    endpoint: Vec<u8>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Sheets {
    inbound: Sheet,
    outbound: Sheet,
    inbound_tcp: Sheet,
    outbound_tcp: Sheet,
}

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Whether it is settled who the peer is, or that nobody will say.
    pub(crate) knows_peer: bool,
}

impl Reader {
    pub(crate) fn new(config: &Config, local: Local, hosts: Option<HostList>) -> Self {
        let has_host = !config.disable_host_header_fallback;
        let sheet = |is_inbound, is_tcp| Sheet::new(Subject { is_tcp, is_inbound, has_host });
        Self {
            local,
            hosts,
            is_waypoint: config.reporter == Reporter::ServerGateway,
            client_security_policy: config.client_security_policy,
            sheets: Sheets {
                inbound: sheet(true, false),
                outbound: sheet(false, false),
                inbound_tcp: sheet(true, true),
                outbound_tcp: sheet(false, true),
            },
            inbound: false,
            sheet: Vec::new(),
            service: Vec::new(),
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
        stream.property_into(SERVICE, &mut self.service);
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
            stream.property_into(ENDPOINT, &mut self.endpoint);
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

    fn read_sheet(&mut self, stream: Stream, protocol: Protocol) -> Option<()> {
        for _ in 0..2 {
            let inbound = self.inbound || self.is_waypoint;
            let sheet = match (protocol == Protocol::Tcp, inbound) {
                (false, true) => &self.sheets.inbound,
                (false, false) => &self.sheets.outbound,
                (true, true) => &self.sheets.inbound_tcp,
                (true, false) => &self.sheets.outbound_tcp,
            };
            if !sheet.read(stream, &mut self.sheet) {
                return None;
            }
            let is_inbound = self.filled().number(Item::Direction) == 1;
            if is_inbound == self.inbound || self.is_waypoint {
                return Some(());
            }
            self.inbound = is_inbound;
        }
        Some(())
    }

    pub(crate) fn filled(&self) -> Filled<'_> {
        Filled(&self.sheet)
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
        let scratch = &mut self.scratch;
        let counts = *live.counts_messages.get_or_insert_with(|| !stream.property_into(GRPC_STATS, scratch));
        if counts {
            let frames = match part {
                Part::Request => &mut live.request,
                Part::Response => &mut live.response,
            };
            frames.pass(size, |at, max, show| {
                let shown = stream.body_into(part, at, max, scratch);
                show(scratch);
                shown
            });
        }
    }

    /// The messages of a gRPC stream so far, from the client and to it.
    pub(crate) fn messages(&mut self, stream: Stream, live: &Live) -> [u64; 2] {
        let counted_here = [live.request.messages(), live.response.messages()];
        self.two(stream, GRPC_STATS).unwrap_or(counted_here)
    }

    /// The bytes of a connection so far, from the client and to it, without what proxies have told each other.
    pub(crate) fn bytes(&mut self, stream: Stream) -> [u64; 2] {
        // Outbound the sizes are those of the application's connection, which has none.
        let is_between_proxies = self.role() != Role::Source;
        let prefaces = is_between_proxies.then(|| self.two(stream, wire::PREFACE_BYTES)).flatten();
        let [taken_out, added] = prefaces.unwrap_or_default();
        let size = |item| u64::try_from(self.filled().number(item)).unwrap_or_default();
        [size(Item::RequestSize).saturating_sub(taken_out), size(Item::ResponseSize).saturating_sub(added)]
    }

    fn two(&mut self, stream: Stream, path: &str) -> Option<[u64; 2]> {
        let is_there = stream.property_into(path, &mut self.scratch);
        is_there.then(|| wire::read_two(&self.scratch)).flatten()
    }

    /// Appends what streams of the same labels have in common.
    pub(crate) fn write_key(&self, live: &Live, key: &mut Vec<u8>) {
        let [lengths, values] = self.filled().label_bytes();
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
            service: service(&self.service),
            host: self.host(live),
            code: filled.number(Item::Code).cast_unsigned(),
            flags: filled.number(Item::Flags).cast_unsigned(),
            grpc_status: u64::try_from(filled.number(Item::GrpcStatus)).ok(),
            client_security_policy: self.client_security_policy,
        }
    }

    fn host<'a>(&'a self, live: &'a Live) -> &'a str {
        let host = match live.host.as_slice() {
            b"" => self.filled().text(Item::Host),
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

/// A service of a cluster's metadata.
fn service(map: &[u8]) -> Service<'_> {
    let mut service = Service::default();
    for (name, value) in pairs(map) {
        let value = std::str::from_utf8(value).unwrap_or_default();
        match name {
            b"host" => service.host = value,
            b"name" => service.name = value,
            b"namespace" => service.namespace = value,
            _ => {}
        }
    }
    service
}

//! From facts to the values of Istio's labels, as its native filter makes them.

use std::borrow::Cow;

use super::facts::{Facts, Local, Principals, Protocol, Role, UNKNOWN, namespace};
use super::flags;
use super::host::OTHER;
use super::plan::{Metrics, Source};
use super::service::{Destination, destination};
use super::tag::Tag;
use crate::peer::Peer;

/// The revision of a workload that names none.
const LATEST: &str = "latest";

/// The labels of one stream.
#[derive(Debug)]
pub struct Labels<'a> {
    facts: &'a Facts<'a>,
    destination: Destination<'a>,
}

impl<'a> Labels<'a> {
    /// Looks at the facts.
    #[must_use]
    pub fn new(facts: &'a Facts<'a>) -> Self {
        Self { facts, destination: destination(facts) }
    }

    /// The value of a label.
    #[must_use]
    pub fn value(&self, tag: Tag) -> Cow<'a, str> {
        let facts = self.facts;
        let text = match tag {
            Tag::Reporter => facts.role.reporter(),
            Tag::SourceWorkload => self.source().workload(),
            Tag::SourceWorkloadNamespace => self.source().namespace(),
            Tag::SourcePrincipal => self.source_principal(),
            Tag::SourceApp => self.source().app(),
            Tag::SourceVersion => self.source().version(),
            Tag::SourceCanonicalService => self.source().canonical_service(),
            Tag::SourceCanonicalRevision => self.source().canonical_revision(LATEST),
            Tag::SourceCluster => self.source().cluster(),
            Tag::DestinationWorkload => self.target().workload(),
            Tag::DestinationWorkloadNamespace => self.target().namespace(),
            Tag::DestinationPrincipal => self.destination_principal(),
            Tag::DestinationApp => self.target().app(),
            Tag::DestinationVersion => self.target().version(),
            Tag::DestinationService => self.destination.host,
            Tag::DestinationServiceName => self.destination.name,
            Tag::DestinationServiceNamespace => self.service_namespace(),
            Tag::DestinationCanonicalService => self.target().canonical_service(),
            Tag::DestinationCanonicalRevision => {
                self.target().canonical_revision(if facts.role == Role::Waypoint { UNKNOWN } else { LATEST })
            }
            Tag::DestinationCluster => self.target().cluster(),
            Tag::RequestProtocol => facts.protocol.name(),
            Tag::ResponseFlags => return flags::text(facts.flags).into(),
            Tag::ConnectionSecurityPolicy => self.security_policy(),
            Tag::ResponseCode => return facts.code.to_string().into(),
            Tag::GrpcResponseStatus => match (facts.protocol, facts.grpc_status) {
                (Protocol::Grpc, Some(status)) => return status.to_string().into(),
                _ => "",
            },
        };
        text.into()
    }

    fn source(&self) -> Side<'a> {
        match self.facts.role {
            Role::Source => Side::Local(self.facts.local),
            Role::Destination | Role::Waypoint => {
                Side::Remote { peer: self.facts.downstream_peer.as_ref(), principal: self.facts.downstream.peer }
            }
        }
    }

    fn target(&self) -> Side<'a> {
        match self.facts.role {
            Role::Destination => Side::Local(self.facts.local),
            Role::Source => {
                Side::Remote { peer: self.facts.upstream_peer.as_ref(), principal: self.facts.upstream.peer }
            }
            // A waypoint's upstream may be a tunnel, whose certificate is not the workload's.
            Role::Waypoint => Side::Remote { peer: self.facts.upstream_peer.as_ref(), principal: "" },
        }
    }

    fn source_principal(&self) -> &'a str {
        known(match self.facts.role {
            Role::Source => self.facts.upstream.local,
            Role::Destination | Role::Waypoint => self.facts.downstream.peer,
        })
    }

    fn destination_principal(&self) -> &'a str {
        let claimed = self.facts.upstream_peer.as_ref().map_or("", |peer| &peer.identity);
        known(match self.facts.role {
            Role::Destination => self.facts.downstream.local,
            Role::Source if !self.facts.upstream.peer.is_empty() => self.facts.upstream.peer,
            Role::Source | Role::Waypoint => claimed,
        })
    }

    fn service_namespace(&self) -> &'a str {
        match self.facts.role {
            Role::Destination => &self.facts.local.namespace,
            Role::Source | Role::Waypoint if !self.facts.service.namespace.is_empty() => self.facts.service.namespace,
            Role::Source => self.target().namespace(),
            Role::Waypoint => UNKNOWN,
        }
    }

    fn security_policy(&self) -> &'static str {
        let told = |principals: Principals<'_>| if principals.mutual() { "mutual_tls" } else { "none" };
        match self.facts.role {
            Role::Destination | Role::Waypoint => told(self.facts.downstream),
            Role::Source if self.facts.client_security_policy => told(self.facts.upstream),
            Role::Source => UNKNOWN,
        }
    }
}

/// One end of a stream.
enum Side<'a> {
    /// The workload behind this proxy: what it does not say is empty.
    Local(&'a Local),
    /// The other one: what it does not say is unknown.
    Remote { peer: Option<&'a Peer>, principal: &'a str },
}

macro_rules! side {
    ($($name:ident = $of_peer:ident;)*) => {
        $(
            fn $name(&self) -> &'a str {
                match self {
                    Self::Local(local) => &local.$name,
                    Self::Remote { peer, .. } => known(peer.map_or("", |peer| &peer.$of_peer)),
                }
            }
        )*
    };
}

impl<'a> Side<'a> {
    side! {
        workload = workload;
        app = app;
        version = version;
        canonical_service = canonical_service;
        cluster = cluster;
    }

    /// The certificate counts more than what the peer says of itself.
    fn namespace(&self) -> &'a str {
        match self {
            Self::Local(local) => &local.namespace,
            Self::Remote { peer, principal } => {
                namespace(principal).unwrap_or_else(|| known(peer.map_or("", |peer| &peer.namespace)))
            }
        }
    }

    fn canonical_revision(&self, absent: &'static str) -> &'a str {
        match self {
            Self::Local(local) => &local.canonical_revision,
            Self::Remote { peer, .. } => match peer.map_or("", |peer| &peer.canonical_revision) {
                "" => absent,
                revision => revision,
            },
        }
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

/// Whether the values of a label are chosen by others, so that there is no end of them.
fn is_open(tag: Tag, reporter: &str) -> bool {
    match tag {
        Tag::Reporter
        | Tag::RequestProtocol
        | Tag::ResponseFlags
        | Tag::ConnectionSecurityPolicy
        | Tag::ResponseCode
        | Tag::GrpcResponseStatus => false,
        Tag::DestinationService | Tag::DestinationServiceName | Tag::DestinationServiceNamespace => true,
        Tag::SourceWorkload
        | Tag::SourceWorkloadNamespace
        | Tag::SourcePrincipal
        | Tag::SourceApp
        | Tag::SourceVersion
        | Tag::SourceCanonicalService
        | Tag::SourceCanonicalRevision
        | Tag::SourceCluster => reporter != Role::Source.reporter(),
        _ => reporter != Role::Destination.reporter(),
    }
}

/// The values of all labels that the metrics of a kind of stream have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Set {
    reporter: &'static str,
    /// Those of Istio's labels, then those of expressions, as [`Metrics`] lists them.
    values: Box<[Box<str>]>,
}

impl Set {
    /// The values for one stream; `expressions` are those of [`Metrics::expressions`], in that order.
    #[must_use]
    pub fn new(metrics: &Metrics, labels: &Labels<'_>, expressions: impl IntoIterator<Item = Box<str>>) -> Self {
        let tags = metrics.tags.iter().map(|tag| Box::<str>::from(&*labels.value(*tag)));
        Self { reporter: labels.facts.role.reporter(), values: tags.chain(expressions).collect() }
    }

    /// The value of a label of one of the metrics.
    #[must_use]
    pub fn value<'s>(&'s self, metrics: &Metrics, source: &'s Source) -> &'s str {
        let place = match source {
            Source::Constant(text) => return text,
            Source::Tag(tag) => metrics.tags.binary_search(tag).ok(),
            Source::Expression(number) => {
                metrics.expressions.binary_search(number).ok().map(|place| metrics.tags.len() + place)
            }
        };
        place.and_then(|place| self.values.get(place)).map_or(UNKNOWN, |value| value)
    }

    /// The same with `other` for all that peers and clients choose.
    #[must_use]
    pub(super) fn coarse(&self, metrics: &Metrics) -> Self {
        self.map(|place| metrics.tags.get(place).is_none_or(|tag| is_open(*tag, self.reporter)))
    }

    /// The same with `other` for all but the reporter.
    #[must_use]
    pub(super) fn coarsest(&self, metrics: &Metrics) -> Self {
        self.map(|place| metrics.tags.get(place) != Some(&Tag::Reporter))
    }

    fn map(&self, is_other: impl Fn(usize) -> bool) -> Self {
        let values = self.values.iter().enumerate();
        let values = values.map(|(place, value)| if is_other(place) { OTHER.into() } else { value.clone() });
        Self { reporter: self.reporter, values: values.collect() }
    }
}

//! The rules of the exchange over HTTP: in which direction headers are read, taken out and added.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::cache::DEFAULT_PEERS;
use super::header;

/// How a proxy takes part: the options of Envoy's native `peer_metadata` filter, in either case, and two of our own.
///
/// Without any of the four lists the listener's direction decides, see [`Rules::of`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How the sender of requests is found out.
    #[serde(alias = "downstreamDiscovery")]
    pub downstream_discovery: Option<Vec<Method>>,
    /// How the receiver of requests is found out.
    #[serde(alias = "upstreamDiscovery")]
    pub upstream_discovery: Option<Vec<Method>>,
    /// How the sender of requests is told who answers.
    #[serde(alias = "downstreamPropagation")]
    pub downstream_propagation: Option<Vec<Method>>,
    /// How the receiver of requests is told who asks.
    #[serde(alias = "upstreamPropagation")]
    pub upstream_propagation: Option<Vec<Method>>,
    /// No effect: what a plugin leaves cannot be shared with upstream filters.
    #[serde(alias = "sharedWithUpstream")]
    pub shared_with_upstream: bool,
    /// Labels that are told and kept beyond those of the canonical service, `app` and `version`.
    #[serde(alias = "additionalLabels")]
    pub additional_labels: BTreeSet<String>,
    /// How many peers each worker remembers; 0 and less remember none. Unless said, 500.
    #[serde(alias = "maxPeerCacheSize")]
    pub max_peer_cache_size: Option<i64>,
    /// Whether clusters outside of the mesh are told nothing, where none of the four lists says so; unless said, they
    /// are not.
    #[serde(alias = "skipExternalClusters")]
    pub skip_external_clusters: Option<bool>,
}

/// One way of finding out or telling.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
pub struct Method {
    /// Through the two headers.
    #[serde(alias = "istioHeaders")]
    pub istio_headers: Option<IstioHeaders>,
    /// Through the workloads that the control plane knows; a plugin cannot ask it.
    #[serde(alias = "workloadDiscovery")]
    pub workload_discovery: Option<Nothing>,
    /// Through the header `baggage`; not built.
    pub baggage: Option<serde_json::Value>,
    /// Through the filter state of the upstream connection; a plugin cannot see it.
    #[serde(alias = "upstreamFilterState")]
    pub upstream_filter_state: Option<serde_json::Value>,
}

/// The options of the headers.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
pub struct IstioHeaders {
    /// Whether clusters outside of the mesh are told nothing.
    #[serde(alias = "skipExternalClusters")]
    pub skip_external_clusters: bool,
}

/// An object without fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Config {
    /// How many peers a worker remembers.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.max_peer_cache_size.map_or(DEFAULT_PEERS, |size| usize::try_from(size).unwrap_or_default())
    }

    /// What the configuration asks for and this plugin cannot do, a sentence for each.
    pub fn warnings(&self) -> impl Iterator<Item = &'static str> {
        let methods = self.lists().into_iter().flatten().flatten();
        let (mut discovery, mut baggage, mut state) = (false, false, false);
        for method in methods {
            discovery |= method.workload_discovery.is_some();
            baggage |= method.baggage.is_some();
            state |= method.upstream_filter_state.is_some();
        }
        [
            (discovery, "`workload_discovery` is passed over: a plugin cannot ask the control plane who a peer is"),
            (baggage, "`baggage` is passed over: only the headers of `istio_headers` are exchanged"),
            (state, "`upstream_filter_state` is passed over: a plugin does not see the upstream connection's state"),
            (
                self.shared_with_upstream,
                "`shared_with_upstream` has no effect: a plugin's state stays with its filters",
            ),
        ]
        .into_iter()
        .filter_map(|(asked, sentence)| asked.then_some(sentence))
    }

    fn lists(&self) -> [Option<&[Method]>; 4] {
        let lists = [
            &self.downstream_discovery,
            &self.upstream_discovery,
            &self.downstream_propagation,
            &self.upstream_propagation,
        ];
        lists.map(Option::as_deref)
    }
}

/// Where a listener's traffic goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Nothing is said.
    #[default]
    Unspecified,
    /// To the workload beside the proxy.
    Inbound,
    /// From the workload to others; gateways too.
    Outbound,
}

impl Direction {
    /// From the number that `xds.listener_direction` tells.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Inbound,
            2 => Self::Outbound,
            _ => Self::Unspecified,
        }
    }
}

/// What is done with the headers on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether the request's are read and taken out.
    pub read_request: bool,
    /// Whether the response's are read and taken out.
    pub read_response: bool,
    /// Whom the proxy's own are added to the request for.
    pub tell_upstream: Audience,
    /// Whether the proxy's own are added to the response of a request that had some.
    pub tell_downstream: bool,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// Clusters of the mesh.
    Mesh,
    /// All clusters but those with `disable_mx`.
    Everybody,
}

impl Rules {
    /// The rules of the configuration's lists, whatever the listener; `None` if it has none.
    #[must_use]
    pub fn listed(config: &Config) -> Option<Self> {
        let lists = config.lists();
        lists.iter().any(Option::is_some).then(|| {
            let [read_request, read_response, tell_downstream, tell_upstream] =
                lists.map(|list| list.unwrap_or_default().iter().find_map(|method| method.istio_headers));
            Self {
                read_request: read_request.is_some(),
                read_response: read_response.is_some(),
                tell_upstream: match tell_upstream {
                    None => Audience::Nobody,
                    Some(IstioHeaders { skip_external_clusters: true }) => Audience::Mesh,
                    Some(IstioHeaders { skip_external_clusters: false }) => Audience::Everybody,
                },
                tell_downstream: tell_downstream.is_some(),
            }
        })
    }

    /// The rules where the configuration has no list: headers are read and taken out everywhere; the upstream is told
    /// unless the listener is inbound, the client unless it is outbound.
    #[must_use]
    pub fn of(direction: Direction, config: &Config) -> Self {
        let audience = if config.skip_external_clusters.unwrap_or(true) { Audience::Mesh } else { Audience::Everybody };
        Self {
            read_request: true,
            read_response: true,
            tell_upstream: if direction == Direction::Inbound { Audience::Nobody } else { audience },
            tell_downstream: direction != Direction::Outbound,
        }
    }
}

/// What is known of the cluster that a request goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cluster<'a> {
    /// Its name.
    pub name: &'a str,
    /// `disable_mx` in its metadata `istio`.
    pub disable_mx: bool,
    /// `external` in its metadata `istio`.
    pub external: bool,
}

impl Audience {
    /// Whether that cluster is told who asks.
    #[must_use]
    pub fn includes(self, cluster: &Cluster<'_>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => !cluster.disable_mx,
            Self::Mesh => !cluster.disable_mx && !cluster.external && cluster.name != "PassthroughCluster",
        }
    }
}

/// What the headers of a message say of its sender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// The lines with the id.
    pub id: Line<'a>,
    /// The lines with the metadata.
    pub metadata: Line<'a>,
}

/// The lines of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Line<'a> {
    /// There is none.
    #[default]
    Absent,
    /// There is one, and this is its value.
    Sole(&'a [u8]),
    /// There are several, so that nobody knows which one is meant.
    Several,
}

impl<'a> Told<'a> {
    /// Finds the two headers among all lines.
    #[must_use]
    pub fn find(lines: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut told = Self::default();
        // Their names have a beginning that hardly any other header has.
        for (name, value) in lines {
            if let Some(rest) = name.strip_prefix(header::METADATA.as_bytes()) {
                match rest {
                    b"" => told.metadata = told.metadata.and(value),
                    b"-id" => told.id = told.id.and(value),
                    _ => {}
                }
            }
        }
        told
    }
}

impl<'a> Line<'a> {
    /// The one value, unless it is empty or longer than that.
    #[must_use]
    pub fn value(self, limit: usize) -> Option<&'a [u8]> {
        match self {
            Self::Sole(value) if !value.is_empty() && value.len() <= limit => Some(value),
            _ => None,
        }
    }

    /// Whether there is a line, even an empty one.
    #[must_use]
    pub fn is_present(self) -> bool {
        self != Self::Absent
    }

    /// Whether something was said, so that it is answered.
    #[must_use]
    pub fn asks(self) -> bool {
        !matches!(self, Self::Absent | Self::Sole(b""))
    }

    fn and(self, value: &'a [u8]) -> Self {
        if self == Self::Absent { Self::Sole(value) } else { Self::Several }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn without_lists_the_direction_decides() {
        let rules = |direction| Rules::of(direction, &Config::default());
        let (inbound, outbound) = (rules(Direction::from_number(1)), rules(Direction::from_number(2)));
        assert!(inbound.read_request && inbound.read_response && outbound.read_request && outbound.read_response);
        assert_eq!((inbound.tell_upstream, inbound.tell_downstream), (Audience::Nobody, true));
        assert_eq!((outbound.tell_upstream, outbound.tell_downstream), (Audience::Mesh, false));
        let unspecified = rules(Direction::from_number(0));
        assert_eq!((unspecified.tell_upstream, unspecified.tell_downstream), (Audience::Mesh, true));
        assert_eq!(Rules::listed(&Config::default()), None);
    }

    #[test]
    fn lists_decide_as_the_native_filter() {
        let inbound = config(json!({
            "downstream_discovery": [{"workload_discovery": {}}, {"istio_headers": {}}],
            "downstreamPropagation": [{"istioHeaders": {}}],
        }));
        let rules =
            Rules { read_request: true, read_response: false, tell_upstream: Audience::Nobody, tell_downstream: true };
        assert_eq!(Rules::listed(&inbound), Some(rules));
        assert_eq!(inbound.warnings().count(), 1);

        let outbound = config(json!({
            "upstream_discovery": [{"istio_headers": {}}],
            "upstream_propagation": [{"istio_headers": {"skip_external_clusters": true}}],
        }));
        let rules =
            Rules { read_request: false, read_response: true, tell_upstream: Audience::Mesh, tell_downstream: false };
        assert_eq!(Rules::listed(&outbound), Some(rules));
        assert_eq!(outbound.warnings().count(), 0);
        let silent = config(json!({"upstream_propagation": []}));
        assert_eq!(Rules::listed(&silent).map(|rules| rules.tell_upstream), Some(Audience::Nobody));
    }

    #[test]
    fn who_is_outside_is_told_nothing() {
        let cluster = |name, disable_mx, external| Cluster { name, disable_mx, external };
        let table = [
            (cluster("outbound|80||a", false, false), true, true),
            (cluster("outbound|80||a", true, false), false, false),
            (cluster("outbound|80||a", false, true), false, true),
            (cluster("PassthroughCluster", false, false), false, true),
        ];
        for (cluster, mesh, everybody) in table {
            let told =
                [Audience::Mesh, Audience::Everybody, Audience::Nobody].map(|audience| audience.includes(&cluster));
            assert_eq!(told, [mesh, everybody, false], "{cluster:?}");
        }
    }

    #[test]
    fn the_headers_are_found_and_counted() {
        let lines: [(&[u8], &[u8]); 5] = [
            (b":path", b"/"),
            (b"x-envoy-peer-metadata", b"m"),
            (b"x-envoy-peer-metadata-id", b"i"),
            (b"x-envoy-peer-metadata-other", b"o"),
            (b"x-envoy", b"e"),
        ];
        assert_eq!(Told::find(lines), Told { id: Line::Sole(b"i"), metadata: Line::Sole(b"m") });
        let twice = lines.into_iter().chain([lines[1]]);
        assert_eq!(Told::find(twice).metadata, Line::Several);
        assert!(Line::Several.asks() && Line::Several.value(9).is_none());
        assert!(!Line::Sole(b"").asks() && Line::Sole(b"").is_present() && Line::Sole(b"").value(9).is_none());
        assert_eq!(Line::Sole(b"abc").value(2), None);
    }

    #[test]
    fn the_number_of_peers_has_a_default_and_a_floor() {
        let peers = |size: serde_json::Value| config(json!({"max_peer_cache_size": size})).peers();
        assert_eq!([peers(json!(null)), peers(json!(0)), peers(json!(-1)), peers(json!(7))], [500, 0, 0, 7]);
    }
}

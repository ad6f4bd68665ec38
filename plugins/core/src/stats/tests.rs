//! Labels, plans and dimensions, against the specification and against plain references.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::{Config, Kind};
use super::dimensions::Dimensions;
use super::facts::{Facts, Local, Principals, Protocol, Role, Service};
use super::labels::{Labels, Set};
use super::metric::Group;
use super::plan::{Plan, Sample, Source};
use super::tag::Tag;
use crate::peer::Peer;

fn client() -> Local {
    Local {
        workload: "productpage-v1".into(),
        namespace: "default".into(),
        cluster: "client-cluster".into(),
        app: "productpage".into(),
        version: "v1".into(),
        canonical_service: "productpage-v1".into(),
        canonical_revision: "version-1".into(),
    }
}

fn server() -> Local {
    Local {
        workload: "ratings-v1".into(),
        namespace: "default".into(),
        cluster: "server-cluster".into(),
        app: "ratings".into(),
        version: "v1".into(),
        canonical_service: "ratings".into(),
        canonical_revision: "version-1".into(),
    }
}

fn peer(local: &Local) -> Peer {
    Peer {
        workload: local.workload.clone(),
        namespace: local.namespace.clone(),
        cluster: local.cluster.clone(),
        app: local.app.clone(),
        version: local.version.clone(),
        canonical_service: local.canonical_service.clone(),
        canonical_revision: local.canonical_revision.clone(),
        ..Peer::default()
    }
}

const SERVICE: Service<'_> = Service { host: "server.default.svc.cluster.local", name: "server", namespace: "default" };

/// A request of the specification's client to its server, as one of them sees it.
fn facts(role: Role, local: &Local) -> Facts<'_> {
    Facts {
        role,
        protocol: Protocol::Http,
        local,
        downstream_peer: Some(peer(&client())),
        upstream_peer: Some(peer(&server())),
        downstream: Principals::default(),
        upstream: Principals::default(),
        route: "",
        cluster: "server-outbound-cluster",
        service: SERVICE,
        host: "",
        code: 200,
        flags: 0,
        grpc_status: None,
        client_security_policy: false,
    }
}

/// The specification's label set H, with these changes.
fn expected(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [
        ("reporter", "source"),
        ("source_workload", "productpage-v1"),
        ("source_canonical_service", "productpage-v1"),
        ("source_canonical_revision", "version-1"),
        ("source_workload_namespace", "default"),
        ("source_principal", "unknown"),
        ("source_app", "productpage"),
        ("source_version", "v1"),
        ("source_cluster", "client-cluster"),
        ("destination_workload", "ratings-v1"),
        ("destination_workload_namespace", "default"),
        ("destination_principal", "unknown"),
        ("destination_app", "ratings"),
        ("destination_version", "v1"),
        ("destination_service", "server.default.svc.cluster.local"),
        ("destination_canonical_service", "ratings"),
        ("destination_canonical_revision", "version-1"),
        ("destination_service_name", "server"),
        ("destination_service_namespace", "default"),
        ("destination_cluster", "server-cluster"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ];
    base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn values(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let labels = Labels::new(facts);
    Tag::ALL.iter().map(|tag| (tag.name().to_owned(), labels.value(*tag).into_owned())).collect()
}

const UNKNOWN_SOURCE: [(&str, &str); 7] = [
    ("source_workload", "unknown"),
    ("source_canonical_service", "unknown"),
    ("source_canonical_revision", "latest"),
    ("source_app", "unknown"),
    ("source_version", "unknown"),
    ("source_cluster", "unknown"),
    ("source_workload_namespace", "unknown"),
];

#[test]
fn a_client_and_a_server_see_the_same_request() {
    let (client, server) = (client(), server());
    assert_eq!(values(&facts(Role::Source, &client)), expected(&[]));
    let inbound = [("reporter", "destination"), ("connection_security_policy", "none")];
    assert_eq!(values(&facts(Role::Destination, &server)), expected(&inbound));
}

#[test]
fn a_grpc_status_is_shown_for_grpc_only() {
    let client = client();
    let mut facts = Facts { grpc_status: Some(7), ..facts(Role::Source, &client) };
    assert_eq!(values(&facts), expected(&[]));
    facts.protocol = Protocol::Grpc;
    assert_eq!(values(&facts), expected(&[("request_protocol", "grpc"), ("grpc_response_status", "7")]));
    facts.grpc_status = None;
    assert_eq!(values(&facts), expected(&[("request_protocol", "grpc")]));
}

#[test]
fn a_certificate_counts_more_than_what_a_peer_says() {
    let server = server();
    let spiffe = |account: &str| format!("spiffe://cluster.local/ns/other/sa/{account}");
    let (mine, theirs) = (spiffe("server"), spiffe("client"));
    let principals = Principals { local: &mine, peer: &theirs };
    let mut facts = Facts { downstream: principals, ..facts(Role::Destination, &server) };
    let mutual = [
        ("reporter", "destination"),
        ("source_workload_namespace", "other"),
        ("source_principal", theirs.as_str()),
        ("destination_principal", mine.as_str()),
        ("connection_security_policy", "mutual_tls"),
    ];
    assert_eq!(values(&facts), expected(&mutual));
    facts.downstream_peer = None;
    let mut unknown = UNKNOWN_SOURCE.to_vec();
    unknown.extend(mutual);
    assert_eq!(values(&facts), expected(&unknown));
}

#[test]
fn one_certificate_is_not_mutual() {
    let server = server();
    let facts = Facts { downstream: Principals { local: "spiffe://a", peer: "" }, ..facts(Role::Destination, &server) };
    let changes =
        [("reporter", "destination"), ("connection_security_policy", "none"), ("destination_principal", "spiffe://a")];
    assert_eq!(values(&facts), expected(&changes));
}

#[test]
fn a_client_names_both_identities_and_stays_silent_about_tls() {
    let client = client();
    let upstream = Principals { local: "spiffe://td/ns/default/sa/c", peer: "spiffe://td/ns/default/sa/s" };
    let mut facts = Facts { upstream, ..facts(Role::Source, &client) };
    let principals = [("source_principal", upstream.local), ("destination_principal", upstream.peer)];
    assert_eq!(values(&facts), expected(&principals));
    facts.client_security_policy = true;
    assert_eq!(values(&facts)["connection_security_policy"], "mutual_tls");
    facts.upstream = Principals::default();
    assert_eq!(values(&facts)["connection_security_policy"], "none");
    facts.upstream_peer.as_mut().unwrap().identity = "spiffe://claimed".into();
    assert_eq!(values(&facts)["destination_principal"], "spiffe://claimed");
}

#[test]
fn an_unknown_client_is_unknown_and_latest() {
    let server = server();
    let facts = Facts { downstream_peer: None, ..facts(Role::Destination, &server) };
    let mut changes = UNKNOWN_SOURCE.to_vec();
    changes.extend([("reporter", "destination"), ("connection_security_policy", "none")]);
    assert_eq!(values(&facts), expected(&changes));
}

#[test]
fn an_endpoint_speaks_for_a_silent_server() {
    let client = client();
    let peer = Peer::from_endpoint("ratings-v1;default;ratings;version-1;server-cluster");
    let facts = Facts { upstream_peer: peer, ..facts(Role::Source, &client) };
    assert_eq!(values(&facts), expected(&[("destination_app", "unknown"), ("destination_version", "unknown")]));
}

#[test]
fn what_a_proxy_does_not_know_of_itself_is_empty() {
    let local = Local::default();
    let values = values(&facts(Role::Source, &local));
    for tag in ["source_workload", "source_app", "source_canonical_service", "source_canonical_revision"] {
        assert_eq!(values[tag], "", "{tag}");
    }
}

#[test]
fn a_waypoint_is_neither() {
    let local = server();
    let mut facts = facts(Role::Waypoint, &local);
    let upstream = facts.upstream_peer.as_mut().unwrap();
    upstream.identity = "spiffe://cluster.global/ns/default/sa/ratings".into();
    upstream.version = "version-1".into();
    upstream.cluster = "ratings-cluster".into();
    upstream.canonical_revision = String::new();
    let changes = [
        ("reporter", "waypoint"),
        ("destination_principal", "spiffe://cluster.global/ns/default/sa/ratings"),
        ("destination_version", "version-1"),
        ("destination_cluster", "ratings-cluster"),
        ("destination_canonical_revision", "unknown"),
        ("connection_security_policy", "none"),
    ];
    assert_eq!(values(&facts), expected(&changes));
    let nothing = Facts { service: Service::default(), upstream_peer: None, ..facts };
    let values = values(&nothing);
    for tag in ["destination_service", "destination_service_name", "destination_service_namespace"] {
        assert_eq!(values[tag], "unknown", "{tag}");
    }
}

#[test]
fn the_service_is_found_step_by_step() {
    let (client, server) = (client(), server());
    let named = Service { host: "a.ns.svc", name: "short", namespace: "" };
    let unnamed = Service { name: "", ..named };
    let none = Service::default();
    for (role, protocol, route, cluster, service, host, expected) in [
        (Role::Source, Protocol::Http, "", "c", none, "h:80", ("h:80", "h:80")),
        (Role::Source, Protocol::Http, "", "c", none, "", ("unknown", "unknown")),
        (Role::Source, Protocol::Tcp, "", "c", none, "h:80", ("unknown", "unknown")),
        (Role::Destination, Protocol::Http, "", "c", none, "", ("ratings", "ratings")),
        (Role::Destination, Protocol::Tcp, "", "c", none, "h", ("ratings", "ratings")),
        (Role::Waypoint, Protocol::Http, "", "c", none, "", ("unknown", "unknown")),
        (Role::Source, Protocol::Http, "block_all", "c", named, "h", ("h", "BlackHoleCluster")),
        (Role::Source, Protocol::Http, "allow_any", "c", named, "h", ("h", "PassthroughCluster")),
        (Role::Source, Protocol::Http, "", "PassthroughCluster", named, "h", ("h", "PassthroughCluster")),
        (Role::Source, Protocol::Tcp, "", "BlackHoleCluster", none, "", ("unknown", "BlackHoleCluster")),
        (
            Role::Destination,
            Protocol::Http,
            "",
            "InboundPassthroughClusterIpv4",
            none,
            "",
            ("ratings", "InboundPassthroughClusterIpv4"),
        ),
        (Role::Source, Protocol::Http, "", "c", named, "h", ("a.ns.svc", "short")),
        (Role::Source, Protocol::Http, "", "c", unnamed, "h", ("a.ns.svc", "a")),
        (Role::Source, Protocol::Http, "", "c", Service { host: "", ..named }, "h", ("h", "short")),
    ] {
        let local = if role == Role::Source { &client } else { &server };
        let facts = Facts { protocol, route, cluster, service, host, ..facts(role, local) };
        let values = values(&facts);
        let found = (values["destination_service"].as_str(), values["destination_service_name"].as_str());
        assert_eq!(found, expected, "{role:?} {route} {cluster} {service:?} {host}");
    }
    let namespace = Service { namespace: "server", ..SERVICE };
    let facts = Facts { service: namespace, ..facts(Role::Source, &client) };
    assert_eq!(values(&facts), expected(&[("destination_service_namespace", "server")]));
}

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

/// A plan, on a host that takes everything but what begins with `bad`.
fn plan(value: Value) -> Plan {
    Plan::new(&config(value), &mut |_, text| !text.starts_with("bad"))
}

fn names(plan: &Plan, group: Group) -> Vec<String> {
    plan.metrics(group).all.iter().map(|metric| metric.full_name()).collect()
}

fn labels_of(plan: &Plan, group: Group, name: &str) -> Vec<String> {
    let metrics = plan.metrics(group);
    let metric = metrics.all.iter().find(|metric| &*metric.name == name).unwrap();
    metric.labels.iter().map(|(label, _)| label.to_string()).collect()
}

#[test]
fn there_are_ten_metrics() {
    let plan = plan(json!({}));
    assert_eq!(
        names(&plan, Group::Requests),
        ["istio_requests_total", "istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"]
    );
    assert_eq!(names(&plan, Group::Messages), ["istio_request_messages_total", "istio_response_messages_total"]);
    assert_eq!(
        names(&plan, Group::Connections),
        [
            "istio_tcp_sent_bytes_total",
            "istio_tcp_received_bytes_total",
            "istio_tcp_connections_opened_total",
            "istio_tcp_connections_closed_total"
        ]
    );
    assert_eq!(plan.label_names().len(), 25);
    assert_eq!(plan.label_names()[..3], ["reporter", "source_workload", "source_canonical_service"]);
}

#[test]
fn a_label_that_comes_back_keeps_its_place_and_a_new_one_is_last() {
    let plan = plan(json!({"metrics": [
        {"tags_to_remove": ["source_app", "response_flags"]},
        {"name": "requests_total", "dimensions": {"b": "x.y", "a": "x.y", "source_app": "x.y"}},
        {"dimensions": {"response_flags": "'literal'"}},
    ]}));
    let mut expected: Vec<_> = Tag::ALL.iter().map(|tag| tag.name()).collect();
    expected.extend(["a", "b"]);
    assert_eq!(labels_of(&plan, Group::Requests, "requests_total"), expected);
    expected.retain(|name| !["a", "b", "source_app"].contains(name));
    assert_eq!(labels_of(&plan, Group::Requests, "request_bytes"), expected);
    assert_eq!(plan.expressions(), ["x.y"], "equal expressions are one, and a literal is none");
    let flags = Source::Constant("literal".into());
    let metric = &plan.metrics(Group::Connections).all[0];
    assert!(metric.labels.contains(&("response_flags".into(), flags)));
}

#[test]
fn what_cannot_be_parsed_is_left_out() {
    let plan = plan(json!({
        "metrics": [{"dimensions": {"destination_app": "bad (", "other": "bad ("}}],
        "definitions": [{"name": "x", "value": "bad"}, {"name": "y", "value": "good", "type": "GAUGE"}],
    }));
    let labels = labels_of(&plan, Group::Requests, "requests_total");
    assert_eq!(labels.len(), 24);
    assert!(!labels.iter().any(|label| label == "destination_app" || label == "other"));
    assert_eq!(names(&plan, Group::Requests).last().unwrap(), "istio_y");
    assert_eq!(plan.metrics(Group::Requests).all.last().unwrap().kind, Kind::Gauge);
    assert_eq!(plan.values(), ["good"]);
    assert_eq!(plan.warnings().len(), 2, "{:?}", plan.warnings());
}

#[test]
fn definitions_have_the_labels_that_they_are_given() {
    let plan = plan(json!({
        "definitions": [
            {"name": "custom", "value": "1", "type": "COUNTER"},
            {"name": "requests_total", "value": "2"},
        ],
        "metrics": [
            {"name": "request_duration_milliseconds", "drop": true},
            {"name": "custom", "dimensions": {"reporter": "'proxy'"}},
            {"tagsToRemove": ["response_flags", "source_principal"]},
            {"dimensions": {"source_principal": "'malicious'"}},
            {"drop": true},
            {"name": "istio_requests_total", "match": "a == b"},
        ],
    }));
    assert_eq!(labels_of(&plan, Group::Requests, "custom"), ["reporter", "source_principal"]);
    assert_eq!(labels_of(&plan, Group::Connections, "custom"), ["reporter", "source_principal"]);
    assert_eq!(
        names(&plan, Group::Requests),
        ["istio_requests_total", "istio_request_bytes", "istio_response_bytes", "istio_custom"]
    );
    assert_eq!(plan.metrics(Group::Requests).all[3].sample, Sample::Constant(1));
    let warned = ["is Istio's", "drops nothing", "there is no metric", "`match"];
    for text in warned {
        assert!(plan.warnings().iter().any(|warning| warning.contains(text)), "{text}: {:?}", plan.warnings());
    }
}

#[test]
fn profiles_leave_labels_out() {
    let count = |profile: &str| plan(json!({"profile": profile})).label_names().len();
    assert_eq!((count("full"), count("standard"), count("minimal")), (25, 19, 11));
    let plan = plan(json!({"profile": "minimal", "metrics": [{"dimensions": {"source_app": "a.b"}}]}));
    assert!(labels_of(&plan, Group::Requests, "requests_total").contains(&"source_app".to_owned()));
}

#[test]
fn both_cases_and_what_older_versions_wrote_are_read() {
    let snake = config(json!({
        "debug": "false", "stat_prefix": "istio", "max_peer_cache_size": 20, "rotation_interval": "0s",
        "disable_host_header_fallback": "true", "tcp_reporting_duration": "1m30s", "reporter": "SERVER_GATEWAY",
        "allowed_hosts": ["a"], "max_dimension_sets": 5, "client_security_policy": true,
    }));
    let camel = config(json!({
        "gracefulDeletionInterval": "1s", "disableHostHeaderFallback": true, "tcpReportingDuration": "90s",
        "reporter": "SERVER_GATEWAY", "allowedHosts": ["a"], "maxDimensionSets": 5, "clientSecurityPolicy": true,
    }));
    assert_eq!(format!("{snake:?}"), format!("{camel:?}"));
    assert!(snake.disable_host_header_fallback);
    assert_eq!(snake.tcp_reporting_duration.as_secs(), 90);
    assert_eq!(config(json!({})).tcp_reporting_duration.as_secs(), 5);
}

#[test]
fn mistakes_are_refused() {
    for (value, expected) in [
        (json!({"disable_host_header_fallbak": true}), "unknown field"),
        (json!({"metrics": [{"dimension": {}}]}), "unknown field"),
        (json!({"definitions": [{"name": "a"}]}), "missing field `value`"),
        (json!({"definitions": [{"name": "a", "value": "1", "type": "COUNT"}]}), "unknown variant"),
        (json!({"tcp_reporting_duration": "5"}), "invalid duration `5`"),
        (json!({"disableHostHeaderFallback": "yes"}), "`true` or `false`"),
        (json!({"reporter": "SERVER"}), "unknown variant"),
        (json!({"profile": "small"}), "unknown variant"),
    ] {
        let error = serde_json::from_value::<Config>(value.clone()).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{value}: {error}");
    }
}

/// A set of labels for a peer of that name, with an answer of that status.
fn set(plan: &Plan, workload: &str, code: u64) -> Set {
    let local = server();
    let downstream_peer = Some(Peer { workload: workload.to_owned(), ..peer(&client()) });
    let facts = Facts { downstream_peer, code, ..facts(Role::Destination, &local) };
    Set::new(plan.metrics(Group::Requests), &Labels::new(&facts), [])
}

fn shown(plan: &Plan, set: &Set) -> BTreeMap<String, String> {
    let metrics = plan.metrics(Group::Requests);
    let labels = metrics.all[0].labels.iter();
    labels.map(|(name, source)| (name.to_string(), set.value(metrics, source).to_owned())).collect()
}

#[test]
fn what_is_over_the_budget_is_counted_without_names() {
    let plan = plan(json!({}));
    let metrics = plan.metrics(Group::Requests);
    let mut dimensions = Dimensions::new(3);
    let mut defined = Vec::new();
    let mut totals: BTreeMap<u32, u64> = BTreeMap::new();
    for number in 0..100_000_u64 {
        let (workload, code) = (format!("workload-{number}"), 200 + number % 4);
        let set = set(&plan, &workload, code);
        let found = dimensions.find(workload.as_bytes(), set, metrics, |set| {
            defined.push(shown(&plan, set));
            Ok::<_, ()>(Rc::from([defined.len() as u32]))
        });
        *totals.entry(found.unwrap().ids[0]).or_default() += 1;
    }
    assert_eq!(defined.len(), 3 + 4, "three by name, and one for each status");
    assert_eq!(dimensions.len(), 7);
    assert_eq!(totals.values().sum::<u64>(), 100_000);
    let other = &defined[6];
    assert_eq!((other["source_workload"].as_str(), other["destination_service"].as_str()), ("other", "other"));
    assert_eq!((other["destination_workload"].as_str(), other["reporter"].as_str()), ("ratings-v1", "destination"));
    let codes: BTreeSet<_> = defined[3..].iter().map(|labels| labels["response_code"].clone()).collect();
    assert_eq!(codes.len(), 4);
}

#[test]
fn even_the_coarse_sets_are_bounded() {
    let plan = plan(json!({}));
    let mut dimensions = Dimensions::new(1);
    let mut defined = 0_u32;
    for code in 0..5_000 {
        let set = set(&plan, "w", code);
        let found = dimensions.find(&code.to_le_bytes(), set, plan.metrics(Group::Requests), |_| {
            defined += 1;
            Ok::<_, ()>(Rc::from([defined]))
        });
        assert_eq!(found.unwrap().is_overflow, code > 0);
    }
    assert_eq!(defined, 1 + 100 + 1);
}

#[test]
fn a_refused_definition_is_tried_again() {
    let plan = plan(json!({}));
    let metrics = plan.metrics(Group::Requests);
    let mut dimensions: Dimensions<u32> = Dimensions::new(1);
    assert_eq!(dimensions.find(b"k", set(&plan, "w", 200), metrics, |_| Err("no")), Err("no"));
    assert_eq!(dimensions.recent(b"k"), None);
    assert!(dimensions.find(b"k", set(&plan, "w", 200), metrics, |_| Ok::<_, ()>(Rc::from([1]))).is_ok());
    assert_eq!(dimensions.recent(b"k"), Some(&[1][..]));
}

proptest! {
    /// Whatever comes in whatever order: a stream is counted where a plain map would count it, as long as there is room.
    #[test]
    fn streams_are_counted_where_a_plain_map_counts_them(
        streams in prop::collection::vec((0_u8..12, 0_u64..3), 0..200),
        limit in 1_usize..40,
    ) {
        let plan = plan(json!({}));
        let metrics = plan.metrics(Group::Requests);
        let mut dimensions = Dimensions::new(limit);
        let mut reference: BTreeMap<(u8, u64), u32> = BTreeMap::new();
        let mut next = 0_u32;
        for (who, code) in streams {
            let key = [who, code as u8];
            let recent = dimensions.recent(&key).map(|ids| ids[0]);
            let id = match recent {
                Some(id) => id,
                None => dimensions.find(&key, set(&plan, &who.to_string(), code), metrics, |_| {
                    next += 1;
                    Ok::<_, ()>(Rc::from([next]))
                }).unwrap().ids[0],
            };
            if reference.len() < limit {
                let number = reference.len() as u32 + 1;
                prop_assert_eq!(*reference.entry((who, code)).or_insert(number), id);
            } else if let Some(known) = reference.get(&(who, code)) {
                prop_assert_eq!(*known, id);
            } else {
                prop_assert!(id > limit as u32);
            }
        }
    }
}

//! Policies and requests of a small vocabulary, so that they meet often.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) policies: Vec<Policy>,
    pub(super) client: IpAddr,
    /// The client's identity over TLS, empty if it shows no certificate; nothing without TLS.
    pub(super) peer: Option<&'static str>,
    pub(super) server_name: &'static str,
}

impl Scene {
    pub(super) fn has(&self, action: &str) -> bool {
        self.policies.iter().any(|policy| policy.action == action)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) action: &'static str,
    pub(super) rules: Vec<Value>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) authority: &'static str,
    /// The lines of `x-t`.
    pub(super) headers: Vec<&'static str>,
    /// Those of a token that is good.
    pub(super) claims: Option<Value>,
}

/// Empty where the client shows no certificate.
const PEERS: &[&str] = &[
    "",
    "spiffe://cluster.local/ns/a/sa/x",
    "spiffe://cluster.local/ns/b/sa/y",
    "spiffe://td.local/ns/ab/sa/x",
    "spiffe://cluster.local/ns/b/extra/ns/a/sa/x/more",
    "spiffe://cluster.local.test/ns/a.b/sa/x.y",
];

pub(super) fn scene() -> impl Strategy<Value = Scene> {
    let peer = prop::option::weighted(0.8, select(PEERS));
    let client = select(&["127.0.0.1", "10.1.2.3", "10.1.255.7", "192.168.0.1"]).prop_map(|ip| ip.parse().unwrap());
    (vec(policy(), 1..6), client, peer, select(&["a.test", "b.a.test", "c"]))
        .prop_map(|(policies, client, peer, server_name)| Scene { policies, client, peer, server_name })
}

fn policy() -> impl Strategy<Value = Policy> {
    (select(&["ALLOW", "ALLOW", "DENY"]), vec(rule(), 1..4)).prop_map(|(action, rules)| Policy { action, rules })
}

fn rule() -> impl Strategy<Value = Value> {
    let part = |name: &'static str, inner: &'static str, fields: BoxedStrategy<Value>| {
        prop::option::of(vec(fields.prop_map(move |fields| json!({ inner: fields })), 1..3))
            .prop_map(move |all| all.map(|all| (name, Value::from(all))))
    };
    let when = prop::option::weighted(0.3, vec(condition(), 1..3)).prop_map(|all| all.map(|all| ("when", all.into())));
    (part("from", "source", source()), part("to", "operation", operation()), when).prop_map(|(from, to, when)| {
        [from, to, when]
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>()
            .into()
    })
}

const HOSTS: &[&str] = &["*", "a.test", "A.Test", "*.test", "b.*", "a.test:*", "b.test:8080", "*:8080", "*a*"];
const METHODS: &[&str] = &["GET", "POST", "*", "P*", "*T", "get", "DELETE"];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/*",
    "*/b",
    "*",
    "/A*",
    "/a/{*}",
    "/a/{**}",
    "/{*}/b",
    "/{*}/b/{**}",
    "/a%20b",
    "*;x",
    "/a?x",
    "/a/b/c",
    "/a.b",
    "*b*",
];
const VALUES: &[&str] = &["*", "one", "one*", "*two", "on*e", "One", "one,two", "*e*"];
const ADDRESSES: &[&str] = &["127.0.0.1", "10.1.0.0/16", "10.1.2.77/24", "0.0.0.0/0", "::/0", "192.168.0.1/32", "::1"];
const PRINCIPALS: &[&str] = &[
    "*",
    "cluster.local/ns/a/sa/x",
    "cluster.local/ns/b/*",
    "*/ns/a/sa/x",
    "*/sa/x",
    "td.local/*",
    "cluster.local*",
    "*x",
    "cluster.local/ns/*/sa/x",
    "*.y",
    "*more",
];
const NAMESPACES: &[&str] = &["a", "b", "*", "a*", "*b", "a*b", "a**b", "a.b", "*a*"];
const ACCOUNTS: &[&str] = &["a/x", "b/y", "x", "ab/x", "a.b/x.y", "foo/x"];
const TRUST_DOMAINS: &[&str] = &["cluster.local", "td.local", "*", "*.local", "cluster*", "td*"];
const REQUESTERS: &[&str] = &["*", "idp/ada", "idp/*", "*/ada", "idp/a*", "*da", "i*", "idp", "*dp/ada", "idp/x/ada"];
const CLAIMS: &[&str] = &["*", "admin", "ad*", "*min", "user", "a", "adm*in"];
const NAMES: &[&str] = &["*", "a.test", "*.test", "b.*", "c"];

fn source() -> BoxedStrategy<Value> {
    fields(&[
        ("principals", PRINCIPALS),
        ("namespaces", NAMESPACES),
        ("serviceAccounts", ACCOUNTS),
        ("trustDomains", TRUST_DOMAINS),
        ("requestPrincipals", REQUESTERS),
        ("remoteIpBlocks", ADDRESSES),
    ])
}

fn operation() -> BoxedStrategy<Value> {
    fields(&[("hosts", HOSTS), ("methods", METHODS), ("paths", PATHS), ("paths", PATHS), ("ports", &["1", "65535"])])
}

/// One or two fields, each of them positive or negative.
fn fields(known: &'static [(&'static str, &'static [&'static str])]) -> BoxedStrategy<Value> {
    let field = select(known).prop_flat_map(|(name, words)| {
        (prop::bool::weighted(0.3), vec(select(words), 1..4)).prop_map(move |(negative, values)| {
            let mut capital = name.chars();
            let first = capital.next().map(|first| first.to_ascii_uppercase()).into_iter();
            let name =
                if negative { format!("not{}", first.chain(capital).collect::<String>()) } else { name.to_owned() };
            (name, Value::from(values))
        })
    });
    let accounts_clash = |fields: &Value| {
        let names: Vec<_> = fields.as_object().unwrap().keys().map(|name| name.trim_start_matches("not")).collect();
        let has = |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word));
        has("serviceAccounts") && (has("principals") || has("namespaces"))
    };
    vec(field, 1..3)
        .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>()))
        .prop_filter("service accounts stand alone", move |fields| !accounts_clash(fields))
        .boxed()
}

fn condition() -> impl Strategy<Value = Value> {
    const KEYS: &[(&str, &[&str])] = &[
        ("request.headers[x-t]", VALUES),
        ("request.headers[X-T]", VALUES),
        ("request.headers[:method]", METHODS),
        ("request.headers[:authority]", HOSTS),
        ("remote.ip", ADDRESSES),
        ("source.principal", PRINCIPALS),
        ("source.namespace", NAMESPACES),
        ("source.serviceAccount", ACCOUNTS),
        ("source.trustDomain", TRUST_DOMAINS),
        ("request.auth.principal", REQUESTERS),
        ("request.auth.claims[groups]", CLAIMS),
        ("request.auth.claims[realm][team]", CLAIMS),
        ("request.auth.claims[scope]", CLAIMS),
        ("request.auth.audiences", CLAIMS),
        ("request.auth.presenter", CLAIMS),
        ("connection.sni", NAMES),
        ("destination.port", &["1", "65535"]),
    ];
    let values = |words: &'static [&'static str]| prop::option::of(vec(select(words), 1..4));
    select(KEYS)
        .prop_flat_map(move |(key, words)| (values(words), values(words)).prop_map(move |sides| (key, sides)))
        .prop_filter("a condition has values", |(_, (values, not_values))| values.is_some() || not_values.is_some())
        .prop_map(|(key, (values, not_values))| {
            let sides = [("values", values), ("notValues", not_values)].into_iter();
            let sides = sides.filter_map(|(name, words)| Some((name.to_owned(), Value::from(words?))));
            [("key".to_owned(), key.into())].into_iter().chain(sides).collect::<Map<_, _>>().into()
        })
}

pub(super) fn attempt() -> impl Strategy<Value = Attempt> {
    let method = select(&["GET", "POST", "PUT", "DELETE"]);
    let path = select(&[
        "/",
        "/a",
        "/a/b",
        "/a/b/c",
        "/a?x",
        "/a/b?y/b",
        "/A",
        "/a%20b",
        "/a;x",
        "/b",
        "/a/",
        "/a.b",
        "/axb",
        "/a//b",
        "/x/b/y?/b",
    ]);
    let authority = select(&["a.test", "A.TEST", "b.test:8080", "x.a.test", "a.test:80", "b"]);
    let headers = vec(select(&["one", "two", "", "one,two", "on*e", "onetwo", "One", "*"]), 0..3);
    (method, path, authority, headers, prop::option::of(claims()))
        .prop_map(|(method, path, authority, headers, claims)| Attempt { method, path, authority, headers, claims })
}

fn claims() -> impl Strategy<Value = Value> {
    let words = || select(&["admin", "user", "administrator", "a", "", "ad min"]);
    let word = move || words().prop_map(Value::from);
    let one_or_more = move || prop_oneof![word(), vec(words(), 0..3).prop_map(Value::from)];
    let sub = prop::option::weighted(0.9, select(&["ada", "eve", "x/ada", "", "da"]));
    let claim = prop_oneof![
        one_or_more().prop_map(|value| ("groups", value)),
        one_or_more().prop_map(|value| ("realm", json!({ "team": value }))),
        select(&["admin user", "user", "admin", " admin"]).prop_map(|value| ("scope", value.into())),
        one_or_more().prop_map(|value| ("aud", value)),
        word().prop_map(|value| ("azp", value)),
    ];
    (sub, vec(claim, 0..4)).prop_map(|(sub, more)| {
        let mut claims = json!({"iss": "idp"});
        if let Some(sub) = sub {
            claims["sub"] = sub.into();
        }
        for (name, value) in more {
            claims[name] = value;
        }
        claims
    })
}

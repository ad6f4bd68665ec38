use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::headers::{Headers, Lineup};

#[derive(Debug, PartialEq, Deserialize)]
struct Limit {
    rate: u32,
    #[serde(default)]
    burst: Option<u32>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

fn routes(config: &Value) -> Routes<Limit> {
    config::json(config.to_string().as_bytes()).unwrap()
}

fn error(config: &Value) -> String {
    let error = config::json::<Routes<Limit>>(config.to_string().as_bytes()).unwrap_err().to_string();
    let text = error.strip_prefix("invalid plugin configuration").unwrap().trim_start();
    text.split(" (line").next().unwrap().to_owned()
}

fn head(lines: &[(&str, &[u8])]) -> Headers {
    Headers::decode(Lineup::default().encode(lines).unwrap()).unwrap()
}

/// The rate for a request, whose proxy calls its route `local`.
fn rate(routes: &Routes<Limit>, lines: &[(&str, &str)]) -> u32 {
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    routes.choose(&Facts::of(&head(&lines), &|| Ok(b"local".to_vec()))).unwrap().rate
}

/// Whether one entry of `match` takes a request.
fn takes(entry: Value, lines: &[(&str, &str)]) -> bool {
    rate(&routes(&json!({"defaults": {"rate": 0}, "routes": [{"match": [entry], "config": {"rate": 1}}]})), lines) == 1
}

#[test]
fn the_first_route_that_matches_wins() {
    let routes = routes(&json!({
        "defaults": {"rate": 1},
        "routes": [
            {"match": [{"uri": {"prefix": "/api/"}, "method": {"exact": "POST"}}], "config": {"rate": 2}},
            {"match": [{"uri": {"exact": "/api/x"}}, {"uri": {"exact": "/y"}}], "config": {"rate": 3}},
            {"match": [{"uri": {"prefix": "/api/"}}], "config": {"rate": 4}},
            {"match": [], "hosts": ["*.example.com", "example.com"], "config": {"rate": 5}},
            {"match": [{"routeName": {"exact": "local"}, "headers": {"x-named": {}}}], "config": {"rate": 6}},
        ],
    }));
    let ask = |method, path, host| rate(&routes, &[(":method", method), (":path", path), (":authority", host)]);
    assert_eq!(ask("POST", "/api/x", "a"), 2);
    assert_eq!(ask("GET", "/api/x?y=1", "a"), 3);
    assert_eq!(ask("GET", "/y", "a"), 3);
    assert_eq!(ask("GET", "/api/", "a"), 4);
    assert_eq!(ask("GET", "/api", "Example.COM:8080"), 5);
    assert_eq!(ask("GET", "/", "a.b.example.com"), 5);
    assert_eq!(ask("GET", "/", "badexample.com"), 1);
    assert_eq!(rate(&routes, &[("x-named", "")]), 6);
    assert_eq!(rate(&routes, &[]), 1);
}

#[test]
fn an_override_is_merged_over_the_defaults() {
    let routes = routes(&json!({
        "defaults": {"rate": 1, "burst": 9, "labels": {"a": "1", "b": "2"}},
        "routes": [{"config": {"burst": null, "labels": {"b": "3", "c": "4"}}}],
    }));
    let [defaults, merged] = &routes.all().collect::<Vec<_>>()[..] else { panic!("two configurations") };
    assert_eq!((defaults.rate, defaults.burst), (1, Some(9)));
    assert_eq!((merged.rate, merged.burst), (1, None));
    assert_eq!(json!(merged.labels), json!({"a": "1", "b": "3", "c": "4"}));
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let route = |route: Value| json!({"defaults": {"rate": 1}, "routes": [{"config": {}}, route]});
    for (config, expected) in [
        (json!({"defaults": {}}), "at `defaults`: missing field `rate`"),
        (route(json!({"config": {"rate": "x"}})), "at `routes[1].config.rate`: invalid type: string `x`, expected u32"),
        (
            route(json!({"config": {"rat": 1}})),
            "at `routes[1].config.rat`: unknown field; check the spelling, or remove it",
        ),
        (route(json!({"config": 5})), "at `routes[1].config`: invalid type: integer `5`, expected an object"),
        (
            route(json!({"match": [{"uri": {"exact": "a", "prefix": "b"}}]})),
            "at `routes[1].match[0].uri`: only one of `exact`, `prefix` and `regex` can be given",
        ),
        (
            route(json!({"match": [{}, {"headers": {":path": {}}}]})),
            "at `routes[1].match[1].headers.:path`: `:path` has a condition of its own: `uri`, `method`, `scheme` or `authority`",
        ),
        (
            route(json!({"match": [{"uri": {"suffix": "a"}}]})),
            "at `routes[1].match[0].uri.suffix`: unknown field; check the spelling, or remove it",
        ),
        (
            route(json!({"hosts": []})),
            "at `routes[1].hosts`: a list without a host matches nothing; remove it, or name a host",
        ),
        (
            route(json!({"hosts": ["a:80"]})),
            "at `routes[1].hosts`: invalid host `a:80`: a port belongs into `authority`",
        ),
        (
            route(json!({"hosts": ["a.*"]})),
            "at `routes[1].hosts`: invalid host `a.*`: `*` stands alone, or at the beginning before a `.`",
        ),
    ] {
        assert_eq!(error(&config), expected);
    }
}

#[derive(Debug, Deserialize)]
struct Outer {
    #[expect(dead_code, reason = "only its errors are looked at")]
    limits: Routes<Limit>,
}

#[test]
fn routes_may_be_a_field() {
    let config = json!({"limits": {"defaults": {"rate": 1}, "routes": [{"config": {"rate": -1}}]}});
    let error = config::json::<Outer>(config.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("at `limits.routes[0].config.rate`: invalid value: integer `-1`"), "{error}");
}

#[test]
fn conditions_are_istios() {
    let path = |path| [(":path", path)];
    assert!(takes(json!({"uri": {"prefix": "/api"}}), &path("/apis")));
    assert!(!takes(json!({"uri": {"prefix": "/api"}}), &path("/API")));
    assert!(takes(json!({"uri": {"prefix": "/api"}, "ignoreUriCase": true}), &path("/API/x")));
    assert!(takes(json!({"uri": {"exact": "/A"}, "ignoreUriCase": true}), &path("/a?b")));
    assert!(!takes(json!({"uri": {"exact": "/a?b"}}), &path("/a?b")));
    assert!(takes(json!({"uri": {"exact": "/a"}}), &path("/a#f")));
    assert!(takes(json!({"name": "anything"}), &path("/")));
    assert!(takes(json!({"authority": {"exact": "A.com:80"}}), &[(":authority", "a.COM:80")]));
    assert!(!takes(json!({"authority": {"exact": "a.com"}}), &[(":authority", "a.com:80")]));
    assert!(takes(json!({"headers": {"X-A": {"exact": "1,2"}}}), &[("x-a", "1"), ("x-a", "2")]));
    assert!(takes(json!({"headers": {"x-a": {}}}), &[("x-a", "")]));
    assert!(!takes(json!({"headers": {"x-a": {}}}), &[]));
    assert!(!takes(json!({"withoutHeaders": {"x-a": {}}}), &[("x-a", "")]));
    assert!(takes(json!({"withoutHeaders": {"x-a": {"exact": "1"}}}), &[]));
    assert!(!takes(json!({"withoutHeaders": {"x-a": {"exact": ""}}}), &[]));
    assert!(takes(json!({"queryParams": {"a": {"exact": "1"}}}), &path("/?b&a=1&a=2")));
    assert!(!takes(json!({"queryParams": {"a": {"exact": "2"}}}), &path("/?a=1&a=2")));
    assert!(takes(json!({"queryParams": {"a": {}}}), &path("/?a#b")));
    assert!(!takes(json!({"queryParams": {"a": {}}}), &path("/?b=a")));
    assert!(!takes(json!({"routeName": {"exact": "other"}}), &path("/")));
}

#[test]
fn a_routes_name_is_asked_for_once_and_only_where_it_matters() {
    let config = json!({
        "defaults": {"rate": 0},
        "routes": [
            {"match": [{"uri": {"exact": "/a"}, "routeName": {"exact": "x"}}], "config": {"rate": 1}},
            {"match": [{"uri": {"exact": "/a"}, "routeName": {"prefix": "y"}}], "config": {"rate": 2}},
        ],
    });
    let asked = std::cell::Cell::new(0);
    let ask = || {
        asked.set(asked.get() + 1);
        Ok(b"yes".to_vec())
    };
    let routes = routes(&config);
    assert_eq!(routes.choose(&Facts::of(&head(&[(":path", b"/b")]), &ask)).unwrap().rate, 0);
    assert_eq!(asked.get(), 0);
    assert_eq!(routes.choose(&Facts::of(&head(&[(":path", b"/a")]), &ask)).unwrap().rate, 2);
    assert_eq!(asked.get(), 1);
}

#[cfg(not(feature = "regex"))]
#[test]
fn a_regex_needs_its_feature() {
    let config = json!({"defaults": {"rate": 1}, "routes": [{"match": [{"uri": {"regex": "/a.*"}}]}]});
    assert!(error(&config).starts_with("at `routes[0].match[0].uri`: `regex` cannot be used in this plugin"));
}

#[cfg(feature = "regex")]
#[test]
fn a_regex_matches_the_whole_text() {
    let takes = |pattern: &str, path: &str| takes(json!({"uri": {"regex": pattern}}), &[(":path", path)]);
    assert!(takes("/a|/b+", "/bbb?x"));
    assert!(!takes("/a|/b", "/ax"));
    assert!(!takes("/a", "x/a"));
    let config = json!({"defaults": {"rate": 1}, "routes": [{"match": [{"uri": {"regex": "a)|(b"}}]}]});
    assert!(error(&config).starts_with("at `routes[0].match[0].uri`: `a)|(b` is no regular expression"));
}

/// Few letters, so that texts collide; both cases, a separator, and a byte that is no text.
fn piece() -> impl Strategy<Value = String> {
    "[aAb/.]{0,3}"
}

fn text() -> impl Strategy<Value = Value> {
    (piece(), any::<bool>())
        .prop_map(|(text, exact)| if exact { json!({"exact": text}) } else { json!({"prefix": text}) })
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![Just("*".to_owned()), "[aAb]{1,2}".prop_map(|name| name), "\\*\\.[aAb]{1,2}".prop_map(|name| name)]
}

fn route() -> impl Strategy<Value = Value> {
    let entry = (prop::option::weighted(0.8, text()), any::<bool>(), prop::option::weighted(0.2, text())).prop_map(
        |(uri, fold, header)| {
            let mut entry = json!({"ignoreUriCase": fold});
            if let Some(uri) = uri {
                entry["uri"] = uri;
            }
            if let Some(header) = header {
                entry["headers"] = json!({"x": header});
            }
            entry
        },
    );
    (prop::option::of(prop::collection::vec(host(), 1..3)), prop::collection::vec(entry, 0..3)).prop_map(
        |(hosts, entries)| match hosts {
            Some(hosts) => json!({"hosts": hosts, "match": entries}),
            None => json!({"match": entries}),
        },
    )
}

/// What the documentation says, word for word and slowly.
fn plainly(routes: &[Value], path: &[u8], host: &[u8], header: Option<&[u8]>) -> u32 {
    let compare = |text: &Value, with: &[u8], fold: bool| {
        let lower = |bytes: &[u8]| if fold { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
        let with = lower(with);
        match (text["exact"].as_str(), text["prefix"].as_str()) {
            (Some(text), _) => with == lower(text.as_bytes()),
            (_, Some(text)) => with.starts_with(&lower(text.as_bytes())),
            _ => panic!("one of both"),
        }
    };
    let in_hosts = |hosts: &Value| {
        hosts.as_array().is_none_or(|hosts| {
            hosts.iter().filter_map(Value::as_str).any(|name| match name.strip_prefix('*') {
                Some("") => true,
                Some(end) => {
                    host.len() > end.len() && host.to_ascii_lowercase().ends_with(&end.as_bytes().to_ascii_lowercase())
                }
                None => host.eq_ignore_ascii_case(name.as_bytes()),
            })
        })
    };
    let takes = |entry: &Value| {
        let fold = entry["ignoreUriCase"] == true;
        let uri = entry.get("uri").is_none_or(|uri| compare(uri, path, fold));
        uri && entry["headers"].get("x").is_none_or(|text| header.is_some_and(|header| compare(text, header, false)))
    };
    let matches = |route: &Value| {
        let entries = route["match"].as_array().unwrap();
        in_hosts(&route["hosts"]) && (entries.is_empty() || entries.iter().any(takes))
    };
    routes.iter().position(matches).map_or(0, |at| u32::try_from(at).unwrap() + 1)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"aAb/.\xff\xc3".to_vec()), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_answers_as_a_walk_over_all_routes(
        all in prop::collection::vec(route(), 0..8),
        path in bytes(),
        host in bytes(),
        header in prop::option::of(bytes()),
    ) {
        let mut written = all.clone();
        for (place, route) in written.iter_mut().enumerate() {
            route["config"] = json!({"rate": place + 1});
        }
        let routes = routes(&json!({"defaults": {"rate": 0}, "routes": written}));
        let mut lines = vec![(":path", path.as_slice()), (":authority", host.as_slice())];
        lines.extend(header.iter().map(|value| ("x", value.as_slice())));
        let chosen = routes.choose(&Facts::of(&head(&lines), &|| Ok(Vec::new()))).unwrap().rate;
        prop_assert_eq!(chosen, plainly(&all, &path, &host, header.as_deref()));
    }

    #[test]
    fn no_bytes_confuse_the_choice(lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("fits a line", |byte| !matches!(byte, 0 | b'\r' | b'\n')), 0..20), 3)) {
        let entry = json!({"uri": {"prefix": "/"}, "queryParams": {"a": {"prefix": "b"}}, "authority": {"prefix": "["}});
        let routes = routes(&json!({"defaults": {"rate": 0}, "routes": [{"match": [entry], "hosts": ["*.a"], "config": {"rate": 1}}]}));
        let lines: Vec<_> = [":path", ":authority", "x"].into_iter().zip(lines.iter().map(Vec::as_slice)).collect();
        prop_assert!(routes.choose(&Facts::of(&head(&lines), &|| Ok(Vec::new()))).is_ok());
    }
}

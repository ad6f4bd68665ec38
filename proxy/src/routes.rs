//! Where HTTP requests go: by the host that they ask for, to a cluster.

use std::sync::Arc;

use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::surroundings::{self, Metadata, Routing};

/// A table of virtual hosts; requests that none of them wants are answered with 404.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routes(Vec<Entry>);

/// Hosts that share a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// The hosts, as Envoy matches them: `*`, `*.suffix`, `prefix.*`, or the whole host, with its port or without.
    pub domains: Vec<String>,
    /// The name of its route, which is mostly empty.
    pub route: String,
    /// Where requests go.
    pub cluster: String,
    /// How many servers the cluster has.
    pub endpoints: u64,
    /// The cluster's metadata.
    pub metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    domains: Vec<String>,
    host: Arc<surroundings::VirtualHost>,
    route: Arc<surroundings::Route>,
}

impl Routes {
    /// All requests go to this cluster.
    #[must_use]
    pub fn all(cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        let domains = vec!["*".to_owned()];
        Self::new([VirtualHost { name: "all".to_owned(), domains, cluster, endpoints: 1, ..VirtualHost::default() }])
    }

    /// Requests go where the best match says: a whole name before the longest suffix, this before the longest prefix,
    /// this before `*`.
    #[must_use]
    pub fn new(hosts: impl IntoIterator<Item = VirtualHost>) -> Self {
        Self(hosts.into_iter().map(Entry::new).collect())
    }

    /// The clusters that requests can go to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|entry| entry.route.cluster.as_deref()).map(|cluster| cluster.name.as_str())
    }

    /// Where a request with these headers goes.
    pub(crate) fn look(&self, headers: &HeaderMap) -> Routing {
        let authority = headers.get(b":authority").map(|host| host.to_ascii_lowercase()).unwrap_or_default();
        let fit = |entry: &Entry| entry.domains.iter().filter_map(|domain| rank(domain.as_bytes(), &authority)).max();
        let ranked = self.0.iter().filter_map(|entry| fit(entry).map(|rank| (rank, entry)));
        // Of equals the first counts; `max_by_key` takes the last.
        match ranked.rev().max_by_key(|(rank, _)| *rank) {
            Some((_, entry)) => {
                Routing { virtual_host: Some(Arc::clone(&entry.host)), route: Some(Arc::clone(&entry.route)) }
            }
            None => Routing::default(),
        }
    }
}

impl Entry {
    fn new(host: VirtualHost) -> Self {
        let VirtualHost { name, domains, route, cluster, endpoints, metadata } = host;
        let cluster = Arc::new(surroundings::Cluster { name: cluster, metadata, endpoints });
        Self {
            domains: domains.into_iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            host: Arc::new(surroundings::VirtualHost { name, metadata: Metadata::default() }),
            route: Arc::new(surroundings::Route { name: route, metadata: Metadata::default(), cluster: Some(cluster) }),
        }
    }
}

/// How well a domain fits a host, if it does; the larger the better.
fn rank(domain: &[u8], host: &[u8]) -> Option<(u8, usize)> {
    match domain {
        b"*" => Some((0, 0)),
        [b'*', suffix @ ..] => (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len())),
        [prefix @ .., b'*'] => (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len())),
        whole => (host == whole).then_some((3, whole.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &[&str])]) -> Routes {
        Routes::new(entries.iter().map(|(cluster, domains)| VirtualHost {
            cluster: (*cluster).to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            ..VirtualHost::default()
        }))
    }

    fn goes(routes: &Routes, host: &str) -> Option<String> {
        let headers: HeaderMap = [(":authority", host)].into_iter().collect();
        Some(routes.look(&headers).route?.cluster.as_ref()?.name.clone())
    }

    #[test]
    fn the_best_match_wins() {
        let routes = table(&[
            ("any", &["*"]),
            ("suffix", &["*.example.com"]),
            ("longer", &["*.b.example.com"]),
            ("prefix", &["a.b.*"]),
            ("whole", &["a.b.example.com", "a.b.example.com:80"]),
        ]);
        for (host, cluster) in [
            ("a.b.example.com", "whole"),
            ("A.B.Example.com:80", "whole"),
            ("c.b.example.com", "longer"),
            ("a.example.com", "suffix"),
            ("a.b.test", "prefix"),
            (".example.com", "any"),
            ("example.com", "any"),
        ] {
            assert_eq!(goes(&routes, host).as_deref(), Some(cluster), "{host}");
        }
    }

    #[test]
    fn what_nobody_wants_goes_nowhere() {
        let routes = table(&[("one", &["one"]), ("first", &["two"]), ("second", &["two"])]);
        assert_eq!(goes(&routes, "three"), None);
        assert_eq!(goes(&routes, "two").as_deref(), Some("first"));
    }
}

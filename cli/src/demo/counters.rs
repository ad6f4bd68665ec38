//! What a proxy has counted, as its page for Prometheus tells it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::client;

/// The beginnings of what is worth showing: Istio's requests, if somebody counts them, and the decisions of modules.
const WANTED: [&str; 3] = ["istio_requests_total", "jwt_authn_", "rbac_"];

/// The label of our `rbac` in Envoy, which takes the beginning of `wasmcustom.rbac.allowed` for that of its own filter.
const TAKEN: &str = "{envoy_rbac_prefix=\"wasmcustom\"}";

/// Counters above zero by their names, labels included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Asks the admin port.
    pub(super) fn ask(admin: SocketAddr, patience: Duration) -> Result<Self> {
        let request = client::Request { method: "GET", path: "/stats/prometheus", ..client::Request::default() };
        let page = client::send(admin, &request, patience)?;
        if page.status != 200 {
            bail!("the admin port {admin} answers {} in the place of its counters", page.status);
        }
        Ok(Self::read(&page.text()))
    }

    /// Those of a page; comments, and what is no whole number, are passed over.
    pub(super) fn read(page: &str) -> Self {
        let counters = page.lines().filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            let count = count.parse().ok().filter(|count| *count > 0)?;
            let name = match name.strip_suffix(TAKEN) {
                Some(taken) => taken.trim_start_matches("envoy_"),
                None => name.trim_end_matches("{}"),
            };
            WANTED.iter().any(|wanted| name.starts_with(wanted)).then(|| (name.to_owned(), count))
        });
        Self(counters.collect())
    }

    /// What has come since then.
    pub(super) fn since(&self, before: &Self) -> Self {
        let more = self.0.iter().map(|(name, count)| (name.clone(), count.saturating_sub(before.of(name))));
        Self(more.filter(|(_, count)| *count > 0).collect())
    }

    /// The count of that name.
    pub(super) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The counters of that name with their labels, which tell them apart, and what they count.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let series = self.0.iter().map(|(series, count)| (series.as_str(), *count));
        series.filter(move |(series, _)| series.split('{').next() == Some(name))
    }

    /// One line each; empty if there are none.
    pub(super) fn render(&self, indent: &str) -> String {
        self.0.iter().map(|(name, count)| format!("{indent}{name} {count}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_takes_for_its_own_has_its_name_back() {
        let page =
            "envoy_rbac_allowed{envoy_rbac_prefix=\"wasmcustom\"} 3\nenvoy_rbac_allowed{envoy_rbac_prefix=\"x\"} 1\n";
        assert_eq!(Counters::read(page).render(""), "rbac_allowed 3\n");
    }

    #[test]
    fn a_page_is_read_and_compared() {
        let before = Counters::read("# TYPE rbac_allowed counter\nrbac_allowed{} 2\nrbac_denied{} 0\nenvoy_x{} 7\n");
        assert_eq!(before.render(""), "rbac_allowed 2\n");
        let after = Counters::read("rbac_allowed{} 2\nrbac_denied{} 1\nistio_requests_total{a=\"b c\"} 3\n");
        let since = after.since(&before);
        assert_eq!((since.of("rbac_allowed"), since.of("rbac_denied")), (0, 1));
        assert_eq!(since.render("  "), "  istio_requests_total{a=\"b c\"} 3\n  rbac_denied 1\n");
    }
}

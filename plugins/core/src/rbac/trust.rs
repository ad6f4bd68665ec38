//! Trust domains: which other domains a principal of a policy stands for.

/// The mesh's own trust domain and its aliases, in this order.
#[derive(Debug, Clone)]
pub(super) struct TrustDomains(Vec<String>);

impl TrustDomains {
    /// The domain of the mesh and its aliases; one named twice counts once.
    pub(super) fn new(own: &str, aliases: &[String]) -> Self {
        let mut domains = vec![own.to_owned()];
        for alias in aliases {
            if !domains.contains(alias) {
                domains.push(alias.clone());
            }
        }
        Self(domains)
    }

    /// What a principal such as `old-td/ns/shop/sa/cart` stands for.
    ///
    /// A full id (five parts) of one of the mesh's domains, or of `cluster.local`, which always means the mesh, stands
    /// for the same account in each of its domains. Everything else stands for itself.
    pub(super) fn principals(&self, value: &str) -> Vec<String> {
        let own = || vec![value.to_owned()];
        let Some((domain, account)) = value.split_once('/') else { return own() };
        if domain == "*" || account.split('/').count() != 4 || !(self.knows(domain) || domain == "cluster.local") {
            return own();
        }
        let mut all: Vec<String> = Vec::with_capacity(self.0.len());
        for known in &self.0 {
            let principal = if ends(known, domain) { value.to_owned() } else { format!("{known}/{account}") };
            if !all.contains(&principal) {
                all.push(principal);
            }
        }
        all
    }

    /// What a value of `trustDomains` stands for: one of the mesh's domains stands for all of them.
    pub(super) fn domains(&self, value: &str) -> Vec<String> {
        if self.0.iter().any(|known| known == value) { self.0.clone() } else { vec![value.to_owned()] }
    }

    fn knows(&self, domain: &str) -> bool {
        self.0.iter().any(|known| {
            known == domain
                || known == "*"
                || ends(domain, known)
                || ends(known, domain)
                || begins(domain, known)
                || begins(known, domain)
        })
    }
}

/// Whether a text fits a pattern `*end`.
fn ends(text: &str, pattern: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|end| text.ends_with(end))
}

/// Whether a text fits a pattern `start*`.
fn begins(text: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').is_some_and(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principals(own: &str, aliases: &[&str], value: &str) -> Vec<String> {
        let aliases: Vec<_> = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        TrustDomains::new(own, &aliases).principals(value)
    }

    #[test]
    fn ids_of_the_mesh_are_copied_to_every_domain() {
        let aliases = ["old-td", "cluster.local"];
        assert_eq!(
            principals("td1", &aliases, "old-td/ns/n/sa/a"),
            ["td1/ns/n/sa/a", "old-td/ns/n/sa/a", "cluster.local/ns/n/sa/a"]
        );
        assert_eq!(
            principals("td1", &aliases, "*-td/ns/n/sa/a"),
            ["td1/ns/n/sa/a", "*-td/ns/n/sa/a", "cluster.local/ns/n/sa/a"]
        );
        assert_eq!(principals("td9", &[], "cluster.local/ns/n/sa/a"), ["td9/ns/n/sa/a"]);
    }

    #[test]
    fn others_stand_for_themselves() {
        for value in ["other/ns/n/sa/a", "*/ns/n/sa/a", "td1/ns/n/*", "*", "td1"] {
            assert_eq!(principals("td1", &["old-td"], value), [value]);
        }
    }
}

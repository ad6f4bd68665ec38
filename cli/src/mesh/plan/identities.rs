//! The certificates of a mesh's workloads.

use std::collections::BTreeMap;

use anyhow::Result;
use wasmplugin_proxy::{Authority, Identity};

/// The certificates of a mesh: each workload keeps its own.
#[derive(Debug)]
pub(crate) struct Identities {
    authority: Authority,
    trust_domain: String,
    made: BTreeMap<String, Identity>,
}

impl Identities {
    /// Those of a new authority.
    pub(crate) fn new(trust_domain: &str) -> Result<Self> {
        Ok(Self {
            authority: Authority::new(trust_domain)?,
            trust_domain: trust_domain.to_owned(),
            made: BTreeMap::new(),
        })
    }

    /// The same certificates for the same workloads, in another place; what is new there has another authority.
    pub(crate) fn copied(&self) -> Result<Self> {
        Ok(Self {
            authority: Authority::new(&self.trust_domain)?,
            trust_domain: self.trust_domain.clone(),
            made: self.made.clone(),
        })
    }

    pub(super) fn of(&mut self, spiffe: &str) -> Result<Identity> {
        if let Some(made) = self.made.get(spiffe) {
            return Ok(made.clone());
        }
        let identity = self.authority.identity(spiffe, [])?;
        self.made.insert(spiffe.to_owned(), identity.clone());
        Ok(identity)
    }
}

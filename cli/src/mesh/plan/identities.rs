//! The certificates of a mesh's workloads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Result;
use wasmplugin_proxy::{Authority, Identity};

/// The certificates of a mesh: each workload keeps its own. Clones share them, also those that are made later.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    authority: Rc<Authority>,
    made: Rc<RefCell<BTreeMap<String, Identity>>>,
}

impl Identities {
    /// Those of a new authority.
    pub(crate) fn new(trust_domain: &str) -> Result<Self> {
        Ok(Self { authority: Rc::new(Authority::new(trust_domain)?), made: Rc::default() })
    }

    pub(super) fn of(&self, spiffe: &str) -> Result<Identity> {
        if let Some(made) = self.made.borrow().get(spiffe) {
            return Ok(made.clone());
        }
        let identity = self.authority.identity(spiffe, [])?;
        self.made.borrow_mut().insert(spiffe.to_owned(), identity.clone());
        Ok(identity)
    }
}

//! A listener as one worker knows it: how its clients are served, and through which chain at the moment.

use std::cell::RefCell;
use std::rc::Rc;

use crate::chain::Chain;
use crate::settings;
use crate::tls::ServerTls;

/// A listener as one worker knows it.
pub(crate) struct Listener {
    current: RefCell<Current>,
}

/// What may change while the listener's connections live.
#[derive(Clone)]
pub(crate) struct Current {
    /// The chain; new exchanges take it.
    pub(crate) chain: Rc<Chain>,
    pub(crate) tls: Option<ServerTls>,
}

impl Listener {
    pub(crate) fn new(settings: &settings::Listener, chain: Rc<Chain>) -> Self {
        let current = Current { chain, tls: settings.tls.clone() };
        Self { current: RefCell::new(current) }
    }

    /// The chain for a new exchange.
    pub(crate) fn chain(&self) -> Rc<Chain> {
        Rc::clone(&self.current.borrow().chain)
    }

    /// How a new connection is secured.
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.current.borrow().tls.clone()
    }

    /// Takes another chain for new exchanges; the old one lives as long as it is needed.
    pub(crate) fn change(&self, settings: &settings::Listener, chain: Rc<Chain>) {
        let old = self.current.replace(Current { chain, tls: settings.tls.clone() });
        old.chain.retire();
    }

    /// The same chain, with other certificates perhaps.
    pub(crate) fn renew(&self, settings: &settings::Listener) {
        self.current.borrow_mut().tls.clone_from(&settings.tls);
    }
}

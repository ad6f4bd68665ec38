//! Exchanges that must be reset, as soon as a callback comes that survives it.

use std::cell::RefCell;

use crate::{machinery, reply, runtime, time};

thread_local! {
    static DUE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Has an exchange of a root reset from the next tick.
pub(crate) fn soon(context: u32, root: u32) {
    machinery::resets::used(reset_due);
    DUE.with_borrow_mut(|due| due.push(context));
    if let Err(error) = time::tick_soon(root) {
        log::error!("exchange {context} could not be reset: {error}");
    }
}

fn reset_due() {
    for context in DUE.take() {
        match runtime::focus(context) {
            Ok(()) => reply::reset(),
            Err(error) => log::error!("exchange {context} is lost: {error}"),
        }
    }
}

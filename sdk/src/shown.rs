//! Whether the host shows bodies while their headers are held, which depends on how the operator set the plugin up.
//!
//! Envoy does with `allow_on_headers_stop_iteration: true`. Without it nothing behind held headers comes, and no
//! host call says why; but the host counts what it has received, so that a body that is there and is not shown
//! gives it away.

use std::cell::RefCell;
use std::future::poll_fn;
use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::exchange::Exchange;
use crate::id_map::IdMap;
use crate::stream::Half;
use crate::{machinery, runtime, sys, time};

thread_local! {
    /// What is known of each root.
    static SHOWN: RefCell<IdMap<bool>> = const { RefCell::new(IdMap::new()) };
}

/// When to look whether a body was kept back, each counted from the look before. What has not come then, ten seconds
/// after the headers, is taken for kept back too: there may be no sign of an empty body, nor of a slow one.
const LOOKS: &[u64] = &[2, 8, 40, 150, 300, 500, 1000, 2000, 3000, 3000];

/// Waits until the host shows a body whose headers are held. An error if it never will.
pub(crate) async fn wait(exchange: &Exchange, half: Half) -> Result<()> {
    let root = runtime::root();
    match SHOWN.with_borrow(|shown| shown.get(root).copied()) {
        Some(true) => return Ok(()),
        Some(false) => return Err(ErrorKind::BodyHidden.into()),
        None => {}
    }
    for look in LOOKS {
        let shown = poll_fn(|cx| exchange.poll_shown(half, cx));
        if time::timeout(Duration::from_millis(*look), shown).await.is_some() {
            learn(root, true);
            return Ok(());
        }
        exchange.focus()?;
        if is_kept_back(half) {
            learn(root, false);
            break;
        }
    }
    Err(ErrorKind::BodyHidden.into())
}

/// Forgets a root: its number may come again.
fn forget(root: u32) {
    SHOWN.with_borrow_mut(|shown| shown.remove(root));
}

fn learn(root: u32, shown: bool) {
    machinery::forget_shown::used(forget);
    SHOWN.with_borrow_mut(|known| known.insert(root, shown));
}

/// Whether the host has received of a body what it has not shown.
fn is_kept_back(half: Half) -> bool {
    match half {
        Half::Request => {
            let size =
                |path| sys::property(path).ok().and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
            match (size("request\0total_size"), size("request\0headers_bytes")) {
                (Some(total), Some(headers)) => total > headers,
                _ => false,
            }
        }
        // Known when the upstream's last byte was received.
        Half::Response => sys::property("response\0backend_latency").is_ok_and(|latency| !latency.is_empty()),
    }
}

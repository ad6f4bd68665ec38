//! A value that many can wait for: whoever needs a newer one sleeps until it is there.
//!
//! The value lives in one VM; exchanges and the background task of a plugin reach it through the plugin's fields. What
//! all workers must see is [shared](crate::shared).

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::waiters::Waiters;

/// The latest value of something, for any number of exchanges that read it or wait for its next change.
///
/// ```
/// use std::rc::Rc;
///
/// use wasmplugin::watch::Watch;
/// use wasmplugin::{Cluster, Done, Http, Request, Result};
///
/// struct Keys {
///     keys: Watch<Option<Rc<[u8]>>>,
/// }
///
/// impl Http for Keys {
///     async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
///         let keys = self.keys.wait_for(Option::is_some).await;
///         request.set_header("x-keys", format!("{}", keys.map_or(0, |keys| keys.len())))?;
///         request.pass()
///     }
///
///     async fn background(self: Rc<Self>) -> Result<()> {
///         let answer = Cluster::named("keys")?.get("/keys").send().await?;
///         self.keys.set(Some(answer.into_body().into()));
///         Ok(())
///     }
/// }
/// ```
#[derive(Default)]
pub struct Watch<T> {
    value: RefCell<T>,
    /// How often it was set.
    version: Cell<u64>,
    waiters: Waiters,
}

impl<T> Watch<T> {
    /// Begins with a value.
    pub fn new(value: T) -> Self {
        Self { value: RefCell::new(value), version: Cell::new(0), waiters: Waiters::default() }
    }

    /// Puts a value in the place of the present one, and wakes everybody who waits, whether it differs or not.
    pub fn set(&self, value: T) {
        // Dropped last: its `Drop` may look at this very watch.
        let _earlier = self.value.replace(value);
        self.version.set(self.version.get().wrapping_add(1));
        self.waiters.wake();
    }
}

impl<T: Clone> Watch<T> {
    /// The value as it stands; an `Rc` makes this cheap for large ones.
    #[must_use]
    pub fn get(&self) -> T {
        self.value.borrow().clone()
    }

    /// Waits until a value is set after this call, and gives the latest.
    pub async fn changed(&self) -> T {
        let seen = self.version.get();
        self.waiters.until(|| (self.version.get() != seen).then(|| self.get())).await
    }

    /// Waits until the value is as wanted; ends at once if it is so already.
    ///
    /// A value that was there for a moment only may be missed.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&T) -> bool) -> T {
        self.waiters
            .until(|| {
                // On a copy, so that the condition may do anything.
                let value = self.get();
                wanted(&value).then_some(value)
            })
            .await
    }
}

impl<T: fmt::Debug> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("value", &self.value).finish_non_exhaustive()
    }
}

//! A value that is computed once for everybody who needs it: concurrent exchanges wait for one computation.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::shielded::shielded;
use crate::waiters::Waiters;

/// A value of one VM that the first who needs it has computed.
///
/// The computation is [`shielded`]: when the exchange that began it is cancelled, the others
/// still get their value. When it fails, everybody who waits gets the error, and the next one tries again; there is no
/// pause between tries, so a failure that lasts wants one in the computation.
///
/// ```
/// use std::rc::Rc;
///
/// use wasmplugin::once::Once;
/// use wasmplugin::{Cluster, Done, Http, Request, Result};
///
/// #[derive(Default)]
/// struct Keys {
///     keys: Once<Rc<[u8]>>,
/// }
///
/// impl Http for Keys {
///     async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
///         let keys = self
///             .keys
///             .get_or_try_init(|| async { Ok(Cluster::named("keys")?.get("/keys").send().await?.into_body().into()) })
///             .await?;
///         if keys.is_empty() { Err("there are no keys".into()) } else { request.pass() }
///     }
/// }
/// ```
pub struct Once<T> {
    cell: Rc<Cell<T>>,
}

struct Cell<T> {
    state: RefCell<State<T>>,
    waiters: Waiters,
}

enum State<T> {
    Empty,
    Full(T),
    /// Everybody who waits for this computation looks at its own flight, so a later one cannot be mistaken for it.
    Computing(Rc<Flight<T>>),
}

/// How one computation ended, once it has.
struct Flight<T> {
    outcome: RefCell<Option<Result<T>>>,
}

impl<T: Clone + 'static> Once<T> {
    /// A value that nobody has computed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value, if it is there.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        match &*self.cell.state.borrow() {
            State::Full(value) => Some(value.clone()),
            State::Empty | State::Computing(_) => None,
        }
    }

    /// The value; computed by `init` if it is neither there nor being computed.
    pub async fn get_or_try_init<F>(&self, init: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + 'static,
    {
        let known = match &*self.cell.state.borrow() {
            State::Full(value) => return Ok(value.clone()),
            State::Computing(flight) => Some(Rc::clone(flight)),
            State::Empty => None,
        };
        let flight = known.unwrap_or_else(|| self.begin(init()));
        self.cell.waiters.until(|| flight.outcome.borrow().clone()).await
    }

    /// Forgets the value, so that the next one who needs it has it computed anew. A computation under way goes on, and
    /// who waits for it gets its value, but it is not kept.
    pub fn clear(&self) {
        let _earlier = self.cell.state.replace(State::Empty);
    }

    fn begin(&self, computation: impl Future<Output = Result<T>> + 'static) -> Rc<Flight<T>> {
        let flight = Rc::new(Flight { outcome: RefCell::new(None) });
        let _earlier = self.cell.state.replace(State::Computing(Rc::clone(&flight)));
        let landing = Landing { cell: Rc::clone(&self.cell), flight: Rc::clone(&flight) };
        drop(shielded(async move {
            let outcome = computation.await;
            landing.flight.outcome.replace(Some(outcome));
            // Dropping `landing` hands it out.
        }));
        flight
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { cell: Rc::new(Cell { state: RefCell::new(State::Empty), waiters: Waiters::default() }) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.cell.state.borrow() {
            State::Full(value) => f.debug_tuple("Once").field(value).finish(),
            State::Empty => f.write_str("Once(empty)"),
            State::Computing(_) => f.write_str("Once(being computed)"),
        }
    }
}

/// Hands the outcome of a computation to who waits, however it ended.
struct Landing<T: Clone> {
    cell: Rc<Cell<T>>,
    flight: Rc<Flight<T>>,
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        let value = {
            let mut outcome = self.flight.outcome.borrow_mut();
            let lost = || Err(Error::app("the computation was refused, or ended with its plugin"));
            outcome.get_or_insert_with(lost).as_ref().ok().cloned()
        };
        let current =
            matches!(&*self.cell.state.borrow(), State::Computing(flight) if Rc::ptr_eq(flight, &self.flight));
        if current {
            let _earlier = self.cell.state.replace(value.map_or(State::Empty, State::Full));
        }
        self.cell.waiters.wake();
    }
}

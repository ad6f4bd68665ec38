//! Work beside the exchanges: the background task of a plugin, and plugins that have nothing else.
//!
//! Each instance of a plugin may have a background task: [`Http::background`](crate::Http::background). A proxy with N
//! workers has N + 1 instances that tick (Envoy configures the plugin on its main thread too), so N + 1 background
//! tasks; what only one of them must do is the work of a [`Leader`](crate::shared::Leader), or of a [`Singleton`].
//!
//! It begins with the first tick after a successful configuration, not inside of it: Envoy 1.40 configures every plugin
//! once more in a VM that it throws away, and while it starts it does not know its clusters yet.
//!
//! It ends when it returns `Ok`, or when the proxy drops the plugin (a new configuration, the shutdown): then it is
//! dropped where it waits. An error is logged and it starts again, after a second, then two, four and so on up to a
//! minute; after a run of more than a minute, after a second again.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::Result;
use crate::runtime;
use crate::time::{now, sleep};

/// A plugin that runs once per proxy and sees no exchange: Envoy's `envoy.bootstrap.wasm` with `singleton: true`.
///
/// It shares [state and queues](crate::shared) with the plugins of the same `vm_id`.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// use wasmplugin::background::Singleton;
/// use wasmplugin::shared::Shared;
/// use wasmplugin::{Cluster, Result};
///
/// struct Refresher;
///
/// impl Singleton for Refresher {
///     async fn run(self: Rc<Self>) -> Result<()> {
///         loop {
///             let answer = Cluster::named("keys")?.get("/keys").send().await?;
///             Shared::of("keys").cell("keys").set(&answer.into_body())?;
///             wasmplugin::time::sleep(Duration::from_secs(300)).await;
///         }
///     }
/// }
///
/// wasmplugin::plugin!(Refresher: Singleton);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a singleton yet",
    note = "implement `wasmplugin::background::Singleton` for it"
)]
pub trait Singleton: Sized + 'static {
    /// The work, written as `async fn run(self: Rc<Self>) -> Result<()>`; the [module](self) says when it begins, ends
    /// and starts again.
    fn run(self: Rc<Self>) -> impl Future<Output = Result<()>> + 'static;
}

/// The background task of a plugin that has none; its type is how the dispatcher knows.
pub(crate) struct Idle;

impl Future for Idle {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How long after the configuration the task begins: the least that a host can wait.
const BEGIN: Duration = Duration::from_millis(1);

/// The pause after a first failure, and after many.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Has a root run its plugin's task until it is done; whether there was room for one more task.
pub(crate) fn supervise<P, B>(root: u32, plugin: Rc<P>, run: fn(Rc<P>) -> B) -> bool
where
    P: 'static,
    B: Future<Output = Result<()>> + 'static,
{
    runtime::spawn(root, async move {
        sleep(BEGIN).await;
        let mut pause = FIRST_PAUSE;
        loop {
            let began = now();
            let Err(error) = run(Rc::clone(&plugin)).await else { return };
            if now().saturating_sub(began) >= LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            log::error!("the background task failed and starts again in {} s: {error}", pause.as_secs());
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    })
}

//! Tasks that stay on the worker's thread.

use hyper::rt::Executor;

/// Runs hyper's own tasks on this thread, beside the worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

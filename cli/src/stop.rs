//! The wish to stop: Ctrl-C, or a supervisor's SIGTERM.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the shell is told when somebody could not wait for a graceful end.
const IMPATIENT: i32 = 130;

/// Listens for the wish to stop, which from then on no longer ends the process by itself.
#[derive(Debug)]
pub(crate) struct Stop {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot listen for Ctrl-C")?;
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            let listen = |kind| signal(kind).context("cannot listen for Ctrl-C");
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
        };
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Waits for the wish for at most that long; says whether it came.
    pub(crate) fn within(&mut self, time: Duration) -> bool {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(time) => false,
            }
        })
    }

    /// Lets a second wish end the process at once.
    pub(crate) fn hurry(mut self) {
        std::thread::spawn(move || {
            while !self.within(Duration::from_secs(60)) {}
            std::process::exit(IMPATIENT);
        });
    }
}

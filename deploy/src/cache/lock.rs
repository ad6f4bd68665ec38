//! Locks between tasks, threads and processes: files, which the kernel unlocks when their holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Between two looks at a lock that is taken.
const PATIENCE: Duration = Duration::from_millis(10);

/// A lock, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file unlocks it")] File);

/// Waits for the lock without blocking the thread; whoever drops the future has waited long enough.
pub(super) async fn exclusive(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PATIENCE).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Takes the lock alone, blocking the thread: for what takes no longer than writing a file.
pub(super) fn alone(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    file.lock()?;
    Ok(Lock(file))
}

/// Takes the lock with others who share it, blocking the thread.
pub(super) fn shared(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    file.lock_shared()?;
    Ok(Lock(file))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

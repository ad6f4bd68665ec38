//! The time that plugins see: the real one, or one that a test turns by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time, counted from its own start.
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    System { started: Instant },
    Virtual { elapsed: AtomicU64, epoch: Duration },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// A clock that stands still until [`advance_to`](Self::advance_to); its wall clock starts at `epoch` after 1970.
    #[must_use]
    pub const fn manual(epoch: Duration) -> Self {
        Self(Source::Virtual { elapsed: AtomicU64::new(0), epoch })
    }

    /// Whether the clock stands still by itself.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        matches!(self.0, Source::Virtual { .. })
    }

    /// Time since the clock's start.
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Virtual { elapsed, .. } => Duration::from_nanos(elapsed.load(Ordering::Relaxed)),
        }
    }

    /// Wall-clock time since 1970.
    #[must_use]
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Virtual { epoch, .. } => *epoch + self.now(),
        }
    }

    /// Turns a manual clock forward; the machine's clock turns itself.
    pub fn advance_to(&self, now: Duration) {
        if let Source::Virtual { elapsed, .. } = &self.0 {
            elapsed.fetch_max(nanos(now), Ordering::Relaxed);
        }
    }
}

/// A duration as the ABI carries it.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_only_goes_forward() {
        let clock = Clock::manual(Duration::from_secs(100));
        clock.advance_to(Duration::from_secs(3));
        clock.advance_to(Duration::from_secs(2));
        assert_eq!(clock.now(), Duration::from_secs(3));
        assert_eq!(clock.unix(), Duration::from_secs(103));
    }
}

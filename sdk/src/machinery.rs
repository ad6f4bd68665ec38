//! What callbacks reach only after a plugin has begun to use it; so a module carries what it uses, and nothing else.
//!
//! The host's callbacks are exports, and whatever an export names stays in the module. So the dispatcher does not name
//! timers, callouts, queues, tasks or observers: these put their functions here when they are first used.

use std::cell::Cell;

thread_local! {
    static MACHINERY: Machinery = const { Machinery::new() };
}

macro_rules! machinery {
    ($($(#[$doc:meta])* $part:ident($($argument:ident: $ty:ty),*);)*) => {
        struct Machinery {
            $($part: Cell<Option<fn($($ty),*)>>,)*
        }

        impl Machinery {
            const fn new() -> Self {
                Self { $($part: Cell::new(None),)* }
            }
        }

        $(
            $(#[$doc])*
            pub(crate) mod $part {
                /// Has the callback call this from now on.
                pub(crate) fn used(function: fn($($ty),*)) {
                    super::MACHINERY.with(|machinery| machinery.$part.set(Some(function)));
                }

                /// The callback: does nothing as long as nobody has use for it.
                #[inline]
                pub(crate) fn call($($argument: $ty),*) {
                    if let Some(function) = super::MACHINERY.with(|machinery| machinery.$part.get()) {
                        function($($argument),*);
                    }
                }
            }
        )*
    };
}

machinery! {
    /// A root's tick, before tasks run.
    tick(root: u32);
    /// A root's tick, after tasks have run.
    rearm(root: u32);
    /// Resets that wait for a callback that survives them.
    resets();
    /// The end of an HTTP callout.
    callout_answered(token: u32, headers: u32, body_size: usize);
    /// A piece of a body that no handler works on.
    body_passes(context: u32, body: crate::sys::BufferKind, size: usize);
    /// News of a shared queue.
    queue_ready(root: u32, queue: u32);
    /// The end of a root, for its tasks.
    end_tasks(root: u32);
    /// The end of a root, for its timers.
    forget_timers(root: u32);
    /// The end of a root, for what is known of its bodies.
    forget_shown(root: u32);
}

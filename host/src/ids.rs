//! Where context ids and callout tokens come from.

#[cfg(feature = "native")]
use std::cell::Cell;

#[cfg(feature = "native")]
thread_local! {
    static LAST_CONTEXT: Cell<u32> = const { Cell::new(0) };
    static LAST_TOKEN: Cell<u32> = const { Cell::new(0) };
}

/// Where context ids and callout tokens come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ids {
    /// Each VM counts for itself, as in Envoy.
    Own { context: u32, token: u32 },
    /// All native guests of a thread share the SDK's tables, so their ids differ.
    #[cfg(feature = "native")]
    Thread,
}

impl Ids {
    pub(crate) const fn own() -> Self {
        Self::Own { context: 0, token: 0 }
    }

    pub(crate) fn context(&mut self) -> u32 {
        match self {
            Self::Own { context, .. } => {
                *context += 1;
                *context
            }
            #[cfg(feature = "native")]
            Self::Thread => next_context(),
        }
    }

    /// A token whose lowest two bits are 0, as Envoy's for HTTP callouts.
    pub(crate) fn token(&mut self) -> u32 {
        match self {
            Self::Own { token, .. } => {
                *token += 4;
                *token
            }
            #[cfg(feature = "native")]
            Self::Thread => next_token(),
        }
    }
}

/// A context id that no other native guest of this thread has.
#[cfg(feature = "native")]
fn next_context() -> u32 {
    LAST_CONTEXT.set(LAST_CONTEXT.get() + 1);
    LAST_CONTEXT.get()
}

/// A token for an HTTP callout that no other native guest of this thread has.
#[cfg(feature = "native")]
fn next_token() -> u32 {
    LAST_TOKEN.set(LAST_TOKEN.get() + 4);
    LAST_TOKEN.get()
}

//! Where context ids and callout tokens come from.

#[cfg(feature = "native")]
use std::cell::Cell;

#[cfg(feature = "native")]
thread_local! {
    static LAST_CONTEXT: Cell<u32> = const { Cell::new(0) };
    static LAST_TOKENS: [Cell<u32>; 3] = const { [Cell::new(0), Cell::new(0), Cell::new(0)] };
}

/// Where context ids and callout tokens come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ids {
    /// Each VM counts for itself, as in Envoy.
    Own { context: u32, tokens: [u32; 3] },
    /// All native guests of a thread share the SDK's tables, so their ids differ.
    #[cfg(feature = "native")]
    Thread,
}

impl Ids {
    pub(crate) const fn own() -> Self {
        Self::Own { context: 0, tokens: [0; 3] }
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

    /// The next token of a kind; each kind is counted for itself, as in Envoy.
    pub(crate) fn token(&mut self, kind: TokenKind) -> u32 {
        let count = match self {
            Self::Own { tokens, .. } => {
                let [http, call, stream] = tokens;
                let count = match kind {
                    TokenKind::Http => http,
                    TokenKind::GrpcCall => call,
                    TokenKind::GrpcStream => stream,
                };
                *count += 4;
                *count
            }
            #[cfg(feature = "native")]
            Self::Thread => next_token(kind),
        };
        count + kind as u32
    }
}

/// What a token was given for; its lowest two bits tell, as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Http = 0,
    GrpcCall = 1,
    GrpcStream = 2,
}

impl TokenKind {
    /// The kind of a token; nothing for 0, and for what no token looks like.
    pub(crate) const fn of(token: u32) -> Option<Self> {
        match token & 3 {
            0 if token != 0 => Some(Self::Http),
            1 => Some(Self::GrpcCall),
            2 => Some(Self::GrpcStream),
            _ => None,
        }
    }
}

/// A context id that no other native guest of this thread has.
#[cfg(feature = "native")]
fn next_context() -> u32 {
    LAST_CONTEXT.set(LAST_CONTEXT.get() + 1);
    LAST_CONTEXT.get()
}

/// A count of a kind that no other native guest of this thread has.
#[cfg(feature = "native")]
fn next_token(kind: TokenKind) -> u32 {
    LAST_TOKENS.with(|[http, call, stream]| {
        let last = match kind {
            TokenKind::Http => http,
            TokenKind::GrpcCall => call,
            TokenKind::GrpcStream => stream,
        };
        last.set(last.get() + 4);
        last.get()
    })
}

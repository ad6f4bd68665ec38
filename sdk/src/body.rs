//! What the bodies of both halves share: kept whole up to a limit, or passed on chunk by chunk.

use std::rc::Rc;

use futures_lite::future::poll_fn;

use crate::error::{ErrorKind, Result};
use crate::exchange::{Exchange, Stage};
use crate::head::Trailers;
use crate::shown;
use crate::stream::Half;
use crate::sys;

/// A body that is kept if it is small enough, and passes chunk by chunk otherwise.
///
/// Which of the two suits a body that is too large is the plugin's policy: the error of `into_body` refuses it (with
/// 413, or by a cut where the headers of a response have gone), `TooLarge` lets it pass, looked at or not.
#[derive(Debug)]
pub enum Bounded<W, C> {
    /// The whole body.
    Whole(W),
    /// The body from its first byte, chunk by chunk; `pass` lets it go unseen.
    TooLarge(C),
}

/// A whole body; its last byte, and its headers if they were held, wait for the plugin's decision.
pub(crate) struct Whole {
    pub(crate) exchange: Rc<Exchange>,
    half: Half,
    pub(crate) bytes: Vec<u8>,
}

impl Whole {
    /// Lets the headers move on and waits for the body.
    pub(crate) async fn collect(exchange: Rc<Exchange>, half: Half, limit: usize) -> Result<Self> {
        exchange.open_body(half, Stage::Collecting { limit })?;
        Self::complete(exchange, half, limit).await
    }

    /// As [`collect`](Self::collect), but shows a body over the limit chunk by chunk.
    pub(crate) async fn collect_or_stream(
        exchange: Rc<Exchange>,
        half: Half,
        limit: usize,
    ) -> Result<Bounded<Self, Chunks>> {
        match Self::collect(Rc::clone(&exchange), half, limit).await {
            Ok(whole) => Ok(Bounded::Whole(whole)),
            Err(error) if matches!(error.kind(), ErrorKind::BodyTooLarge { .. }) => {
                exchange.stream_kept(half);
                Ok(Bounded::TooLarge(Chunks { exchange, half, taken: 0, out: Vec::new() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the body while the headers are held.
    pub(crate) async fn hold(exchange: Rc<Exchange>, half: Half, limit: usize) -> Result<Self> {
        if !exchange.half(half).is_bodiless() {
            shown::wait(&exchange, half).await?;
        }
        Self::complete(exchange, half, limit).await
    }

    async fn complete(exchange: Rc<Exchange>, half: Half, limit: usize) -> Result<Self> {
        poll_fn(|cx| exchange.poll_whole(half, limit, cx)).await?;
        let mut bytes = Vec::new();
        if !exchange.half(half).is_bodiless() {
            exchange.focus()?;
            bytes = sys::buffer_bytes(half.body(), 0, usize::MAX)?;
        }
        Ok(Self { exchange, half, bytes })
    }

    pub(crate) fn replace(&mut self, bytes: Vec<u8>) -> Result<()> {
        if self.exchange.half(self.half).is_bodiless() {
            return Err(ErrorKind::NoBody.into());
        }
        self.exchange.focus()?;
        sys::set_buffer_bytes(self.half.body(), 0, usize::MAX, &bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    pub(crate) fn trailers(&self) -> Option<Trailers> {
        self.exchange.half(self.half).has_trailers().then(|| Trailers::new(self.exchange.id(), self.half.trailers()))
    }
}

/// A body that passes chunk by chunk.
pub(crate) struct Chunks {
    pub(crate) exchange: Rc<Exchange>,
    half: Half,
    /// How many bytes of the host's window the plugin has seen, and what takes their place.
    pub(crate) taken: usize,
    pub(crate) out: Vec<u8>,
}

impl Chunks {
    pub(crate) fn open(exchange: Rc<Exchange>, half: Half) -> Result<Self> {
        exchange.open_body(half, Stage::Streaming)?;
        Ok(Self { exchange, half, taken: 0, out: Vec::new() })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Self { exchange, half, taken, out } = self;
        poll_fn(|cx| exchange.poll_chunk(*half, taken, out, cx)).await
    }

    pub(crate) fn finish(mut self) -> Result<Rc<Exchange>> {
        self.exchange.hand_on(self.half, &mut self.taken, &mut self.out)?;
        Ok(self.exchange)
    }

    pub(crate) fn trailers(&self) -> Option<Trailers> {
        self.exchange.half(self.half).has_trailers().then(|| Trailers::new(self.exchange.id(), self.half.trailers()))
    }
}

/// What reads a whole body.
macro_rules! whole_methods {
    () => {
        /// The body's bytes.
        #[must_use]
        pub fn bytes(&self) -> &[u8] {
            &self.whole.bytes
        }

        /// Reads the body as JSON.
        #[cfg(feature = "json")]
        pub fn json<T: serde::de::DeserializeOwned>(&self) -> $crate::error::Result<T> {
            Ok(serde_json::from_slice(&self.whole.bytes)?)
        }

        /// The trailers, if the message has some.
        #[must_use]
        pub fn trailers(&self) -> Option<$crate::head::Trailers> {
            self.whole.trailers()
        }
    };
}

/// What changes a whole body whose headers have gone.
macro_rules! replace_methods {
    () => {
        /// Puts other bytes in its place. A message that came without a body cannot be given one.
        pub fn replace(&mut self, bytes: impl Into<Vec<u8>>) -> $crate::error::Result<()> {
            self.whole.replace(bytes.into())
        }

        /// Puts a value in its place, as JSON.
        #[cfg(feature = "json")]
        pub fn replace_json(&mut self, value: &impl serde::Serialize) -> $crate::error::Result<()> {
            self.whole.replace(serde_json::to_vec(value)?)
        }
    };
}

/// What changes a whole body whose headers are held.
macro_rules! held_methods {
    () => {
        /// Puts other bytes in its place and corrects `content-length` if there is one. A message that came without
        /// a body cannot be given one.
        pub fn replace(&mut self, bytes: impl Into<Vec<u8>>) -> $crate::error::Result<()> {
            self.whole.replace(bytes.into())?;
            if self.head.headers()?.contains("content-length") {
                let len = self.whole.bytes.len().to_string();
                self.head.set_header("content-length", len)?;
            }
            Ok(())
        }

        /// Puts a value in its place, as JSON.
        #[cfg(feature = "json")]
        pub fn replace_json(&mut self, value: &impl serde::Serialize) -> $crate::error::Result<()> {
            self.replace(serde_json::to_vec(value)?)
        }
    };
}

macro_rules! deref_to_head {
    ($($ty:ident: $head:ident;)*) => {$(
        impl std::ops::Deref for $ty {
            type Target = $head;

            fn deref(&self) -> &$head {
                &self.head
            }
        }

        impl std::ops::DerefMut for $ty {
            fn deref_mut(&mut self) -> &mut $head {
                &mut self.head
            }
        }
    )*};
}

macro_rules! chunk_methods {
    () => {
        /// The next bytes, as the network brought them; `None` at the end.
        ///
        /// What is sent before the following call takes their place; nothing sent means that they are left out.
        /// While the plugin waits for something else, the host keeps what arrives, up to its buffer limit
        /// (`per_connection_buffer_limit_bytes`, 1 MiB in Envoy by default). A peer further ahead of the plugin than
        /// that ends the exchange: with 413 for a request, with a cut for a response.
        pub async fn next(&mut self) -> $crate::error::Result<Option<Vec<u8>>> {
            self.chunks.next().await
        }

        /// Sends bytes on, in the place of those that were read.
        pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
            self.chunks.out.extend_from_slice(bytes.as_ref());
        }

        /// The trailers, if the message has some; they are known once [`next`](Self::next) has answered `None`.
        #[must_use]
        pub fn trailers(&self) -> Option<$crate::head::Trailers> {
            self.chunks.trailers()
        }
    };
}

macro_rules! debug_as_size {
    ($($ty:ident: |$this:ident| $len:expr;)*) => {$(
        impl std::fmt::Debug for $ty {
            /// The size only: bodies may be secret, and long.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($ty)).field("bytes", &$len).finish_non_exhaustive()
            }
        }
    )*};
}

pub(crate) use {chunk_methods, debug_as_size, deref_to_head, held_methods, replace_methods, whole_methods};

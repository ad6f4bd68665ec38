//! Counting gRPC messages in the bytes that pass.

/// Where a body stands between its messages: each is a flag, its length in four bytes, and so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    messages: u64,
    /// The bytes of a message's head that came, and how many of the five these are.
    head: [u8; 5],
    head_len: usize,
    /// The bytes of the message that are still to come.
    rest: u64,
}

/// How many bytes are looked at at once.
const WINDOW: usize = 1024;

impl Frames {
    /// The messages that have begun.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Goes on over a piece of that many bytes, of which `read` shows those from a place on, at most so many; `None`
    /// where they cannot be read, which ends the piece.
    pub fn pass(&mut self, size: usize, mut read: impl FnMut(usize, usize, &mut dyn FnMut(&[u8])) -> bool) {
        let mut at = 0;
        while at < size {
            let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(size - at);
            self.rest -= skipped as u64;
            at += skipped;
            if at >= size {
                return;
            }
            let mut taken = 0;
            let shown = read(at, WINDOW.min(size - at), &mut |bytes| taken = self.look(bytes));
            if !shown || taken == 0 {
                return;
            }
            at += taken;
        }
    }

    /// Reads heads and skips messages as far as the bytes go; says how many were used.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.rest > 0 {
                let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.rest -= skipped as u64;
                at += skipped;
                continue;
            }
            if let Some(slot) = self.head.get_mut(self.head_len) {
                *slot = *byte;
            }
            self.head_len += 1;
            at += 1;
            if let ([_, length @ ..], 5..) = (self.head, self.head_len) {
                self.messages += 1;
                self.rest = u32::from_be_bytes(length).into();
                self.head_len = 0;
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(lengths: &[usize]) -> Vec<u8> {
        lengths
            .iter()
            .flat_map(|length| [&[0][..], &(*length as u32).to_be_bytes(), &vec![7; *length]].concat())
            .collect()
    }

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..3_000, 0..20),
            cuts in prop::collection::vec(1_usize..2_000, 1..20),
        ) {
            let body = body(&lengths);
            let mut frames = Frames::default();
            let mut rest = body.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                frames.pass(piece.len(), |at, max, show| {
                    show(&piece[at..(at + max).min(piece.len())]);
                    true
                });
                rest = after;
            }
            prop_assert_eq!(frames.messages(), lengths.len() as u64);
        }

        #[test]
        fn no_bytes_break_it(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut frames = Frames::default();
            for piece in &pieces {
                frames.pass(piece.len(), |at, max, show| {
                    show(&piece[at..(at + max).min(piece.len())]);
                    true
                });
            }
            prop_assert!(frames.messages() as usize <= pieces.iter().map(Vec::len).sum::<usize>() / 5);
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_piece() {
        let mut frames = Frames::default();
        frames.pass(100, |_, _, _| false);
        frames.pass(100, |_, _, show| {
            show(&[]);
            true
        });
        assert_eq!(frames.messages(), 0);
    }
}

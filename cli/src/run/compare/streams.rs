//! What two proxies send over one connection each: the same bytes, whatever their pieces, and the same end.

/// Bytes that are shown of what differs.
const EXCERPT: usize = 80;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Embedded,
    Envoy,
}

/// How a proxy has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Closed,
    Reset,
}

/// Both sides; what they have in common is counted and forgotten.
#[derive(Debug, Default)]
pub(super) struct Streams {
    common: u64,
    embedded: One,
    envoy: One,
}

/// What only one side has sent so far.
#[derive(Debug, Default)]
struct One {
    more: Vec<u8>,
    ending: Option<Ending>,
}

impl Streams {
    fn one(&mut self, side: Side) -> &mut One {
        match side {
            Side::Embedded => &mut self.embedded,
            Side::Envoy => &mut self.envoy,
        }
    }

    /// Bytes have come.
    pub(super) fn came(&mut self, side: Side, bytes: &[u8]) {
        if self.have_parted() {
            // The first difference is told; there is no end to the rest.
            return;
        }
        self.one(side).more.extend_from_slice(bytes);
        let (mine, theirs) = (&mut self.embedded.more, &mut self.envoy.more);
        let common = mine.iter().zip(theirs.iter()).take_while(|(one, other)| one == other).count();
        mine.drain(..common);
        theirs.drain(..common);
        self.common += common as u64;
    }

    /// No more will come.
    pub(super) fn ended(&mut self, side: Side, ending: Ending) {
        self.one(side).ending = Some(ending);
    }

    /// How that side has ended.
    pub(super) fn ending(&self, side: Side) -> Option<Ending> {
        match side {
            Side::Embedded => self.embedded.ending,
            Side::Envoy => self.envoy.ending,
        }
    }

    /// How many bytes a side is ahead, as long as there is no difference.
    pub(super) fn lead(&mut self, side: Side) -> usize {
        if self.have_parted() { 0 } else { self.one(side).more.len() }
    }

    fn have_parted(&self) -> bool {
        !self.embedded.more.is_empty() && !self.envoy.more.is_empty()
    }

    /// What differs, for people.
    pub(super) fn differences(&self) -> Vec<String> {
        let (mine, theirs) = (&self.embedded, &self.envoy);
        let mut found = Vec::new();
        if !mine.more.is_empty() || !theirs.more.is_empty() {
            let [mine, theirs] = [mine, theirs].map(One::goes_on);
            found.push(format!("bytes, from {} on: embedded {mine}; envoy {theirs}", self.common));
        }
        if mine.ending != theirs.ending {
            let [mine, theirs] = [mine, theirs].map(One::ends);
            found.push(format!("end: embedded {mine}, envoy {theirs}"));
        }
        found
    }
}

impl One {
    fn goes_on(&self) -> String {
        if self.more.is_empty() {
            return "has no more".to_owned();
        }
        let excerpt: Vec<u8> = self.more.iter().take(EXCERPT).copied().collect();
        format!("goes on with `{}`", String::from_utf8_lossy(&excerpt).escape_debug())
    }

    fn ends(&self) -> &'static str {
        match self.ending {
            None => "is still open",
            Some(Ending::Closed) => "has closed",
            Some(Ending::Reset) => "has reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_no_difference() {
        let mut streams = Streams::default();
        streams.came(Side::Embedded, b"hel");
        assert_eq!((streams.lead(Side::Embedded), streams.lead(Side::Envoy)), (3, 0));
        assert_eq!(streams.differences(), ["bytes, from 0 on: embedded goes on with `hel`; envoy has no more"]);
        for byte in b"hello" {
            streams.came(Side::Envoy, &[*byte]);
        }
        streams.came(Side::Embedded, b"lo");
        streams.ended(Side::Embedded, Ending::Closed);
        assert_eq!(streams.differences(), ["end: embedded has closed, envoy is still open"]);
        streams.ended(Side::Envoy, Ending::Closed);
        assert_eq!(streams.differences(), [""; 0]);
        assert_eq!(streams.common, 5);
    }

    #[test]
    fn the_first_difference_is_told() {
        let mut streams = Streams::default();
        streams.came(Side::Embedded, b"hello");
        streams.came(Side::Envoy, b"help\n");
        streams.came(Side::Envoy, b"and more");
        streams.ended(Side::Embedded, Ending::Reset);
        streams.ended(Side::Envoy, Ending::Closed);
        let expected = [
            "bytes, from 3 on: embedded goes on with `lo`; envoy goes on with `p\\n`",
            "end: embedded has reset, envoy has closed",
        ];
        assert_eq!(streams.differences(), expected);
        assert_eq!(streams.lead(Side::Envoy), 0);
    }
}

//! The types that attributes have, read from the host's bytes without loss and without trust.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::headers::Headers;

/// A type that an attribute can have.
pub trait Value: Sized {
    /// What it is, in an error: `a whole number`.
    const WHAT: &'static str;

    /// Reads it from the host's bytes; `None` where they are not of this type.
    fn decode(bytes: Vec<u8>) -> Option<Self>;
}

/// The bytes as they are.
impl Value for Vec<u8> {
    const WHAT: &'static str = "bytes";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

impl Value for String {
    const WHAT: &'static str = "a text in UTF-8";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Self::from_utf8(bytes).ok()
    }
}

impl Value for u64 {
    const WHAT: &'static str = "a whole number of 8 bytes";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl Value for i64 {
    const WHAT: &'static str = "a whole number of 8 bytes";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// Every number in metadata is one of these.
impl Value for f64 {
    const WHAT: &'static str = "a number of 8 bytes";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl Value for bool {
    const WHAT: &'static str = "a flag of 1 byte";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        match *bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

/// Nanoseconds; Envoy has no negative ones.
impl Value for Duration {
    const WHAT: &'static str = "a duration in nanoseconds";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(Self::from_nanos(i64::decode(bytes)?.try_into().ok()?))
    }
}

/// A moment, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same as the standard library has it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_nanos(self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }
}

impl Value for Timestamp {
    const WHAT: &'static str = "a moment in nanoseconds";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        i64::decode(bytes).map(Self)
    }
}

/// The address of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address of IP version 4 or 6 with its port; 0 where Envoy has it from a header.
    Ip(SocketAddr),
    /// A Unix socket, or a listener inside of the proxy (`envoy://..`), as Envoy writes it.
    Other(String),
}

impl Address {
    /// The IP address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Value for Address {
    const WHAT: &'static str = "an address in UTF-8";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let text = String::decode(bytes)?;
        Some(text.parse().map_or_else(|_| Self::Other(text), Self::Ip))
    }
}

/// A map or a list, whose values have no type of their own: who reads them knows what they are.
///
/// A list comes as the names of a map, so two equal items of it look like one name twice.
#[derive(Debug)]
pub struct Map(Headers);

impl Map {
    /// The value of a name, if it is there and of that type.
    #[must_use]
    pub fn get<T: Value>(&self, name: &str) -> Option<T> {
        let (_, value) = self.0.iter().find(|(known, _)| known.as_bytes() == name.as_bytes())?;
        T::decode(value.as_bytes().to_vec())
    }

    /// All names with their values, in the host's order, which means nothing for a map.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value for Map {
    const WHAT: &'static str = "a map or a list";

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Headers::decode(bytes).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_of_three_kinds() {
        let read = |text: &str| Address::decode(text.into()).unwrap();
        assert_eq!(read("10.0.0.1:80").ip(), Some([10, 0, 0, 1].into()));
        assert_eq!(read("[fd00::3]:0").ip(), Some("fd00::3".parse().unwrap()));
        for other in ["/run/envoy.sock", "envoy://internal/1", "@abstract", ""] {
            assert_eq!(read(other), Address::Other(other.to_owned()));
            assert_eq!(read(other).to_string(), other);
        }
    }

    #[test]
    fn bytes_of_another_length_are_of_another_type() {
        for length in [0, 1, 7, 9, 16] {
            let bytes = vec![1; length];
            assert_eq!(u64::decode(bytes.clone()), None);
            assert_eq!(i64::decode(bytes.clone()), None);
            assert_eq!(f64::decode(bytes.clone()), None);
            assert_eq!(Timestamp::decode(bytes.clone()), None);
            assert_eq!(bool::decode(bytes), (length == 1).then_some(true));
        }
        assert_eq!(bool::decode(vec![2]), None);
        assert_eq!(Duration::decode((-1_i64).to_le_bytes().into()), None);
        assert_eq!(String::decode(vec![0xff]), None);
    }

    #[test]
    fn a_moment_before_1970_is_one() {
        let before = Timestamp(-1).to_system_time().unwrap();
        assert!(before < SystemTime::UNIX_EPOCH);
    }

    proptest! {
        #[test]
        fn numbers_lose_nothing(number: i64) {
            prop_assert_eq!(i64::decode(number.to_le_bytes().into()), Some(number));
            prop_assert_eq!(u64::decode(number.to_le_bytes().into()), Some(number.cast_unsigned()));
            let nanos = u64::try_from(number).ok().map(Duration::from_nanos);
            prop_assert_eq!(Duration::decode(number.to_le_bytes().into()), nanos);
        }

        #[test]
        fn every_ip_address_is_read(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(Address::decode(address.to_string().into()), Some(Address::Ip(address)));
        }

        #[test]
        fn no_bytes_break_a_map(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Map::decode(bytes);
        }
    }
}

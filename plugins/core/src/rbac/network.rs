//! Blocks of IP addresses, as in `ipBlocks`.

use std::net::IpAddr;

/// A CIDR block; bits beyond its length are masked away, as Envoy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    /// Whether it is a block of IPv4; blocks of one family hold no address of the other.
    pub(super) v4: bool,
    /// How many leading bits count, at most 32 or 128.
    pub(super) length: u8,
    /// The leading bits, at the upper end of the number.
    pub(super) bits: u128,
}

impl Network {
    /// Reads an address or a block, such as `10.0.0.0/8`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(decimal(length)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(most);
        (length <= most).then(|| Self::holding(address, length))
    }

    /// The block of this length that an address lies in.
    pub(super) fn holding(address: IpAddr, length: u8) -> Self {
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(length))).unwrap_or(0);
        Self { v4: address.is_ipv4(), length, bits: bits & mask }
    }

    /// Whether an address lies in the block.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        *self == Self::holding(address, self.length) && self.v4 == address.is_ipv4()
    }
}

/// A number without sign and without leading zeros, as Go and Envoy read the length of a block.
fn decimal(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(block: &str, address: &str) -> bool {
        Network::parse(block).unwrap().holds(address.parse().unwrap())
    }

    #[test]
    fn blocks_hold_their_addresses() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3/8", "10.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1") && !holds("::/0", "1.2.3.4"));
        assert!(holds("2001:db8::/32", "2001:db8:1::5") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(holds("1.2.3.4", "1.2.3.4") && !holds("1.2.3.4", "1.2.3.5"));
        assert!(!holds("1.2.3.4/32", "::ffff:1.2.3.4"));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in
            ["", "a", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "::/129", "1.2.3.4/+8", "1.2.3.4/08", "01.2.3.4", "::1%eth0"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}

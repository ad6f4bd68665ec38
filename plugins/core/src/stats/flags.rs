//! Envoy's response flags, as access logs and labels write them.

use std::fmt::Write as _;

/// The short names by bit; those from `DO` on are younger than the last Wasm version of Istio's `stats`.
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH",
    "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
];

/// The names of the bits that are set, joined by commas, or `-`. Bits without a name add the whole number at the end.
#[must_use]
pub fn text(flags: u64) -> String {
    if flags == 0 {
        return "-".to_owned();
    }
    let mut text = String::new();
    for (bit, name) in NAMES.iter().enumerate() {
        if flags & 1 << bit != 0 {
            push(&mut text, name);
        }
    }
    if flags >> NAMES.len() != 0 {
        push(&mut text, "");
        // Writing to a string cannot fail.
        let _ = write!(text, "{flags}");
    }
    text
}

fn push(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_named_in_their_order() {
        for (flags, expected) in [
            (0, "-"),
            (1, "LH"),
            (1 << 1 | 1 << 15, "UH,URX"),
            (0x1000_0000, "DR"),
            (1 << 27 | 1 << 29, "DO,UDO"),
            (1 << 30, "1073741824"),
            (1 << 2 | 1 << 40, "UT,1099511627780"),
        ] {
            assert_eq!(text(flags), expected);
        }
    }
}

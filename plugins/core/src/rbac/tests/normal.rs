//! What a proxy does to a path before its filters see it, for cases that say how their path was sent.

/// Normalises a path as Istio's `pathNormalization` says; none if the proxy refuses it.
pub(super) fn normalised(path: &str, mode: &str) -> Option<Vec<u8>> {
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut text = path.as_bytes().to_vec();
    if text.contains(&0) || path.to_ascii_lowercase().contains("%00") {
        return None;
    }
    if mode.starts_with("DECODE") {
        text = decoded(&text, |byte| matches!(byte, b'/' | b'\\'));
    }
    if mode != "NONE" {
        text = decoded(&text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        text.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        text = without_dots(&text);
        text = text
            .iter()
            .flat_map(|byte| if unsafe_byte(*byte) { format!("%{byte:02X}").into_bytes() } else { vec![*byte] })
            .collect();
    }
    if mode.contains("MERGE") {
        text.dedup_by(|a, b| (*a, *b) == (b'/', b'/'));
    }
    text.extend_from_slice(query.as_bytes());
    Some(text)
}

fn unsafe_byte(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || b"\"<>^`{|}".contains(&byte)
}

fn decoded(text: &[u8], which: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        let escape = (*first == b'%').then(|| more.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|byte| which(*byte)) {
            Some(byte) => {
                out.push(byte);
                rest = &more[2..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

/// Removes dot segments; from Envoy 1.40 on also those with parameters.
fn without_dots(text: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = text.split(|byte| *byte == b'/').skip(1).collect();
    for (place, segment) in segments.iter().enumerate() {
        let last = place + 1 == segments.len();
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b"." | b".." => {
                if name == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect()
}

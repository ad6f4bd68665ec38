//! Which trace a request belongs to, as its headers say, for the callouts that it causes.

use crate::headers::{HeaderValue, Headers};

/// The most that the lines of `tracestate` may have together; W3C Trace Context asks to carry at least 512.
const STATE_LIMIT: usize = 8 * 1024;

/// Whether a header has a form that its peer can read.
type IsRight = fn(&[u8]) -> bool;

/// The headers of B3 in its several-lines form, with what each may be.
const B3: [(&str, IsRight); 5] = [
    ("x-b3-traceid", |value| matches!(value.len(), 16 | 32) && is_id(value)),
    ("x-b3-spanid", |value| value.len() == 16 && is_id(value)),
    ("x-b3-parentspanid", |value| value.len() == 16 && is_id(value)),
    ("x-b3-sampled", |value| matches!(value, b"0" | b"1" | b"true" | b"false" | b"d")),
    ("x-b3-flags", |value| matches!(value, b"0" | b"1")),
];

/// The lines that say which trace a request belongs to, as far as they are well-formed.
///
/// W3C Trace Context (`traceparent`, and `tracestate` only beside it) and B3 (`b3`, `x-b3-*`); a name with two lines
/// is as good as none, except for `tracestate`, where that is allowed.
pub(crate) fn lines(headers: &Headers) -> Vec<(&'static str, Vec<u8>)> {
    let mut lines = Vec::new();
    if let Some(parent) = only(headers, "traceparent").filter(|value| is_traceparent(value)) {
        lines.push(("traceparent", parent.to_vec()));
        let states: Vec<&[u8]> = headers.get_all("tracestate").map(HeaderValue::as_bytes).collect();
        let state = states.join(&b","[..]);
        if !state.is_empty() && state.len() <= STATE_LIMIT && state.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            lines.push(("tracestate", state));
        }
    }
    if let Some(b3) = only(headers, "b3").filter(|value| is_b3(value)) {
        lines.push(("b3", b3.to_vec()));
    }
    if B3.iter().all(|(name, right)| !headers.contains(name) || only(headers, name).is_some_and(right)) {
        lines.extend(B3.iter().filter_map(|(name, _)| Some((*name, only(headers, name)?.to_vec()))));
    }
    lines
}

fn only<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    headers.sole(name).ok().flatten().map(HeaderValue::as_bytes)
}

/// `version-trace-parent-flags`, in lower case, as W3C Trace Context §3.2 has it; later versions may say more.
fn is_traceparent(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let lower = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    version.len() == 2
        && lower(version)
        && version != b"ff"
        && (version != b"00" || parts.next().is_none())
        && trace.len() == 32
        && lower(trace)
        && is_id(trace)
        && parent.len() == 16
        && lower(parent)
        && is_id(parent)
        && flags.len() == 2
        && lower(flags)
}

/// `trace-span[-sampled[-parent]]`, or the decision alone.
fn is_b3(value: &[u8]) -> bool {
    let sampled = |part: &[u8]| matches!(part, b"0" | b"1" | b"d");
    let mut parts = value.split(|byte| *byte == b'-');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(decision), None, ..) => sampled(decision),
        (Some(trace), Some(span), decision, parent, None) => {
            matches!(trace.len(), 16 | 32)
                && is_id(trace)
                && span.len() == 16
                && is_id(span)
                && decision.is_none_or(sampled)
                && parent.is_none_or(|parent| parent.len() == 16 && is_id(parent))
        }
        _ => false,
    }
}

/// Hexadecimal digits that are not all zero.
fn is_id(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_hexdigit) && value.iter().any(|byte| *byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn carried(given: &[(&str, &str)]) -> Vec<String> {
        let lines = super::lines(&Headers::of(given));
        lines.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect()
    }

    #[test]
    fn a_good_context_is_carried() {
        assert_eq!(
            carried(&[("traceparent", PARENT), ("tracestate", "a=1"), ("x", "y"), ("tracestate", "b=2")]),
            [format!("traceparent={PARENT}"), "tracestate=a=1,b=2".to_owned()]
        );
        assert_eq!(carried(&[("b3", "0")]), ["b3=0"]);
        let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90";
        assert_eq!(carried(&[("b3", b3)]), [format!("b3={b3}")]);
        assert_eq!(
            carried(&[
                ("x-b3-sampled", "1"),
                ("x-b3-traceid", "463ac35c9f6413ad"),
                ("x-b3-spanid", "a2fb4a1d1a96d312")
            ]),
            ["x-b3-traceid=463ac35c9f6413ad", "x-b3-spanid=a2fb4a1d1a96d312", "x-b3-sampled=1"]
        );
    }

    #[test]
    fn a_bad_one_is_not() {
        let zero = "0".repeat(32);
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            &format!("00-{zero}-b7ad6b7169203331-01"),
        ] {
            assert!(carried(&[("traceparent", bad), ("tracestate", "a=1")]).is_empty(), "{bad}");
        }
        assert!(carried(&[("traceparent", PARENT), ("traceparent", PARENT)]).is_empty());
        assert!(carried(&[("tracestate", "a=1")]).is_empty());
        assert!(carried(&[("b3", "2")]).is_empty());
        assert!(carried(&[("b3", "xyz-e457b5a2e4d86bd1")]).is_empty());
        assert!(carried(&[("x-b3-traceid", "nonsense"), ("x-b3-sampled", "1")]).is_empty());
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(carried(&[("traceparent", later)]), [format!("traceparent={later}")]);
    }
}

//! Many attributes in one call: an expression in CEL that lists them, evaluated by the host.
//!
//! Reading attributes one by one costs more than half of what a request may cost. Where the host has no CEL they are
//! read so all the same, into the same form.

use std::fmt::Write as _;

use wasmplugin::cel::Expression;
use wasmplugin::observer::Stream;

/// What is on a sheet, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    /// Nanoseconds; negative where it is not known.
    Duration,
    RequestSize,
    ResponseSize,
    Direction,
    Code,
    Flags,
    /// Negative where there is none.
    GrpcStatus,
    Route,
    Cluster,
    Host,
    LocalPrincipal,
    PeerPrincipal,
}

/// How many items there are.
const ITEMS: usize = 12;

/// The first items differ from stream to stream; the bytes from here on are the same for streams of the same labels.
const FIRST_OF_LABELS: usize = 3;

/// Bytes in front of the items: their number, and two lengths for each.
const HEADER: usize = 4 + 8 * ITEMS;

/// Bytes of a number with the two that end it.
const NUMBER: usize = 10;

/// One item: the attributes that may tell it, the first that is there counts, and what stands where none is.
#[derive(Debug, Clone, Copy)]
struct Row {
    paths: &'static [&'static str],
    absent: Absent,
}

#[derive(Debug, Clone, Copy)]
enum Absent {
    Number(i64),
    Text,
}

impl Row {
    const fn number(paths: &'static [&'static str], absent: i64) -> Self {
        Self { paths, absent: Absent::Number(absent) }
    }

    const fn text(paths: &'static [&'static str]) -> Self {
        Self { paths, absent: Absent::Text }
    }
}

/// What a sheet is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) is_tcp: bool,
    /// Whether the principals are those of the connection to the client.
    pub(crate) is_inbound: bool,
    pub(crate) has_host: bool,
}

/// A list of attributes.
#[derive(Debug)]
pub(crate) struct Sheet {
    rows: [Row; ITEMS],
    expression: Option<Expression>,
}

impl Sheet {
    pub(crate) fn new(subject: Subject) -> Self {
        let rows = rows(subject);
        let expression = Expression::parse(&expression(&rows));
        if let Err(error) = &expression {
            log::info!("attributes are read one by one: {error}");
        }
        Self { rows, expression: expression.ok() }
    }

    /// Fills in the sheet for a stream; whether that was possible.
    pub(crate) fn read(&self, stream: Stream, out: &mut Vec<u8>) -> bool {
        if let Some(expression) = &self.expression
            && expression.evaluate_into(&stream, out).is_ok()
            && Filled(out).is_whole()
        {
            return true;
        }
        self.read_one_by_one(stream, out)
    }

    /// A stream has at least flags.
    fn read_one_by_one(&self, stream: Stream, out: &mut Vec<u8>) -> bool {
        let mut value = Vec::new();
        if !stream.property_into("response\0flags", &mut value) {
            return false;
        }
        let mut values = Vec::new();
        out.clear();
        out.extend_from_slice(&(ITEMS as u32).to_le_bytes());
        for row in &self.rows {
            // A row may have no path, and then nobody clears what the row before has left.
            value.clear();
            let _is_there = row.paths.iter().any(|path| stream.property_into(path, &mut value));
            if let Absent::Number(number) = row.absent
                && value.len() != size_of_val(&number)
            {
                value.clear();
                value.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(&0_u32.to_le_bytes());
            values.extend_from_slice(&value);
            values.extend_from_slice(&[0, 0]);
        }
        out.extend_from_slice(&values);
        Filled(out).is_whole()
    }
}

fn rows(subject: Subject) -> [Row; ITEMS] {
    let http = |row: Row| if subject.is_tcp { Row { paths: &[], ..row } } else { row };
    let host = Row { paths: if subject.has_host { &["request\0host"] } else { &[] }, absent: Absent::Text };
    let (local, peer): (&[&str], &[&str]) = if subject.is_inbound {
        (
            &["filter_state\0io.istio.local_principal", "connection\0uri_san_local_certificate"],
            &["filter_state\0io.istio.peer_principal", "connection\0uri_san_peer_certificate"],
        )
    } else {
        (&["upstream\0uri_san_local_certificate"], &["upstream\0uri_san_peer_certificate"])
    };
    [
        http(Row::number(&["request\0duration"], -1)),
        Row::number(&["request\0total_size"], 0),
        Row::number(&["response\0total_size"], 0),
        Row::number(&["xds\0listener_direction", "listener_direction"], 0),
        http(Row::number(&["response\0code"], 0)),
        Row::number(&["response\0flags"], 0),
        http(Row::number(&["response\0grpc_status"], -1)),
        http(Row::text(&["xds\0route_name"])),
        Row::text(&["xds\0cluster_name"]),
        http(host),
        Row::text(local),
        Row::text(peer),
    ]
}

/// The rows as a list in CEL: `[has(a.b) ? a.b : '', ..]`.
fn expression(rows: &[Row]) -> String {
    let mut text = String::from("[");
    for row in rows {
        if text.len() > 1 {
            text.push(',');
        }
        for path in row.paths {
            // Names before Envoy 1.33 are for hosts without CEL alone: those with it have the newer ones as well.
            let Some((root, field)) = path.split_once('\0') else { continue };
            // Writing to a string cannot fail.
            let _ = match root {
                "filter_state" => write!(text, "'{field}' in filter_state ? filter_state['{field}'] : "),
                _ => write!(text, "has({root}.{field}) ? {root}.{field} : "),
            };
        }
        let _ = match row.absent {
            Absent::Number(number) => write!(text, "{number}"),
            Absent::Text => write!(text, "''"),
        };
    }
    text.push(']');
    text
}

/// A sheet that was filled in: a list, in the encoding of the ABI.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled<'a>(pub(crate) &'a [u8]);

impl<'a> Filled<'a> {
    fn is_whole(self) -> bool {
        let count = self.0.first_chunk().map(|count| u32::from_le_bytes(*count) as usize);
        let mut first = pairs(self.0).take(FIRST_OF_LABELS);
        count == Some(ITEMS)
            && pairs(self.0).count() == ITEMS
            && first.all(|(value, rest)| value.len() + rest.len() + 2 == NUMBER)
    }

    pub(crate) fn bytes(self, item: Item) -> &'a [u8] {
        pairs(self.0).nth(item as usize).map(|(value, _)| value).unwrap_or_default()
    }

    pub(crate) fn text(self, item: Item) -> &'a str {
        std::str::from_utf8(self.bytes(item)).unwrap_or_default()
    }

    pub(crate) fn number(self, item: Item) -> i64 {
        self.bytes(item).try_into().map(i64::from_le_bytes).unwrap_or_default()
    }

    /// The two parts that are the same for streams of the same labels.
    pub(crate) fn label_bytes(self) -> [&'a [u8]; 2] {
        [self.0.get(..HEADER).unwrap_or_default(), self.0.get(HEADER + FIRST_OF_LABELS * NUMBER..).unwrap_or_default()]
    }
}

/// The pairs of a map, or the items of a list each with nothing; it ends where the bytes do not fit.
pub(crate) fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let count = number(0).unwrap_or_default();
    let mut at = count.saturating_mul(8).saturating_add(4);
    (0..count).map_while(move |place| {
        let lengths = 4 + place * 8;
        let end_of_name = at.checked_add(number(lengths)?)?;
        let name = bytes.get(at..end_of_name)?;
        let end_of_value = end_of_name.checked_add(1)?.checked_add(number(lengths + 4)?)?;
        let value = bytes.get(end_of_name + 1..end_of_value)?;
        at = end_of_value + 1;
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTBOUND: Subject = Subject { is_tcp: false, is_inbound: false, has_host: true };

    #[test]
    fn an_expression_lists_what_may_be_absent() {
        let text = expression(&rows(OUTBOUND));
        assert!(text.starts_with("[has(request.duration) ? request.duration : -1,has(request.total_size)"), "{text}");
        assert!(text.contains("has(xds.listener_direction) ? xds.listener_direction : 0,"), "{text}");
        assert!(text.ends_with("has(upstream.uri_san_peer_certificate) ? upstream.uri_san_peer_certificate : '']"));
        let inbound = expression(&rows(Subject { is_tcp: true, is_inbound: true, has_host: false }));
        assert!(inbound.starts_with("[-1,"), "{inbound}");
        assert!(
            inbound
                .contains("'io.istio.peer_principal' in filter_state ? filter_state['io.istio.peer_principal'] : has(")
        );
    }

    #[test]
    fn bytes_that_do_not_fit_end_the_pairs() {
        assert_eq!(pairs(b"").count(), 0);
        assert_eq!(pairs(&[255; 12]).count(), 0);
        let mut one = vec![1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        one.extend_from_slice(b"a\0bc\0");
        assert_eq!(pairs(&one).collect::<Vec<_>>(), [(&b"a"[..], &b"bc"[..])]);
        one[8] = 200;
        assert_eq!(pairs(&one).count(), 0);
        assert!(!Filled(&one).is_whole());
    }
}

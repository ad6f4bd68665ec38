//! Many attributes in one call: an expression in CEL that lists them, evaluated by the host.
//!
//! Reading attributes one by one costs more than half of what a request may cost. An expression is the dearer the more it
//! asks, so the first one takes for granted what a stream that ran its course has; where that fails the second asks for
//! everything. Where the host has no CEL attributes are read one by one all the same, into the same form.

use std::fmt::Write as _;

use istio_core::stats::facts::Protocol;
use istio_core::wire::PREFACE_BYTES;
use wasmplugin::cel::Expression;
use wasmplugin::observer::Stream;

use crate::reading::{ENDPOINT, GRPC_STATS};

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
    /// What the control plane says of the endpoint's workload; of gRPC alone, others mostly do without.
    Endpoint,
    /// What others have counted of both directions: the messages of gRPC, or bytes of TCP that are not the peers'.
    Counted,
}

/// How many items there are.
const ITEMS: usize = 14;

/// The first items differ from stream to stream, and the last; those between are the same for streams of the same labels.
const FIRST_OF_LABELS: usize = 3;
const END_OF_LABELS: usize = Item::Counted as usize;

/// Bytes of an item's two lengths, which stand with those of the others in front of all items.
const LENGTHS: usize = 8;

/// Bytes in front of the items: their number, and their lengths.
const HEADER: usize = 4 + LENGTHS * ITEMS;

/// Bytes of a number with the two that end it.
const NUMBER: usize = 10;

/// One item: the attributes that may tell it, the first that is there counts, and what stands where none is.
#[derive(Debug, Clone, Copy)]
struct Row {
    paths: &'static [&'static str],
    absent: Absent,
    /// Whether a stream that ran its course has it, so that it need not be asked for.
    is_sure: bool,
}

#[derive(Debug, Clone, Copy)]
enum Absent {
    Number(i64),
    Text,
}

impl Row {
    const fn number(paths: &'static [&'static str], absent: i64) -> Self {
        Self { paths, absent: Absent::Number(absent), is_sure: false }
    }

    const fn text(paths: &'static [&'static str]) -> Self {
        Self { paths, absent: Absent::Text, is_sure: false }
    }

    const fn sure(self) -> Self {
        Self { is_sure: true, ..self }
    }
}

/// What a sheet is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) protocol: Protocol,
    /// Whether the principals are those of the connection to the client.
    pub(crate) is_inbound: bool,
    pub(crate) has_host: bool,
}

/// A list of attributes.
#[derive(Debug)]
pub(crate) struct Sheet {
    rows: [Row; ITEMS],
    /// What is evaluated, in this order, until one succeeds.
    expressions: Vec<Expression>,
}

impl Sheet {
    pub(crate) fn new(subject: Subject) -> Self {
        let rows = rows(subject);
        let expressions: Result<Vec<_>, _> =
            [true, false].into_iter().map(|trusts| Expression::parse(&expression(&rows, trusts))).collect();
        if let Err(error) = &expressions {
            log::info!("attributes are read one by one: {error}");
        }
        Self { rows, expressions: expressions.unwrap_or_default() }
    }

    /// Fills in the sheet for a stream; whether that was possible.
    pub(crate) fn read(&self, stream: Stream, out: &mut Filled) -> bool {
        let mut evaluate =
            |expression: &Expression| expression.evaluate_into(&stream, &mut out.bytes).is_ok() && out.find_items();
        self.expressions.iter().any(&mut evaluate) || (self.read_one_by_one(stream, &mut out.bytes) && out.find_items())
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
        true
    }
}

fn rows(subject: Subject) -> [Row; ITEMS] {
    let only = |is_wanted: bool, row: Row| if is_wanted { row } else { Row { paths: &[], ..row } };
    let (is_http, is_grpc) = (subject.protocol != Protocol::Tcp, subject.protocol == Protocol::Grpc);
    let counted: &[&str] = match (subject.protocol, subject.is_inbound) {
        (Protocol::Grpc, _) => &[GRPC_STATS],
        // Outbound the sizes are those of the application's connection, to which no proxy adds anything.
        (Protocol::Tcp, true) => &[PREFACE_BYTES],
        (Protocol::Http, _) | (Protocol::Tcp, false) => &[],
    };
    let (local, peer): (&[&str], &[&str]) = if subject.is_inbound {
        (
            &["filter_state\0io.istio.local_principal", "connection\0uri_san_local_certificate"],
            &["filter_state\0io.istio.peer_principal", "connection\0uri_san_peer_certificate"],
        )
    } else {
        (&["upstream\0uri_san_local_certificate"], &["upstream\0uri_san_peer_certificate"])
    };
    [
        only(is_http, Row::number(&["request\0duration"], -1).sure()),
        Row::number(&["request\0total_size"], 0).sure(),
        Row::number(&["response\0total_size"], 0).sure(),
        Row::number(&["xds\0listener_direction", "listener_direction"], 0).sure(),
        only(is_http, Row::number(&["response\0code"], 0).sure()),
        Row::number(&["response\0flags"], 0).sure(),
        only(is_grpc, Row::number(&["response\0grpc_status"], -1)),
        only(is_http, Row::text(&["xds\0route_name"]).sure()),
        Row::text(&["xds\0cluster_name"]),
        only(is_http && subject.has_host, Row::text(&["request\0host"]).sure()),
        Row::text(local),
        Row::text(peer),
        only(is_grpc && !subject.is_inbound, Row::text(&[ENDPOINT])),
        Row::text(counted),
    ]
}

/// The rows as a list in CEL: `[has(a.b) ? a.b : '', ..]`, or without the question what may be trusted to be there.
fn expression(rows: &[Row], trusts: bool) -> String {
    let mut text = String::from("[");
    for row in rows {
        if text.len() > 1 {
            text.push(',');
        }
        let mut places = row.paths.iter().filter_map(|path| in_cel(path)).peekable();
        if let Some((_, value)) = places.next_if(|_| trusts && row.is_sure) {
            text.push_str(&value);
            continue;
        }
        for (condition, value) in places {
            // Writing to a string cannot fail.
            let _ = write!(text, "{condition} ? {value} : ");
        }
        let _ = match row.absent {
            Absent::Number(number) => write!(text, "{number}"),
            Absent::Text => write!(text, "''"),
        };
    }
    text.push(']');
    text
}

/// An attribute in CEL: whether it is there, and itself.
fn in_cel(path: &str) -> Option<(String, String)> {
    let segments: Vec<_> = path.split('\0').collect();
    Some(match *segments {
        // A name before Envoy 1.33, for hosts without CEL alone: those with it have the newer one as well.
        ["listener_direction"] => return None,
        ["filter_state", object] => (format!("'{object}' in filter_state"), format!("filter_state['{object}']")),
        // What plugins leave is in there under a name of Envoy's.
        [object] => (format!("'wasm.{object}' in filter_state"), format!("filter_state['wasm.{object}']")),
        [root, field] => (format!("has({root}.{field})"), format!("{root}.{field}")),
        [root, message, "filter_metadata", namespace, field] => {
            let metadata = format!("{root}.{message}.filter_metadata");
            let field = format!("{metadata}['{namespace}'].{field}");
            (format!("has({root}.{message}) && '{namespace}' in {metadata} && has({field})"), field)
        }
        _ => return None,
    })
}

/// A sheet that was filled in: a list, in the encoding of the ABI, and where each item lies in it.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    bytes: Vec<u8>,
    /// Where the items end, each two bytes before the next one begins.
    ends: [usize; ITEMS],
}

impl Filled {
    /// Finds the items; whether all are there, with numbers in front.
    fn find_items(&mut self) -> bool {
        let Some((count, lengths)) = self.bytes.split_first_chunk() else { return false };
        let (lengths, _) = lengths.as_chunks::<LENGTHS>();
        if u32::from_le_bytes(*count) as usize != ITEMS || lengths.len() < ITEMS {
            return false;
        }
        let mut at = HEADER;
        for (end, [a, b, c, d, nothing @ ..]) in self.ends.iter_mut().zip(lengths) {
            *end = at.saturating_add(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
            at = end.saturating_add(2);
            if *nothing != [0; 4] || at > self.bytes.len() {
                return false;
            }
        }
        self.ends.get(FIRST_OF_LABELS - 1) == Some(&(HEADER + FIRST_OF_LABELS * NUMBER - 2))
    }

    pub(crate) fn bytes(&self, item: Item) -> &[u8] {
        self.bytes.get(self.start(item as usize)..self.end(item as usize)).unwrap_or_default()
    }

    pub(crate) fn text(&self, item: Item) -> &str {
        std::str::from_utf8(self.bytes(item)).unwrap_or_default()
    }

    pub(crate) fn number(&self, item: Item) -> i64 {
        self.bytes(item).try_into().map(i64::from_le_bytes).unwrap_or_default()
    }

    /// The two parts that are the same for streams of the same labels: lengths, and values.
    pub(crate) fn label_bytes(&self) -> [&[u8]; 2] {
        let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
        let lengths = |item| 4 + item * LENGTHS;
        [
            part(lengths(FIRST_OF_LABELS), lengths(END_OF_LABELS)),
            part(self.start(FIRST_OF_LABELS), self.start(END_OF_LABELS)),
        ]
    }

    fn start(&self, item: usize) -> usize {
        item.checked_sub(1).map_or(HEADER, |before| self.end(before).saturating_add(2))
    }

    fn end(&self, item: usize) -> usize {
        self.ends.get(item).copied().unwrap_or_default()
    }
}

/// The pairs of a map; it ends where the bytes do not fit.
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

    fn subject(protocol: Protocol, is_inbound: bool, has_host: bool) -> Subject {
        Subject { protocol, is_inbound, has_host }
    }

    #[test]
    fn an_expression_lists_what_may_be_absent() {
        let text = expression(&rows(subject(Protocol::Http, false, true)), false);
        assert!(text.starts_with("[has(request.duration) ? request.duration : -1,has(request.total_size)"), "{text}");
        assert!(text.contains("has(xds.listener_direction) ? xds.listener_direction : 0,"), "{text}");
        assert!(
            text.ends_with("has(upstream.uri_san_peer_certificate) ? upstream.uri_san_peer_certificate : '','','']")
        );
        let inbound = expression(&rows(subject(Protocol::Tcp, true, false)), false);
        assert!(inbound.starts_with("[-1,"), "{inbound}");
        assert!(
            inbound
                .contains("'io.istio.peer_principal' in filter_state ? filter_state['io.istio.peer_principal'] : has(")
        );
        let preface = "'wasm.peer_preface_bytes' in filter_state ? filter_state['wasm.peer_preface_bytes'] : '']";
        assert!(inbound.ends_with(preface), "{inbound}");
        let call = expression(&rows(subject(Protocol::Grpc, false, false)), false);
        let metadata = "xds.upstream_host_metadata.filter_metadata";
        let endpoint = format!(
            "has(xds.upstream_host_metadata) && 'istio' in {metadata} && has({metadata}['istio'].workload) \
            ? {metadata}['istio'].workload : '','envoy.filters.http.grpc_stats' in filter_state ?"
        );
        assert!(call.contains(&endpoint), "{call}");
    }

    #[test]
    fn an_expression_that_trusts_asks_only_for_what_is_often_absent() {
        let text = expression(&rows(subject(Protocol::Http, true, true)), true);
        assert!(text.starts_with("[request.duration,request.total_size,response.total_size,xds.listener_direction,"));
        assert!(text.contains(",xds.route_name,has(xds.cluster_name) ? xds.cluster_name : '',request.host,"), "{text}");
        assert!(expression(&rows(subject(Protocol::Tcp, true, true)), true).starts_with("[-1,request.total_size,"));
    }

    /// A list of these items; the numbers in front are the amount, unless said otherwise.
    fn filled(amount: u64, texts: &[(Item, &str)]) -> Filled {
        let mut items: Vec<Vec<u8>> = vec![Vec::new(); ITEMS];
        items[..FIRST_OF_LABELS].fill(amount.to_le_bytes().to_vec());
        for (item, text) in texts {
            items[*item as usize] = (*text).into();
        }
        let lengths = items.iter().flat_map(|item| [item.len() as u32, 0]).flat_map(u32::to_le_bytes);
        let values = items.iter().flat_map(|item| item.iter().copied().chain([0, 0]));
        let bytes = (ITEMS as u32).to_le_bytes().into_iter().chain(lengths).chain(values).collect();
        Filled { bytes, ..Filled::default() }
    }

    #[test]
    fn what_others_count_is_no_label() {
        let labels = |amount, route, counted| {
            let mut filled = filled(amount, &[(Item::Route, route), (Item::Counted, counted)]);
            assert!(filled.find_items());
            assert_eq!((filled.text(Item::Route), filled.text(Item::Counted)), (route, counted));
            assert_eq!(filled.number(Item::ResponseSize), i64::try_from(amount).unwrap());
            filled.label_bytes().map(<[u8]>::to_vec)
        };
        assert_eq!(labels(1, "a", "3,13"), labels(2, "a", "30,131"));
        assert_eq!(labels(1, "a", ""), labels(2, "a", "0,1"));
        assert_ne!(labels(1, "a", "3,13"), labels(1, "b", "3,13"));
        assert_ne!(labels(1, "a", ""), labels(1, "aa", ""));
    }

    #[test]
    fn a_list_that_is_not_whole_is_no_sheet() {
        let whole = filled(1, &[(Item::Counted, "3,13")]).bytes;
        assert!(Filled { bytes: whole.clone(), ..Filled::default() }.find_items());
        for len in 0..whole.len() {
            assert!(!Filled { bytes: whole[..len].to_vec(), ..Filled::default() }.find_items(), "{len} bytes");
        }
        for (at, byte) in [(0, 13), (0, 15), (4, 7), (8, 1), (4 + LENGTHS * END_OF_LABELS, 255)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(!Filled { bytes, ..Filled::default() }.find_items(), "byte {at}");
        }
        assert!(!filled(1, &[(Item::Duration, "not a number")]).find_items());
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
    }
}

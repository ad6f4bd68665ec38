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

/// Bytes of a number.
const NUMBER: usize = 8;

impl Item {
    /// What a number is that nobody tells.
    const fn unknown(self) -> i64 {
        match self {
            Self::Duration | Self::GrpcStatus => -1,
            _ => 0,
        }
    }
}

/// One item: the attributes that may tell it, of which the first that is there counts, and what stands where none is. Without
/// attributes it is not asked for at all.
#[derive(Debug, Clone, Copy)]
struct Row {
    item: Item,
    paths: &'static [&'static str],
    is_number: bool,
    /// Whether a stream that ran its course has it, so that it need not be asked for.
    is_sure: bool,
}

impl Row {
    const fn number(item: Item, paths: &'static [&'static str]) -> Self {
        Self { item, paths, is_number: true, is_sure: false }
    }

    const fn text(item: Item, paths: &'static [&'static str]) -> Self {
        Self { item, paths, is_number: false, is_sure: false }
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
    /// What is asked for, in the order of the items.
    rows: Vec<Row>,
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
        let mut evaluate = |expression: &Expression| {
            expression.evaluate_into(&stream, &mut out.bytes).is_ok() && out.find_items(&self.rows)
        };
        self.expressions.iter().any(&mut evaluate)
            || (self.read_one_by_one(stream, &mut out.bytes) && out.find_items(&self.rows))
    }

    /// A stream has at least flags.
    fn read_one_by_one(&self, stream: Stream, out: &mut Vec<u8>) -> bool {
        let mut value = Vec::new();
        if !stream.property_into("response\0flags", &mut value) {
            return false;
        }
        let mut values = Vec::new();
        out.clear();
        out.extend_from_slice(&u32::try_from(self.rows.len()).unwrap_or(u32::MAX).to_le_bytes());
        for row in &self.rows {
            let _is_there = row.paths.iter().any(|path| stream.property_into(path, &mut value));
            if row.is_number && value.len() != NUMBER {
                value.clear();
                value.extend_from_slice(&row.item.unknown().to_le_bytes());
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

fn rows(subject: Subject) -> Vec<Row> {
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
    let all: [Row; ITEMS] = [
        only(is_http, Row::number(Item::Duration, &["request\0duration"]).sure()),
        Row::number(Item::RequestSize, &["request\0total_size"]).sure(),
        Row::number(Item::ResponseSize, &["response\0total_size"]).sure(),
        Row::number(Item::Direction, &["xds\0listener_direction", "listener_direction"]).sure(),
        only(is_http, Row::number(Item::Code, &["response\0code"]).sure()),
        Row::number(Item::Flags, &["response\0flags"]).sure(),
        only(is_grpc, Row::number(Item::GrpcStatus, &["response\0grpc_status"])),
        only(is_http, Row::text(Item::Route, &["xds\0route_name"]).sure()),
        Row::text(Item::Cluster, &["xds\0cluster_name"]),
        only(is_http && subject.has_host, Row::text(Item::Host, &["request\0host"]).sure()),
        Row::text(Item::LocalPrincipal, local),
        Row::text(Item::PeerPrincipal, peer),
        only(is_grpc && !subject.is_inbound, Row::text(Item::Endpoint, &[ENDPOINT])),
        Row::text(Item::Counted, counted),
    ];
    all.into_iter().filter(|row| !row.paths.is_empty()).collect()
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
        let _ = match row.is_number {
            true => write!(text, "{}", row.item.unknown()),
            false => write!(text, "''"),
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
    /// Where each item begins and ends; nothing at 0 for those that are not asked for.
    spans: [(usize, usize); ITEMS],
    /// The places in the list, from one to before the other, of what is the same for streams of the same labels.
    labels: (usize, usize),
}

impl Filled {
    /// Finds the items of these rows; whether all are there, the numbers as such.
    fn find_items(&mut self, rows: &[Row]) -> bool {
        (self.spans, self.labels) = Default::default();
        let Some((count, lengths)) = self.bytes.split_first_chunk() else { return false };
        let (lengths, _) = lengths.as_chunks::<LENGTHS>();
        if u32::from_le_bytes(*count) as usize != rows.len() || lengths.len() < rows.len() {
            return false;
        }
        let mut at = header(rows.len());
        for (row, [a, b, c, d, nothing @ ..]) in rows.iter().zip(lengths) {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let end = at.saturating_add(length);
            if *nothing != [0; 4] || end.saturating_add(2) > self.bytes.len() || (row.is_number && length != NUMBER) {
                return false;
            }
            if let Some(span) = self.spans.get_mut(row.item as usize) {
                *span = (at, end);
            }
            at = end + 2;
            self.labels.0 += usize::from((row.item as usize) < FIRST_OF_LABELS);
            self.labels.1 += usize::from((row.item as usize) < END_OF_LABELS);
        }
        true
    }

    pub(crate) fn bytes(&self, item: Item) -> &[u8] {
        let (start, end) = self.span(item as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    pub(crate) fn text(&self, item: Item) -> &str {
        std::str::from_utf8(self.bytes(item)).unwrap_or_default()
    }

    pub(crate) fn number(&self, item: Item) -> i64 {
        self.bytes(item).try_into().map_or(item.unknown(), i64::from_le_bytes)
    }

    /// The two parts that are the same for streams of the same labels: lengths, and values.
    pub(crate) fn label_bytes(&self) -> [&[u8]; 2] {
        let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
        let lengths = |place| 4 + place * LENGTHS;
        let (first, end) = self.labels;
        let labels = self.spans.get(FIRST_OF_LABELS..END_OF_LABELS).unwrap_or_default();
        let is_asked = |(start, _): &&(usize, usize)| *start > 0;
        let start = labels.iter().find(is_asked).map_or(0, |(start, _)| *start);
        let stop = labels.iter().rfind(is_asked).map_or(0, |(_, stop)| *stop);
        [part(lengths(first), lengths(end)), part(start, stop)]
    }

    fn span(&self, item: usize) -> (usize, usize) {
        self.spans.get(item).copied().unwrap_or_default()
    }
}

/// Bytes in front of so many items: their number, and their lengths.
const fn header(items: usize) -> usize {
    4 + LENGTHS * items
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
        assert!(text.ends_with("has(upstream.uri_san_peer_certificate) ? upstream.uri_san_peer_certificate : '']"));
        let inbound = expression(&rows(subject(Protocol::Tcp, true, false)), false);
        assert!(inbound.starts_with("[has(request.total_size)"), "{inbound}");
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
        assert!(expression(&rows(subject(Protocol::Tcp, true, true)), true).starts_with("[request.total_size,"));
    }

    /// All items, of which no other subject has more.
    fn everything() -> Vec<Row> {
        rows(subject(Protocol::Grpc, false, true))
    }

    /// A list of these items; the numbers that are no labels are the amount, unless said otherwise.
    fn filled(amount: u64, texts: &[(Item, &str)]) -> Filled {
        let mut items: Vec<Vec<u8>> = vec![Vec::new(); ITEMS];
        for row in everything().iter().filter(|row| row.is_number) {
            let is_amount = (row.item as usize) < FIRST_OF_LABELS;
            items[row.item as usize] = (if is_amount { amount } else { 0 }).to_le_bytes().to_vec();
        }
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
            assert!(filled.find_items(&everything()));
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
    fn what_is_not_asked_for_is_unknown() {
        let rows = rows(subject(Protocol::Tcp, true, false));
        assert_eq!(rows.first().map(|row| row.item), Some(Item::RequestSize));
        let values: Vec<_> =
            rows.iter().map(|row| if row.is_number { vec![7, 0, 0, 0, 0, 0, 0, 0] } else { b"x".to_vec() }).collect();
        let lengths = values.iter().flat_map(|value| [value.len() as u32, 0]).flat_map(u32::to_le_bytes);
        let bytes = (rows.len() as u32).to_le_bytes().into_iter().chain(lengths);
        let bytes = bytes.chain(values.iter().flat_map(|value| value.iter().copied().chain([0, 0]))).collect();
        let mut filled = Filled { bytes, ..Filled::default() };
        assert!(filled.find_items(&rows));
        assert_eq!((filled.number(Item::Duration), filled.number(Item::Code), filled.text(Item::Host)), (-1, 0, ""));
        assert_eq!((filled.number(Item::ResponseSize), filled.text(Item::Counted)), (7, "x"));
        let [lengths, values] = filled.label_bytes();
        // The direction, the flags, the cluster and two principals.
        assert_eq!(
            (lengths.len(), values),
            (5 * LENGTHS, &b"\x07\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0x\0\0x\0\0x"[..])
        );
    }

    #[test]
    fn a_list_that_is_not_whole_is_no_sheet() {
        let whole = filled(1, &[(Item::Counted, "3,13")]).bytes;
        assert!(Filled { bytes: whole.clone(), ..Filled::default() }.find_items(&everything()));
        for len in 0..whole.len() {
            assert!(
                !Filled { bytes: whole[..len].to_vec(), ..Filled::default() }.find_items(&everything()),
                "{len} bytes"
            );
        }
        for (at, byte) in [(0, 13), (0, 15), (4, 7), (8, 1), (4 + LENGTHS * END_OF_LABELS, 255)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(!Filled { bytes, ..Filled::default() }.find_items(&everything()), "byte {at}");
        }
        assert!(!filled(1, &[(Item::Duration, "not a number")]).find_items(&everything()));
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

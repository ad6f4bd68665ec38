//! `expr_create`, `expr_evaluate` and `expr_delete`: expressions in CEL over the attributes of an exchange.
//!
//! The interpreter is a library's; which attributes there are, and when, is for [`VmState::property`] to say, so an
//! expression sees what `proxy_get_property` would answer.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, Program, Value};

use super::Outcome;
use crate::abi::Status;
use crate::expressions::Parsed;
use crate::pairs;
use crate::vm::VmState;

/// The standard functions, made once.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Parses an expression; its token is four bytes, as the guest sees them.
pub(super) fn create(state: &mut VmState, text: &[u8]) -> Outcome {
    let text = std::str::from_utf8(text).map_err(|_| Status::BadArgument)?;
    let program = Program::compile(text).map_err(|_| Status::BadArgument)?;
    let known = program.references().functions().iter().all(|name| is_known(name));
    let vm = state.running.vm;
    let expressions = &mut state.vms.get_mut(vm).ok_or(Status::InternalFailure)?.expressions;
    let token = expressions.next;
    // A token is taken even when a function turns out to be unknown, as in Envoy.
    expressions.next = token.wrapping_add(1);
    if !known {
        return Err(Status::BadArgument);
    }
    expressions.parsed.insert(token, Parsed { program, bare_root: ROOTS.contains(&text.trim()) });
    Ok(token.to_le_bytes().to_vec())
}

/// Evaluates an expression on the exchange that the guest acts on.
pub(super) fn evaluate(state: &VmState, token: &[u8]) -> Outcome {
    let expressions = &state.vms.get(state.running.vm).ok_or(Status::InternalFailure)?.expressions;
    let parsed = expressions.parsed.get(&number(token)?).ok_or(Status::NotFound)?;
    if parsed.bare_root {
        return Err(Status::SerializationFailure);
    }
    let attributes = Attributes(state);
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.set_variable_resolver(&attributes);
    let value = parsed.program.execute(&context).map_err(|_| Status::InternalFailure)?;
    let mut bytes = Vec::new();
    encode(&value, &mut bytes)?;
    Ok(bytes)
}

/// Forgets an expression; one that is not there is no error.
pub(super) fn delete(state: &mut VmState, token: &[u8]) -> Outcome {
    let token = number(token)?;
    let vm = state.running.vm;
    state.vms.get_mut(vm).ok_or(Status::InternalFailure)?.expressions.parsed.remove(&token);
    Ok(Vec::new())
}

fn number(token: &[u8]) -> Result<u32, Status> {
    token.try_into().map(u32::from_le_bytes).map_err(|_| Status::BadArgument)
}

/// Whether Envoy's interpreter has this function; operators and the expansions of macros have no letter first.
fn is_known(name: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "bool",
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "in",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
    ];
    !name.starts_with(|first: char| first.is_ascii_alphabetic()) || FUNCTIONS.contains(&name)
}

/// How an attribute's bytes are to be read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bytes,
    Signed,
    Unsigned,
    Flag,
    Time,
    Span,
    Map,
}

/// The attributes that an expression can name, by their whole path. What is not here is a text.
const KINDS: &[(&str, Kind)] = &[
    ("connection.id", Kind::Unsigned),
    ("connection.mtls", Kind::Flag),
    ("connection_id", Kind::Unsigned),
    ("destination.port", Kind::Signed),
    ("request.duration", Kind::Span),
    ("request.headers", Kind::Map),
    ("request.headers_bytes", Kind::Signed),
    ("request.size", Kind::Signed),
    ("request.time", Kind::Time),
    ("request.total_size", Kind::Signed),
    ("response.backend_latency", Kind::Span),
    ("response.code", Kind::Signed),
    ("response.flags", Kind::Signed),
    ("response.grpc_status", Kind::Signed),
    ("response.headers", Kind::Map),
    ("response.size", Kind::Signed),
    ("response.total_size", Kind::Signed),
    ("response.trailers", Kind::Map),
    ("source.port", Kind::Signed),
    ("upstream.num_endpoints", Kind::Unsigned),
    ("upstream.port", Kind::Signed),
    ("upstream.request_attempt_count", Kind::Signed),
    ("xds.listener_direction", Kind::Signed),
];

/// The texts, for expressions that ask whether an attribute is there at all.
const TEXTS: &[&str] = &[
    "connection.dns_san_local_certificate",
    "connection.dns_san_peer_certificate",
    "connection.requested_server_name",
    "connection.sha256_peer_certificate_digest",
    "connection.subject_local_certificate",
    "connection.subject_peer_certificate",
    "connection.tls_version",
    "connection.uri_san_local_certificate",
    "connection.uri_san_peer_certificate",
    "destination.address",
    "request.host",
    "request.id",
    "request.method",
    "request.path",
    "request.protocol",
    "request.query",
    "request.referer",
    "request.scheme",
    "request.url_path",
    "request.useragent",
    "response.code_details",
    "source.address",
    "upstream.address",
    "upstream.dns_san_local_certificate",
    "upstream.dns_san_peer_certificate",
    "upstream.local_address",
    "upstream.sha256_peer_certificate_digest",
    "upstream.subject_local_certificate",
    "upstream.subject_peer_certificate",
    "upstream.tls_version",
    "upstream.transport_failure_reason",
    "upstream.uri_san_local_certificate",
    "upstream.uri_san_peer_certificate",
    "xds.cluster_name",
    "xds.filter_chain_name",
    "xds.route_name",
    "xds.virtual_host_name",
];

/// The messages with metadata, for the same.
const METADATA: &[&str] = &[
    "xds.cluster_metadata",
    "xds.listener_metadata",
    "xds.route_metadata",
    "xds.upstream_host_metadata",
    "xds.virtual_host_metadata",
];

/// Roots that are maps of attributes, and have no value of their own.
const ROOTS: &[&str] =
    &["connection", "destination", "filter_state", "request", "response", "source", "upstream", "xds"];

/// The attributes of the exchange that the guest acts on, looked up when an expression names them.
struct Attributes<'a>(&'a VmState);

impl VariableResolver for Attributes<'_> {
    /// The interpreter asks for `request.path` before `request`, so that only what is named is looked up.
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let value = match self.attribute(name) {
            Some(value) => value,
            None if name == "filter_state" => self.filter_state(),
            None if ROOTS.contains(&name) => self.root(name),
            None => return None,
        };
        value.try_into().ok().map(CowVal::Owned)
    }
}

impl Attributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value> {
        if let Some((fields, path)) = self.0.fields(name) {
            let mut names = path.split('.').filter(|name| !name.is_empty());
            return names.try_fold(&fields, |value, name| value.get(name)).map(of_json);
        }
        let kind = KINDS.iter().find(|(known, _)| *known == name).map_or(Kind::Text, |(_, kind)| *kind);
        let mut bytes = Vec::new();
        self.0.property(name.replace('.', "\0").as_bytes(), &mut bytes).ok()?;
        decode(kind, &bytes)
    }

    /// What plugins have stored, by its name in Envoy.
    fn filter_state(&self) -> Value {
        let Ok(stored) = self.0.filter_state() else { return Value::from(HashMap::<String, Value>::new()) };
        let value = |name: &[u8], bytes: &[u8]| match stored.fields(name) {
            Some(fields) => of_json(&serde_json::Value::Object(fields)),
            None => Value::Bytes(Arc::new(bytes.to_vec())),
        };
        let named =
            stored.objects().map(|(name, bytes)| (String::from_utf8_lossy(name).into_owned(), value(name, bytes)));
        Value::from(named.collect::<HashMap<_, _>>())
    }

    fn root(&self, root: &str) -> Value {
        let names = KINDS.iter().map(|(name, _)| *name).chain(TEXTS.iter().copied());
        let fields = names.filter_map(|name| {
            let (have, field) = name.split_once('.')?;
            Some((field.to_owned(), self.attribute(name).filter(|_| have == root)?))
        });
        let messages = METADATA.iter().filter_map(|name| {
            let (_, field) = name.split_once('.').filter(|(have, _)| *have == root)?;
            let (metadata, _) = self.0.fields(&format!("{name}.filter_metadata"))?;
            Some((field.to_owned(), Value::from(HashMap::from([("filter_metadata".to_owned(), of_json(&metadata))]))))
        });
        Value::from(fields.chain(messages).collect::<HashMap<_, _>>())
    }
}

/// A value of metadata, whose numbers are all of one kind.
fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(of_json).collect::<Vec<_>>().into()),
        serde_json::Value::Object(fields) => {
            Value::from(fields.iter().map(|(name, value)| (name.clone(), of_json(value))).collect::<HashMap<_, _>>())
        }
    }
}

fn decode(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let eight = || bytes.try_into().ok();
    Some(match kind {
        Kind::Text => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Value::from(text),
            Err(_) => decode(Kind::Bytes, bytes)?,
        },
        Kind::Bytes => Value::Bytes(Arc::new(bytes.to_vec())),
        Kind::Signed => Value::Int(i64::from_le_bytes(eight()?)),
        Kind::Unsigned => Value::UInt(u64::from_le_bytes(eight()?)),
        Kind::Flag => Value::Bool(bytes.first().is_some_and(|flag| *flag != 0)),
        Kind::Time => {
            let time = chrono::DateTime::from_timestamp_nanos(i64::from_le_bytes(eight()?));
            Value::Timestamp(time.fixed_offset())
        }
        Kind::Span => Value::Duration(chrono::Duration::nanoseconds(i64::from_le_bytes(eight()?))),
        Kind::Map => {
            let lines = pairs::decode(bytes)?.into_iter();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let lines = lines.map(|(name, value)| (text(&name), Value::from(text(&value))));
            Value::from(lines.collect::<HashMap<_, _>>())
        }
    })
}

/// Appends a value in the encoding of properties.
fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), Status> {
    let nanos = |nanos: Option<i64>| nanos.ok_or(Status::SerializationFailure).map(i64::to_le_bytes);
    match value {
        Value::Int(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::UInt(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => out.push((*value).into()),
        Value::String(value) => out.extend_from_slice(value.as_bytes()),
        Value::Bytes(value) => out.extend_from_slice(value),
        Value::Timestamp(time) => out.extend_from_slice(&nanos(time.timestamp_nanos_opt())?),
        Value::Duration(span) => out.extend_from_slice(&nanos(span.num_nanoseconds())?),
        Value::List(items) => {
            let mut keys = Vec::with_capacity(items.len());
            for item in items.iter() {
                keys.push(encoded(item)?);
            }
            pairs::encode(keys.iter().map(|key| (key.as_slice(), &b""[..])), out);
        }
        Value::Map(map) => {
            let mut lines = Vec::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                lines.push((encoded(&Value::from(key.clone()))?, encoded(value)?));
            }
            lines.sort();
            pairs::encode(lines.iter().map(|(key, value)| (key.as_slice(), value.as_slice())), out);
        }
        _ => return Err(Status::SerializationFailure),
    }
    Ok(())
}

fn encoded(value: &Value) -> Result<Vec<u8>, Status> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes)?;
    Ok(bytes)
}

//! Modules without an SDK and without a thought, which make the host calls that telemetry cannot do without: what is left of
//! the cost when the plugin itself costs nothing.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use istio_core::peer::header::{ID, METADATA};
use istio_core::wire::{DOWNSTREAM_PEER, DOWNSTREAM_PEER_ID};

/// The expression of a sheet for HTTP, inbound.
const EXPRESSION: &str = "[request.duration,request.total_size,response.total_size,xds.listener_direction,response.code,\
    response.flags,xds.route_name,has(xds.cluster_name) ? xds.cluster_name : '',request.host,\
    'io.istio.local_principal' in filter_state ? filter_state['io.istio.local_principal'] : \
    has(connection.uri_san_local_certificate) ? connection.uri_san_local_certificate : '',\
    'io.istio.peer_principal' in filter_state ? filter_state['io.istio.peer_principal'] : \
    has(connection.uri_san_peer_certificate) ? connection.uri_san_peer_certificate : '']";

/// Where texts begin, and where every block that the host hands over goes.
const TEXTS: usize = 65_536;
const BLOCK: usize = 2 * TEXTS;

/// Where the host writes an address and a length, the ids of two metrics, and that of the expression.
const OUT: &str = "(i32.const 8) (i32.const 12)";
const COUNTER: usize = 16;
const HISTOGRAM: usize = 20;
const TOKEN: usize = 24;

/// What `stats` asks for at the end of a request on an inbound listener, and adds to; written into a folder.
pub(crate) fn stats(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut texts = Texts::default();
    let evaluate = texts.place("expr_evaluate");
    let peer = texts.place(DOWNSTREAM_PEER);
    let record = call("proxy_record_metric", &format!("(i32.load (i32.const {HISTOGRAM})) (i64.const 1)"));
    let on_log = [
        call("proxy_call_foreign_function", &format!("{evaluate} (i32.const {TOKEN}) (i32.const 4) {OUT}")),
        call("proxy_get_property", &format!("{peer} {OUT}")),
        call("proxy_increment_metric", &format!("(i32.load (i32.const {COUNTER})) (i64.const 1)")),
        record.repeat(3),
    ];
    write(&folder.join("stats_by_hand.wasm"), texts, "", "", &on_log.concat())
}

/// What `metadata-exchange` asks for and changes when a peer's request comes in and is answered; written into a folder.
pub(crate) fn exchange(folder: &Path, told: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut texts = Texts::default();
    let [metadata, id, own, own_id] = [METADATA, ID, told, "server"].map(|text| texts.place(text));
    let [direction, peer, peer_id] =
        ["xds\0listener_direction", DOWNSTREAM_PEER, DOWNSTREAM_PEER_ID].map(|text| texts.place(text));
    let on_request = [
        call("proxy_get_property", &format!("{direction} {OUT}")),
        call("proxy_get_header_map_pairs", &format!("(i32.const 0) {OUT}")),
        call("proxy_set_property", &format!("{peer_id} {own_id}")),
        call("proxy_set_property", &format!("{peer} {own}")),
        call("proxy_remove_header_map_value", &format!("(i32.const 0) {id}")),
        call("proxy_remove_header_map_value", &format!("(i32.const 0) {metadata}")),
    ];
    let on_response = [
        call("proxy_replace_header_map_value", &format!("(i32.const 2) {metadata} {own}")),
        call("proxy_replace_header_map_value", &format!("(i32.const 2) {id} {own_id}")),
    ];
    write(&folder.join("exchange_by_hand.wasm"), texts, &on_request.concat(), &on_response.concat(), "")
}

fn write(path: &Path, mut texts: Texts, request: &str, response: &str, log: &str) -> Result<PathBuf, Box<dyn Error>> {
    let (create, expression) = (texts.place("expr_create"), texts.place(EXPRESSION));
    let (counter, histogram) = (texts.place("by_hand_total"), texts.place("by_hand"));
    let configure = [
        call("proxy_call_foreign_function", &format!("{create} {expression} {OUT}")),
        format!("(i32.store (i32.const {TOKEN}) (i32.load (i32.const {BLOCK})))"),
        call("proxy_define_metric", &format!("(i32.const 0) {counter} (i32.const {COUNTER})")),
        call("proxy_define_metric", &format!("(i32.const 2) {histogram} (i32.const {HISTOGRAM})")),
    ]
    .concat();
    let response = match response {
        "" => String::new(),
        calls => format!(
            r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {calls} (i32.const 0))"#
        ),
    };
    let module = format!(
        r#"(module
            {imports}
            (memory (export "memory") 8)
            {data}
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const {BLOCK}))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) {configure} (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {request} (i32.const 0))
            {response}
            (func (export "proxy_on_log") (param i32) {log})
            (func (export "proxy_on_delete") (param i32)))"#,
        imports = imports(),
        data = texts.data,
    );
    std::fs::write(path, wat::parse_str(module)?)?;
    Ok(path.to_owned())
}

fn imports() -> String {
    let functions = [
        ("proxy_get_header_map_value", "i32 i32 i32 i32 i32"),
        ("proxy_get_header_map_pairs", "i32 i32 i32"),
        ("proxy_replace_header_map_value", "i32 i32 i32 i32 i32"),
        ("proxy_remove_header_map_value", "i32 i32 i32"),
        ("proxy_get_property", "i32 i32 i32 i32"),
        ("proxy_set_property", "i32 i32 i32 i32"),
        ("proxy_call_foreign_function", "i32 i32 i32 i32 i32 i32"),
        ("proxy_define_metric", "i32 i32 i32 i32"),
        ("proxy_increment_metric", "i32 i64"),
        ("proxy_record_metric", "i32 i64"),
    ];
    functions
        .map(|(name, parameters)| {
            format!(r#"(import "env" "{name}" (func ${name} (param {parameters}) (result i32)))"#)
        })
        .concat()
}

/// Calls the host, and does not look at what comes of it.
fn call(function: &str, arguments: &str) -> String {
    format!("(drop (call ${function} {arguments}))")
}

/// The texts of a module.
#[derive(Default)]
struct Texts {
    data: String,
    len: usize,
}

impl Texts {
    /// Puts a text into the module; its address and length, as arguments.
    fn place(&mut self, text: &str) -> String {
        let at = TEXTS + self.len;
        let bytes = text.bytes().fold(String::new(), |mut bytes, byte| {
            // Writing to a string cannot fail.
            let _ = write!(bytes, "\\{byte:02x}");
            bytes
        });
        let _ = write!(self.data, r#"(data (i32.const {at}) "{bytes}")"#);
        self.len += text.len();
        format!("(i32.const {at}) (i32.const {})", text.len())
    }
}

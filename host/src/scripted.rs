//! A guest for tests: a closure that answers callbacks and makes host calls through the table.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::abi::Status;
use crate::callback::{Callback, Trap};
use crate::guest::{Guest, Load};
use crate::imports::Import;
use crate::memory::Memory;
use crate::pairs;
use crate::vm::VmState;
use crate::worker::{Code, Plugin};

type Body = dyn Fn(Callback, &mut Calls<'_>) -> Result<u32, String> + Send + Sync;

/// What the closure does.
#[derive(Clone)]
pub(crate) struct Script(Arc<Body>);

impl Script {
    /// The closure gets each callback and answers it; an error is a trap.
    pub(crate) fn new(body: impl Fn(Callback, &mut Calls<'_>) -> Result<u32, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(body))
    }

    /// As a plugin of a chain.
    pub(crate) fn plugin(&self, name: &str) -> Plugin {
        Plugin { vm_id: name.to_owned(), ..Plugin::new(name, Code::Wasm(Arc::new(self.clone()))) }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Load for Script {
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>) {
        (state, Ok(Box::new(self.clone())))
    }
}

impl Guest for Script {
    fn call(&mut self, mut state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>) {
        let mut calls = Calls { state: &mut state, heap: Heap::new() };
        let result = (self.0)(callback, &mut calls);
        let result = result.map_err(|reason| Trap { function: callback.name(), reason });
        (state, result)
    }
}

/// Host calls as a guest makes them.
pub(crate) struct Calls<'a> {
    pub(crate) state: &'a mut VmState,
    pub(crate) heap: Heap,
}

impl Calls<'_> {
    /// Any host call; the status.
    pub(crate) fn raw(&mut self, name: &str, arguments: &[u64]) -> u32 {
        let import = Import::find(name).unwrap_or_else(|| panic!("no host call `{name}`"));
        assert_eq!(import.params.len(), arguments.len(), "{name}");
        import.invoke(self.state, &mut self.heap, arguments).unwrap_or(99)
    }

    fn put(&mut self, bytes: &[u8]) -> [u64; 2] {
        [self.heap.put(bytes), bytes.len() as u64]
    }

    fn taken(&self, status: u32) -> Result<Bytes, Status> {
        match Status::from_u32(status) {
            Some(Status::Ok) => Ok(self.heap.result()),
            status => Err(status.unwrap()),
        }
    }

    pub(crate) fn header(&mut self, map: u64, name: &str) -> Result<Bytes, Status> {
        let [name, len] = self.put(name.as_bytes());
        let status = self.raw("proxy_get_header_map_value", &[map, name, len, OUT, OUT_LEN]);
        self.taken(status)
    }

    pub(crate) fn pairs(&mut self, map: u64) -> Result<Vec<(Bytes, Bytes)>, Status> {
        let status = self.raw("proxy_get_header_map_pairs", &[map, OUT, OUT_LEN]);
        self.taken(status).map(|blob| pairs::decode(&blob).unwrap())
    }

    pub(crate) fn change(&mut self, call: &str, map: u64, name: &str, value: &str) -> u32 {
        let ([name, len], [value, value_len]) = (self.put(name.as_bytes()), self.put(value.as_bytes()));
        self.raw(call, &[map, name, len, value, value_len])
    }

    pub(crate) fn body(&mut self, kind: u64) -> Result<Bytes, Status> {
        let status = self.raw("proxy_get_buffer_bytes", &[kind, 0, u64::from(u32::MAX), OUT, OUT_LEN]);
        self.taken(status)
    }

    pub(crate) fn set_body(&mut self, kind: u64, start: u64, len: u64, with: &str) -> u32 {
        let [with, with_len] = self.put(with.as_bytes());
        self.raw("proxy_set_buffer_bytes", &[kind, start, len, with, with_len])
    }

    pub(crate) fn reply(&mut self, status: u64, headers: &[(&str, &str)], body: &str) -> u32 {
        let [headers, headers_len] = self.put(&blob(headers));
        let [body, body_len] = self.put(body.as_bytes());
        let grpc = u64::from(u32::MAX);
        self.raw("proxy_send_local_response", &[status, 0, 0, body, body_len, headers, headers_len, grpc])
    }

    /// A callout to `/` of the cluster; the token.
    pub(crate) fn call_out(&mut self, cluster: &str, timeout: u64) -> Result<u32, Status> {
        self.ask(cluster, "", timeout)
    }

    /// A callout with a body, for a second; the token.
    pub(crate) fn call_out_with(&mut self, cluster: &str, body: &str) -> Result<u32, Status> {
        self.ask(cluster, body, 1000)
    }

    fn ask(&mut self, cluster: &str, body: &str, timeout: u64) -> Result<u32, Status> {
        let [cluster, cluster_len] = self.put(cluster.as_bytes());
        let [headers, len] = self.put(&blob(&[(":method", "GET"), (":path", "/"), (":authority", "x")]));
        let [body, body_len] = self.put(body.as_bytes());
        let arguments = [cluster, cluster_len, headers, len, body, body_len, 0, 0, timeout, OUT];
        let status = self.raw("proxy_http_call", &arguments);
        self.taken(status).map(|_| self.heap.number(OUT))
    }

    /// Opens a gRPC stream to a cluster; its token.
    pub(crate) fn stream(&mut self, cluster: &str) -> Result<u32, Status> {
        let ([cluster, cluster_len], [name, len]) = (self.put(cluster.as_bytes()), self.put(b"name"));
        let arguments = [cluster, cluster_len, name, len, name, len, 0, 0, OUT];
        let status = self.raw("proxy_grpc_stream", &arguments);
        self.taken(status).map(|_| self.heap.number(OUT))
    }

    /// Sends a message over a gRPC stream.
    pub(crate) fn send(&mut self, token: u32, message: &str, end: bool) -> u32 {
        let [message, len] = self.put(message.as_bytes());
        self.raw("proxy_grpc_send", &[token.into(), message, len, end.into()])
    }

    pub(crate) fn property(&mut self, path: &str) -> Result<Bytes, Status> {
        let [path, len] = self.put(path.replace('.', "\0").as_bytes());
        let status = self.raw("proxy_get_property", &[path, len, OUT, OUT_LEN]);
        self.taken(status)
    }

    pub(crate) fn set_property(&mut self, name: &str, value: &str) -> u32 {
        let ([name, len], [value, value_len]) = (self.put(name.as_bytes()), self.put(value.as_bytes()));
        self.raw("proxy_set_property", &[name, len, value, value_len])
    }

    pub(crate) fn register_queue(&mut self, name: &str) -> u32 {
        let [name, len] = self.put(name.as_bytes());
        self.raw("proxy_register_shared_queue", &[name, len, OUT])
    }

    pub(crate) fn effective(&mut self, context: u32) -> u32 {
        self.raw("proxy_set_effective_context", &[context.into()])
    }

    pub(crate) fn log(&mut self, text: &str) {
        let [text, len] = self.put(text.as_bytes());
        self.raw("proxy_log", &[2, text, len]);
    }
}

/// The blob of some pairs.
pub(crate) fn blob(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    pairs::encode(pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut out);
    out
}

/// Where results go.
pub(crate) const OUT: u64 = 8;
pub(crate) const OUT_LEN: u64 = 16;

/// Memory of 32 bits that only grows.
pub(crate) struct Heap {
    bytes: Vec<u8>,
}

impl Heap {
    fn new() -> Self {
        Self { bytes: vec![0; 64] }
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    pub(crate) fn number(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).unwrap().try_into().unwrap())
    }

    fn result(&self) -> Bytes {
        Bytes::copy_from_slice(self.read(self.number(OUT).into(), self.number(OUT_LEN).into()).unwrap())
    }
}

impl Memory for Heap {
    fn read(&self, ptr: u64, len: u64) -> Result<&[u8], Status> {
        let end = ptr.checked_add(len).ok_or(Status::InvalidMemoryAccess)?;
        self.bytes.get(ptr as usize..end as usize).ok_or(Status::InvalidMemoryAccess)
    }

    fn write(&mut self, ptr: u64, bytes: &[u8]) -> Result<(), Status> {
        let place = self.bytes.get_mut(ptr as usize..ptr as usize + bytes.len());
        place.ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
        Ok(())
    }

    fn write_usize(&mut self, ptr: u64, value: u64) -> Result<(), Status> {
        self.write(ptr, &(value as u32).to_le_bytes())
    }

    fn allocate(&mut self, len: u64) -> Result<u64, Status> {
        Ok(self.put(&vec![0; len as usize]))
    }
}

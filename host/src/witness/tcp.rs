//! What the host notices for recordings of TCP connections, beside the callbacks.

use super::VmState;
use crate::connection::Connection;
use crate::filter::Buffer;
use crate::recording::{End, Handshake, Leg, Opened, What};
use crate::tcp::TcpId;
use crate::vm::Owner;

impl VmState {
    /// A connection begins.
    pub(crate) fn watch_tcp_begin(&mut self, id: TcpId) {
        let Some(tcp) = self.tcp.get_mut(&id) else { return };
        let clock = self.services.clock();
        tcp.tape = self.services.recorder().begin(&tcp.entrance.listener().name, clock.unix());
        if tcp.tape.is_some() {
            self.recorded += 1;
            let (now, opened) = (clock.now(), Opened::of(&tcp.connection));
            self.note(Owner::Tcp(id, 0), now, What::Opened(opened));
        }
    }

    /// The server behind the proxy is there.
    pub(crate) fn watch_tcp_connected(&mut self, id: TcpId) {
        if self.recorded > 0 {
            let now = self.services.clock().now();
            self.note(Owner::Tcp(id, 0), now, What::Connected);
        }
    }

    /// Bytes have come to the chain, or leave it.
    pub(crate) fn watch_tcp_data(&mut self, id: TcpId, leg: Leg, data: &Buffer, end: bool) {
        if self.recorded > 0 {
            self.carry(Owner::Tcp(id, 0), leg, data, end);
        }
    }

    /// A connection has ended.
    pub(crate) fn watch_tcp_end(&mut self, id: TcpId, why: &str) {
        let now = self.services.clock().now();
        let Some(tcp) = self.tcp.get_mut(&id) else { return };
        let Some(mut tape) = tcp.tape.take() else { return };
        self.recorded -= 1;
        let end = End {
            took: now.saturating_sub(tcp.started),
            status: None,
            details: why.to_owned(),
            cluster: tcp.cluster.as_ref().map(|cluster| cluster.name.clone()),
            upstream: tcp.host.as_ref().and_then(|host| host.address),
            request_bytes: tape.bytes(false),
            response_bytes: tape.bytes(true),
        };
        self.services.recorder().end(&mut tape, end);
    }
}

impl Opened {
    fn of(connection: &Connection) -> Self {
        let tls = connection.tls.as_ref().map(|tls| Handshake {
            version: tls.version.clone(),
            server_name: tls.requested_server_name.clone(),
            peer: if tls.peer_uris.is_empty() { tls.peer_subject.clone() } else { tls.peer_uris.join(", ") },
        });
        Self { source: connection.source, destination: connection.destination, tls }
    }
}

//! What a worker is told about the client's connection.

use std::net::SocketAddr;

/// What is known about the client's connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The connection's number.
    pub id: u64,
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The proxy's own address.
    pub destination: Option<SocketAddr>,
    /// The protocol that the client speaks.
    pub protocol: Protocol,
    /// What the TLS handshake told, if there was one.
    pub tls: Option<Tls>,
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// What a TLS handshake told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The name that the client asked for.
    pub requested_server_name: String,
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Whether the client showed a certificate that was verified.
    pub mutual: bool,
    /// The subject of the client's certificate.
    pub peer_subject: String,
    /// The URI names of the client's certificate.
    pub peer_uris: Vec<String>,
    /// The DNS names of the client's certificate.
    pub peer_dns_names: Vec<String>,
    /// SHA-256 of the client's certificate, in hexadecimal.
    pub peer_digest: String,
    /// The subject of the proxy's certificate.
    pub local_subject: String,
    /// The URI names of the proxy's certificate.
    pub local_uris: Vec<String>,
    /// The DNS names of the proxy's certificate.
    pub local_dns_names: Vec<String>,
}

//! Envoy's attributes, one constant each.

use std::time::Duration;

use super::value::{Address, Map, Timestamp};
use super::{Attribute, Phases};

macro_rules! attributes {
    ($($(#[$doc:meta])+ $name:ident: $ty:ty = $path:literal, $phases:ident;)*) => {
        $(
            $(#[$doc])+
            pub const $name: Attribute<$ty> = Attribute::named($path, Phases::$phases);
        )*

        /// The path of every attribute of this module, its segments separated by NUL; for tests and tools.
        pub const PATHS: &[&str] = &[$($path),*];
    };
}

attributes! {
    /// The plugin's name in the proxy's configuration.
    PLUGIN_NAME: String = "plugin_name", ALL;
    /// The root id, by which a module with several plugins knows which one is meant.
    PLUGIN_ROOT_ID: String = "plugin_root_id", ALL;
    /// The id of the VM, which plugins may share.
    PLUGIN_VM_ID: String = "plugin_vm_id", ALL;

    /// The proxy's id; in Istio `sidecar~<ip>~<pod>.<namespace>~<domain>`.
    NODE_ID: String = "xds\0node\0id", ALL;
    /// The cluster that the proxy is part of; in Istio the workload's name and namespace.
    NODE_CLUSTER: String = "xds\0node\0cluster", ALL;
    /// The proxy's metadata; its fields are read one by one: `NODE_METADATA.field::<String>("NAMESPACE")`.
    NODE_METADATA: Map = "xds\0node\0metadata", ALL;
    /// The region that the proxy runs in.
    NODE_REGION: String = "xds\0node\0locality\0region", ALL;
    /// The zone that the proxy runs in.
    NODE_ZONE: String = "xds\0node\0locality\0zone", ALL;
    /// The part of the zone that the proxy runs in.
    NODE_SUB_ZONE: String = "xds\0node\0locality\0sub_zone", ALL;

    /// Where the listener's traffic goes: 0 is not said, 1 inbound, 2 outbound.
    LISTENER_DIRECTION: i64 = "xds\0listener_direction", EXCHANGE;
    /// The listener's metadata, by namespace.
    LISTENER_METADATA: Map = "xds\0listener_metadata\0filter_metadata", EXCHANGE;
    /// The name of the listener's filter chain.
    FILTER_CHAIN_NAME: String = "xds\0filter_chain_name", EXCHANGE;
    /// The cluster that the request goes to; absent where no route matches or the proxy answers. HTTP; on TCP from the
    /// first bytes on.
    CLUSTER_NAME: String = "xds\0cluster_name", EXCHANGE;
    /// The cluster's metadata, by namespace.
    CLUSTER_METADATA: Map = "xds\0cluster_metadata\0filter_metadata", EXCHANGE;
    /// The route's name, which may be empty; absent where none matches. HTTP.
    ROUTE_NAME: String = "xds\0route_name", EXCHANGE;
    /// The route's metadata, by namespace. HTTP.
    ROUTE_METADATA: Map = "xds\0route_metadata\0filter_metadata", EXCHANGE;
    /// The virtual host's name. HTTP.
    VIRTUAL_HOST_NAME: String = "xds\0virtual_host_name", EXCHANGE;
    /// The virtual host's metadata, by namespace. HTTP.
    VIRTUAL_HOST_METADATA: Map = "xds\0virtual_host_metadata\0filter_metadata", EXCHANGE;
    /// The metadata of the upstream host, by namespace.
    UPSTREAM_HOST_METADATA: Map = "xds\0upstream_host_metadata\0filter_metadata", RESPONSE;
    /// The metadata of the upstream host's locality, by namespace.
    UPSTREAM_HOST_LOCALITY_METADATA: Map = "xds\0upstream_host_locality_metadata\0filter_metadata", RESPONSE;

    /// The path with its query, as the proxy has normalised it. HTTP, as all of the request that is not a size or time.
    REQUEST_PATH: String = "request\0path", REQUEST_HEADERS;
    /// The path without its query.
    REQUEST_URL_PATH: String = "request\0url_path", REQUEST_HEADERS;
    /// The query, without its question mark; empty where there is none.
    REQUEST_QUERY: String = "request\0query", REQUEST_HEADERS;
    /// The host that the client asked for.
    REQUEST_HOST: String = "request\0host", REQUEST_HEADERS;
    /// `http` or `https`.
    REQUEST_SCHEME: String = "request\0scheme", REQUEST_HEADERS;
    /// The method.
    REQUEST_METHOD: String = "request\0method", REQUEST_HEADERS;
    /// The header `referer`.
    REQUEST_REFERER: Vec<u8> = "request\0referer", REQUEST_HEADERS;
    /// The header `user-agent`.
    REQUEST_USER_AGENT: Vec<u8> = "request\0useragent", REQUEST_HEADERS;
    /// The header `x-request-id`.
    REQUEST_ID: String = "request\0id", REQUEST_HEADERS;
    /// All headers; values of one name are joined with a comma. [`RequestHead::headers`](crate::RequestHead::headers)
    /// keeps them apart. Empty where the headers have moved on.
    REQUEST_HEADERS: Map = "request\0headers", EXCHANGE;
    /// When the first byte came. HTTP and TCP.
    REQUEST_TIME: Timestamp = "request\0time", EXCHANGE;
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    REQUEST_PROTOCOL: String = "request\0protocol", EXCHANGE;
    /// The length of the body: what `content-length` says while the headers are held, else what came so far.
    REQUEST_SIZE: u64 = "request\0size", EXCHANGE;
    /// The bytes of the body that came so far, and of the headers while they are held. HTTP and TCP.
    REQUEST_TOTAL_SIZE: u64 = "request\0total_size", EXCHANGE;
    /// The bytes of the headers; 0 where they have moved on.
    REQUEST_HEADERS_BYTES: u64 = "request\0headers_bytes", EXCHANGE;
    /// How long the whole exchange took.
    REQUEST_DURATION: Duration = "request\0duration", LOG;

    /// The status; absent in the log where there was no response. HTTP.
    RESPONSE_CODE: u64 = "response\0code", RESPONSE;
    /// Why the response is what it is: `via_upstream`, `route_not_found`, what a reply gave as its details. HTTP.
    RESPONSE_CODE_DETAILS: String = "response\0code_details", RESPONSE;
    /// What went wrong, in the bits of Envoy's response flags; 0 for nothing. HTTP and TCP.
    RESPONSE_FLAGS: u64 = "response\0flags", EXCHANGE;
    /// The bytes of the body that were sent so far. HTTP and TCP.
    RESPONSE_SIZE: u64 = "response\0size", EXCHANGE;
    /// The same with the bytes of headers and trailers. HTTP and TCP.
    RESPONSE_TOTAL_SIZE: u64 = "response\0total_size", EXCHANGE;
    /// The status of gRPC; made of the HTTP status where the response tells none, so 2 for a plain 200. HTTP.
    RESPONSE_GRPC_STATUS: u64 = "response\0grpc_status", RESPONSE;
    /// All headers; empty where there are none yet, or they have moved on. HTTP.
    RESPONSE_HEADERS: Map = "response\0headers", EXCHANGE;
    /// All trailers. HTTP.
    RESPONSE_TRAILERS: Map = "response\0trailers", EXCHANGE;
    /// How long the upstream took; told once its last byte is here. HTTP.
    RESPONSE_BACKEND_LATENCY: Duration = "response\0backend_latency", RESPONSE;

    /// The number of the client's connection.
    CONNECTION_ID: u64 = "connection\0id", EXCHANGE;
    /// Whether the client has shown a certificate.
    CONNECTION_MTLS: bool = "connection\0mtls", EXCHANGE;
    /// The server name that the client asked for in TLS; empty without TLS.
    CONNECTION_REQUESTED_SERVER_NAME: String = "connection\0requested_server_name", EXCHANGE;
    /// The version of TLS, such as `TLSv1.3`; absent without, like all that follows here.
    CONNECTION_TLS_VERSION: String = "connection\0tls_version", EXCHANGE;
    /// The subject of the proxy's certificate.
    CONNECTION_SUBJECT_LOCAL_CERTIFICATE: String = "connection\0subject_local_certificate", EXCHANGE;
    /// The subject of the client's certificate.
    CONNECTION_SUBJECT_PEER_CERTIFICATE: String = "connection\0subject_peer_certificate", EXCHANGE;
    /// The first DNS name in the proxy's certificate.
    CONNECTION_DNS_SAN_LOCAL_CERTIFICATE: String = "connection\0dns_san_local_certificate", EXCHANGE;
    /// The first DNS name in the client's certificate.
    CONNECTION_DNS_SAN_PEER_CERTIFICATE: String = "connection\0dns_san_peer_certificate", EXCHANGE;
    /// The first URI in the proxy's certificate: in Istio its SPIFFE identity.
    CONNECTION_URI_SAN_LOCAL_CERTIFICATE: String = "connection\0uri_san_local_certificate", EXCHANGE;
    /// The first URI in the client's certificate: in Istio its SPIFFE identity.
    CONNECTION_URI_SAN_PEER_CERTIFICATE: String = "connection\0uri_san_peer_certificate", EXCHANGE;
    /// SHA-256 of the client's certificate, in hexadecimal.
    CONNECTION_SHA256_PEER_CERTIFICATE_DIGEST: String = "connection\0sha256_peer_certificate_digest", EXCHANGE;
    /// Why the proxy has ended the connection, if it has.
    CONNECTION_TERMINATION_DETAILS: String = "connection\0termination_details", EXCHANGE;
    /// Why the TLS handshake failed, if it did.
    CONNECTION_TRANSPORT_FAILURE_REASON: String = "connection\0transport_failure_reason", EXCHANGE;

    /// The client's address: the one that `x-forwarded-for` or the PROXY protocol tells, as far as the proxy trusts
    /// them; with port 0 from `x-forwarded-for`.
    SOURCE_ADDRESS: Address = "source\0address", EXCHANGE;
    /// The client's port.
    SOURCE_PORT: u64 = "source\0port", EXCHANGE;
    /// The address that the client has connected to.
    DESTINATION_ADDRESS: Address = "destination\0address", EXCHANGE;
    /// The port that the client has connected to.
    DESTINATION_PORT: u64 = "destination\0port", EXCHANGE;

    /// The address of the upstream host.
    UPSTREAM_ADDRESS: Address = "upstream\0address", RESPONSE;
    /// The port of the upstream host.
    UPSTREAM_PORT: u64 = "upstream\0port", RESPONSE;
    /// The proxy's own end of the connection to the upstream.
    UPSTREAM_LOCAL_ADDRESS: Address = "upstream\0local_address", RESPONSE;
    /// The version of TLS to the upstream; absent without, like the certificates that follow.
    UPSTREAM_TLS_VERSION: String = "upstream\0tls_version", RESPONSE;
    /// The subject of the certificate that the proxy has shown.
    UPSTREAM_SUBJECT_LOCAL_CERTIFICATE: String = "upstream\0subject_local_certificate", RESPONSE;
    /// The subject of the upstream's certificate.
    UPSTREAM_SUBJECT_PEER_CERTIFICATE: String = "upstream\0subject_peer_certificate", RESPONSE;
    /// The first DNS name in the certificate that the proxy has shown.
    UPSTREAM_DNS_SAN_LOCAL_CERTIFICATE: String = "upstream\0dns_san_local_certificate", RESPONSE;
    /// The first DNS name in the upstream's certificate.
    UPSTREAM_DNS_SAN_PEER_CERTIFICATE: String = "upstream\0dns_san_peer_certificate", RESPONSE;
    /// The first URI in the certificate that the proxy has shown.
    UPSTREAM_URI_SAN_LOCAL_CERTIFICATE: String = "upstream\0uri_san_local_certificate", RESPONSE;
    /// The first URI in the upstream's certificate.
    UPSTREAM_URI_SAN_PEER_CERTIFICATE: String = "upstream\0uri_san_peer_certificate", RESPONSE;
    /// SHA-256 of the upstream's certificate, in hexadecimal.
    UPSTREAM_SHA256_PEER_CERTIFICATE_DIGEST: String = "upstream\0sha256_peer_certificate_digest", RESPONSE;
    /// Why no connection to the upstream could be secured; empty where it could.
    UPSTREAM_TRANSPORT_FAILURE_REASON: String = "upstream\0transport_failure_reason", RESPONSE;
    /// How often the request was sent; 0 before.
    UPSTREAM_REQUEST_ATTEMPT_COUNT: u64 = "upstream\0request_attempt_count", EXCHANGE;
    /// How long it took until there was a connection to send on.
    UPSTREAM_CX_POOL_READY_DURATION: Duration = "upstream\0cx_pool_ready_duration", RESPONSE;
    /// The region of the upstream host.
    UPSTREAM_REGION: String = "upstream\0locality\0region", RESPONSE;
    /// The zone of the upstream host.
    UPSTREAM_ZONE: String = "upstream\0locality\0zone", RESPONSE;
    /// How many endpoints the cluster has; absent where there is no cluster.
    UPSTREAM_NUM_ENDPOINTS: u64 = "upstream\0num_endpoints", EXCHANGE;

    /// The dynamic metadata that filters have left, by namespace: `DYNAMIC_METADATA.field::<String>("ns")` and deeper.
    DYNAMIC_METADATA: Map = "metadata\0filter_metadata", EXCHANGE;
}

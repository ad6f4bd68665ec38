//! TLS of a listener, and towards an upstream.

use serde_json::{Value, json};

use super::message::{put, typed};

/// One end of TLS, all of it in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of this end.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Whose certificates are believed; empty for a listener that asks for none.
    pub authority: String,
    /// The server's name that a client asks for; may be empty.
    pub server_name: String,
    /// The URI name that a server's certificate has to have; empty for any.
    pub peer: String,
}

impl Tls {
    pub(super) fn render_server(&self) -> Value {
        let mut context = json!({"common_tls_context": self.render()});
        if !self.authority.is_empty() {
            put(&mut context, "require_client_certificate", json!(true));
        }
        socket("DownstreamTlsContext", context)
    }

    pub(super) fn render_client(&self) -> Value {
        socket("UpstreamTlsContext", json!({"common_tls_context": self.render(), "sni": self.server_name}))
    }

    fn render(&self) -> Value {
        let text = |text: &str| json!({"inline_string": text});
        let mut context = json!({
            "tls_certificates": [{"certificate_chain": text(&self.certificate), "private_key": text(&self.key)}],
        });
        if !self.authority.is_empty() {
            let mut believed = json!({"trusted_ca": text(&self.authority)});
            if !self.peer.is_empty() {
                let names = json!([{"san_type": "URI", "matcher": {"exact": self.peer}}]);
                put(&mut believed, "match_typed_subject_alt_names", names);
            }
            put(&mut context, "validation_context", believed);
        }
        context
    }
}

fn socket(context: &str, config: Value) -> Value {
    let message = format!("envoy.extensions.transport_sockets.tls.v3.{context}");
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed(&message, config)})
}

//! What a test says about TLS, as certificates for an Envoy and for the test as its client.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::certificates::{Authority, Names};
use super::config;
use crate::connection::Tls;

/// The test as a client that speaks TLS.
#[derive(Debug, Clone)]
pub(super) struct Client {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl Client {
    /// A client that shows what the proxy is to see.
    pub(super) fn new(tls: &Tls) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refusal)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)));
        let config = if tls.mutual {
            let identity = Authority::of_this_process()?.vouch(&peer(tls)?)?;
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der));
            builder.with_client_auth_cert(vec![identity.certificate_der.into()], key).map_err(refusal)?
        } else {
            builder.with_no_client_auth()
        };
        // No name is sent for an address.
        let name = Some(tls.requested_server_name.as_str()).filter(|name| !name.is_empty()).unwrap_or("127.0.0.1");
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no name for a server"))?;
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// A new connection, before its handshake.
    pub(super) fn connect(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.server_name.clone())
    }
}

/// How Envoy's listener meets such a client.
pub(super) fn listener(tls: &Tls) -> Result<config::Tls, String> {
    let mut config = end(tls)?;
    config.authority = if tls.mutual { config.authority } else { String::new() };
    Ok(config)
}

/// How Envoy's cluster speaks to such an upstream.
pub(super) fn cluster(tls: &Tls) -> Result<config::Tls, String> {
    let names = peer(tls)?;
    Ok(config::Tls {
        server_name: tls.requested_server_name.clone(),
        peer: names.uris.into_iter().next().unwrap_or_default(),
        ..end(tls)?
    })
}

/// Envoy's own end.
fn end(tls: &Tls) -> Result<config::Tls, String> {
    let authority = Authority::of_this_process()?;
    let mut names = names(&tls.local_subject, &tls.local_uris, &tls.local_dns_names)?;
    if names == Names::default() {
        // Envoy does not start with a certificate without names.
        names.common_name = "proxy".to_owned();
    }
    let identity = authority.vouch(&names)?;
    Ok(config::Tls {
        certificate: identity.certificate,
        key: identity.key,
        authority: authority.certificate().to_owned(),
        ..config::Tls::default()
    })
}

fn peer(tls: &Tls) -> Result<Names, String> {
    if !tls.version.is_empty() || !tls.peer_digest.is_empty() {
        return Err("with a real Envoy, TLS has the version and certificates the digest that they have".to_owned());
    }
    names(&tls.peer_subject, &tls.peer_uris, &tls.peer_dns_names)
}

fn names(subject: &str, uris: &[String], dns_names: &[String]) -> Result<Names, String> {
    let common_name = match subject {
        "" => "",
        subject => subject.strip_prefix("CN=").filter(|name| !name.contains([',', '=', '\\'])).ok_or_else(|| {
            format!("the subject `{subject}` is more than `CN=..`, which is all that a test can have")
        })?,
    };
    Ok(Names { common_name: common_name.to_owned(), uris: uris.to_vec(), dns_names: dns_names.to_vec() })
}

fn refusal(error: rustls::Error) -> String {
    format!("no TLS: {error}")
}

/// Believes any server: the test knows which one it has started.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS on either side of the proxy, with the certificates of a mesh: who the peer is, is a SPIFFE name in its certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, OtherError, ProtocolVersion, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use wasmplugin_host::worker::Tls;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::{Identity, IdentityError};

/// What clients are offered: HTTP/2 first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How a listener speaks TLS.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    own: Arc<Names>,
    /// Whether a client that does not begin with TLS is served all the same.
    pub(crate) permissive: bool,
}

/// Which certificates a listener wants from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None.
    Ignored,
    /// One of the mesh; without, there is no connection.
    Required,
}

/// How a cluster's servers are spoken to in TLS.
#[derive(Clone)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
    own: Arc<Names>,
}

/// What a certificate says about its owner.
#[derive(Debug, Default)]
struct Names {
    subject: String,
    uris: Vec<String>,
    dns: Vec<String>,
    digest: String,
}

impl ServerTls {
    /// TLS with this identity.
    ///
    /// # Errors
    ///
    /// The certificates do not fit each other.
    pub fn new(identity: &Identity, clients: ClientCertificates) -> Result<Self, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match clients {
            ClientCertificates::Ignored => builder.with_no_client_auth(),
            ClientCertificates::Required => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(IdentityError::new)?)
            }
        };
        let (chain, key) = identity.chain_and_key()?;
        let own = Arc::new(Names::first(&chain));
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self { config: Arc::new(config), own, permissive: false })
    }

    /// Also serves clients that do not speak TLS.
    #[must_use]
    pub fn permissive(mut self) -> Self {
        self.permissive = true;
        self
    }

    /// What plugins learn from a handshake.
    pub(crate) fn facts(&self, connection: &rustls::ServerConnection) -> Tls {
        let name = connection.server_name().unwrap_or_default().to_owned();
        facts(&self.own, name, connection.peer_certificates(), connection.protocol_version())
    }
}

impl ClientTls {
    /// Mutual TLS of a mesh: the server shows a certificate with one of these SPIFFE names, whatever its host name is.
    ///
    /// # Errors
    ///
    /// The certificates do not fit each other, or the server's name is none.
    pub fn mutual(
        identity: &Identity,
        server_name: &str,
        servers: impl IntoIterator<Item = String>,
    ) -> Result<Self, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(identity)?, Arc::clone(&provider)).build();
        let verifier = MeshVerifier {
            signatures: verifier.map_err(IdentityError::new)?,
            roots: roots(identity)?,
            names: servers.into_iter().collect(),
            provider: Arc::clone(&provider),
        };
        let (chain, key) = identity.chain_and_key()?;
        let own = Arc::new(Names::first(&chain));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)?;
        Self::with(config, server_name, own)
    }

    /// Plain TLS: the server shows a certificate for its name that one of these roots (PEM) vouches for.
    ///
    /// # Errors
    ///
    /// There is no root, or the server's name is none.
    pub fn simple(roots_pem: &str, server_name: &str) -> Result<Self, IdentityError> {
        let roots = Identity::roots_of(roots_pem)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store(roots)?)
            .with_no_client_auth();
        Self::with(config, server_name, Arc::default())
    }

    fn with(config: ClientConfig, server_name: &str, own: Arc<Names>) -> Result<Self, IdentityError> {
        let bad = |_| IdentityError::new(format!("`{server_name}` is no name of a server"));
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(bad)?;
        Ok(Self { config: Arc::new(config), server_name, own })
    }

    /// What plugins learn from a handshake.
    pub(crate) fn facts(&self, connection: &rustls::ClientConnection) -> Tls {
        let name = self.server_name.to_str().into_owned();
        facts(&self.own, name, connection.peer_certificates(), connection.protocol_version())
    }
}

fn facts(own: &Names, name: String, peer: Option<&[CertificateDer<'_>]>, version: Option<ProtocolVersion>) -> Tls {
    let names = peer.map(Names::first).unwrap_or_default();
    Tls {
        requested_server_name: name,
        version: match version {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            _ => String::new(),
        },
        mutual: peer.is_some_and(|chain| !chain.is_empty()),
        peer_subject: names.subject,
        peer_uris: names.uris,
        peer_dns_names: names.dns,
        peer_digest: names.digest,
        local_subject: own.subject.clone(),
        local_uris: own.uris.clone(),
        local_dns_names: own.dns.clone(),
    }
}

impl Names {
    /// What the first certificate of a chain says, which is its owner's.
    fn first(chain: &[CertificateDer<'_>]) -> Self {
        let Some(certificate) = chain.first() else { return Self::default() };
        // Whatever was verified can be read; if not, its owner has no names.
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Self::default() };
        let mut names = Self {
            subject: parsed.subject().to_string(),
            digest: Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect(),
            ..Self::default()
        };
        let alternative = parsed.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                _ => {}
            }
        }
        names
    }
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, IdentityError> {
    Ok(Arc::new(store(identity.roots()?)?))
}

fn store(roots: Vec<CertificateDer<'static>>) -> Result<RootCertStore, IdentityError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    Ok(store)
}

/// Believes servers of the mesh by their SPIFFE names; host names say nothing there.
#[derive(Debug)]
struct MeshVerifier {
    signatures: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    /// Any of these.
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let found = Names::first(std::slice::from_ref(end_entity)).uris;
        if found.iter().any(|name| self.names.contains(name)) {
            return Ok(ServerCertVerified::assertion());
        }
        let text = format!("the server is {found:?}, not one of {:?}", self.names);
        Err(Error::Other(OtherError(Arc::new(IdentityError::new(text)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

impl PartialEq for ClientTls {
    /// Whether it is the same one, which says more than that it does the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("uris", &self.own.uris).finish_non_exhaustive()
    }
}

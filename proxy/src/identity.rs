//! Certificates of a mesh: an authority that vouches for workloads by their SPIFFE names, made anew for each run.

use std::fmt;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IdentityError(String);

impl IdentityError {
    pub(crate) fn new(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

impl From<rustls::Error> for IdentityError {
    fn from(error: rustls::Error) -> Self {
        Self::new(format_args!("a certificate cannot be used: {error}"))
    }
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::new(format_args!("a certificate cannot be made: {error}"))
    }
}

/// Who a proxy is, and whom it believes; all of it PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate, and those between it and the root.
    pub certificates: String,
    /// Its private key.
    pub key: String,
    /// The roots that it believes.
    pub roots: String,
}

impl Identity {
    pub(crate) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        Self::roots_of(&self.roots)
    }

    pub(crate) fn roots_of(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates(pem, "root certificate")
    }

    pub(crate) fn chain_and_key(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|error| IdentityError::new(format_args!("a private key cannot be read: {error}")))?;
        Ok((certificates(&self.certificates, "certificate")?, key))
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| IdentityError::new(format_args!("a {what} cannot be read: {error}")))?;
    if all.is_empty() { Err(IdentityError::new(format_args!("there is no {what}"))) } else { Ok(all) }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// The authority of one mesh.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority for a trust domain, such as `cluster.local`.
    ///
    /// # Errors
    ///
    /// The machine gives no random numbers.
    pub fn new(trust_domain: &str) -> Result<Self, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = organisation(trust_domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// An identity with this SPIFFE name, such as `spiffe://cluster.local/ns/shop/sa/web`, and these DNS names.
    ///
    /// # Errors
    ///
    /// A name that no certificate can have.
    pub fn identity(&self, spiffe: &str, dns: impl IntoIterator<Item = String>) -> Result<Identity, IdentityError> {
        let mut params = CertificateParams::new(dns.into_iter().collect::<Vec<_>>())?;
        // As Istio's: the name is in the SPIFFE URI alone.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(spiffe)?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificates: certificate.pem(), key: key.serialize_pem(), roots: self.issuer.pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

fn organisation(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::OrganizationName, name);
    whole
}

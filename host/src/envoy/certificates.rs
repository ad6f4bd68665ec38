//! The certificates of a test: one authority per process, and whoever it vouches for.

use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, Error, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

/// Vouches for everybody in this process, so that one proxy of a test believes the other.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Whom a certificate names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The subject's common name; empty for a subject without names.
    pub common_name: String,
    /// The URI names, such as `spiffe://cluster.local/ns/default/sa/ratings`.
    pub uris: Vec<String>,
    /// The DNS names.
    pub dns_names: Vec<String>,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate in PEM.
    pub certificate: String,
    /// The certificate in DER.
    pub certificate_der: Vec<u8>,
    /// The key in PEM.
    pub key: String,
    /// The key in DER, as PKCS#8.
    pub key_der: Vec<u8>,
}

impl Authority {
    /// The one of this process.
    pub fn of_this_process() -> Result<&'static Self, String> {
        static AUTHORITY: OnceLock<Result<Authority, String>> = OnceLock::new();
        AUTHORITY.get_or_init(|| Self::new().map_err(|error| refusal(&error))).as_ref().map_err(Clone::clone)
    }

    /// Its own certificate in PEM, for those who are to believe it.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for whoever has these names.
    pub fn vouch(&self, names: &Names) -> Result<Identity, String> {
        self.issue(names).map_err(|error| refusal(&error))
    }

    fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    fn issue(&self, names: &Names) -> Result<Identity, Error> {
        let mut params = CertificateParams::default();
        // Unless told otherwise, the library makes up a name.
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !names.common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, names.common_name.as_str());
        }
        for uri in &names.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for name in &names.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        })
    }
}

fn refusal(error: &Error) -> String {
    format!("no certificate can be made: {error}")
}

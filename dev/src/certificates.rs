//! Certificates and the two CAs that sign them: one for members alone, one for the public port and for clients.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, date_time_ymd,
};

use crate::error::DevError;
use crate::write::{write_new, write_secret};

/// CA that can sign.
pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
}

/// Purpose of a certificate.
pub(crate) enum Purpose<'a> {
    /// Server on the public port of a node.
    Server,
    /// Member on the peer port of a node, both directions. The URN names it.
    Member(&'a str),
    /// Client: its identity.
    Client(&'a str),
    /// Client that also signs its changes. Its key is Ed25519: of the algorithms that can be, the cheapest to check, and
    /// every member checks each signature.
    Operator(&'a str),
}

impl CertificateAuthority {
    /// Opens `NAME.crt` and `NAME.key` of a directory, making both when absent.
    pub(crate) fn open(directory: &Path, name: &str, common_name: &str) -> Result<Self, DevError> {
        let (certificate, key) = (
            directory.join(format!("{name}.crt")),
            directory.join(format!("{name}.key")),
        );
        if certificate.exists() {
            let read = |path: &Path| {
                std::fs::read_to_string(path).map_err(|error| DevError::file(path, &error))
            };
            let signing = KeyPair::from_pem(&read(&key)?).map_err(DevError::certificate)?;
            let issuer = Issuer::from_ca_cert_pem(&read(&certificate)?, signing)
                .map_err(DevError::certificate)?;
            return Ok(Self { issuer });
        }
        let signing = KeyPair::generate().map_err(DevError::certificate)?;
        let params = authority_params(common_name);
        let certificate_pem = params
            .self_signed(&signing)
            .map_err(DevError::certificate)?
            .pem();
        write_secret(&key, &signing.serialize_pem())?;
        write_new(&certificate, &certificate_pem)?;
        Ok(Self {
            issuer: Issuer::new(params, signing),
        })
    }

    /// Writes `NAME.crt` and `NAME.key`, unless they are there.
    pub(crate) fn issue(
        &self,
        directory: &Path,
        name: &str,
        common_name: &str,
        purpose: &Purpose<'_>,
    ) -> Result<(), DevError> {
        let (certificate, key) = (
            directory.join(format!("{name}.crt")),
            directory.join(format!("{name}.key")),
        );
        if certificate.exists() {
            return Ok(());
        }
        let signing = match purpose {
            Purpose::Operator(_) => KeyPair::generate_for(&PKCS_ED25519),
            Purpose::Server | Purpose::Member(_) | Purpose::Client(_) => KeyPair::generate(),
        };
        let signing = signing.map_err(DevError::certificate)?;
        let params = leaf_params(common_name, purpose)?;
        let signed = params
            .signed_by(&signing, &self.issuer)
            .map_err(DevError::certificate)?;
        write_secret(&key, &signing.serialize_pem())?;
        write_new(&certificate, &signed.pem())
    }
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = dated(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(common_name: &str, purpose: &Purpose<'_>) -> Result<CertificateParams, DevError> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let mut params = dated(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = match purpose {
        Purpose::Server => vec![ServerAuth],
        Purpose::Member(_) => vec![ServerAuth, ClientAuth],
        Purpose::Client(_) | Purpose::Operator(_) => vec![ClientAuth],
    };
    if let Purpose::Member(urn) | Purpose::Client(urn) | Purpose::Operator(urn) = purpose {
        params.subject_alt_names.push(SanType::URI(
            (*urn).try_into().map_err(DevError::certificate)?,
        ));
    }
    if let Purpose::Server | Purpose::Member(_) = purpose {
        params.subject_alt_names.push(SanType::DnsName(
            "localhost".try_into().map_err(DevError::certificate)?,
        ));
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
    }
    Ok(params)
}

fn dated(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "hessra dev");
    // Names differ, so that no reader takes the issuer for the subject.
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    // Fixed dates: a directory that was made years ago still serves, and clocks that are wrong do not matter.
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    params
}

//! Certificates and the two CAs that sign them: one for members alone, one for the public port and for clients.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, date_time_ymd,
};

use crate::error::DevError;
use crate::write::{write_new, write_secret};

/// Time before its making at which a certificate begins: clocks of machines differ by that much and more without harm.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

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

/// Name of a machine in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostName {
    Dns(String),
    Address(IpAddr),
}

/// Time for which a certificate holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    /// Fixed dates: a dev directory that was made years ago still serves, and clocks that are wrong do not matter.
    Fixed,
    /// So many days from a moment, in Unix seconds.
    Days { now: u64, days: u32 },
}

/// Subject of a certificate, the names of its machine, and its time.
pub(crate) struct Request<'a> {
    pub organization: &'a str,
    /// Names differ, so that no reader takes the issuer for the subject.
    pub common_name: &'a str,
    pub purpose: Purpose<'a>,
    /// Names under which a server is dialled; of clients, none.
    pub hosts: &'a [HostName],
    pub validity: Validity,
}

/// Certificate and private key, in PEM.
pub(crate) struct Pair {
    pub certificate: String,
    pub key: String,
}

impl CertificateAuthority {
    /// Opens `NAME.crt` and `NAME.key` of a dev directory, making both when absent.
    pub(crate) fn open(directory: &Path, name: &str, common_name: &str) -> Result<Self, DevError> {
        let (certificate, key) = (
            directory.join(format!("{name}.crt")),
            directory.join(format!("{name}.key")),
        );
        if certificate.exists() {
            return Self::read(&certificate, &key);
        }
        let (authority, made) = Self::make(DEV, common_name, Validity::Fixed)?;
        write_secret(&key, &made.key)?;
        write_new(&certificate, &made.certificate)?;
        Ok(authority)
    }

    /// Reads a CA from its certificate and its key.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, DevError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| DevError::file(path, &error))
        };
        let unusable = |path: &Path, error: &rcgen::Error| DevError::File {
            path: path.into(),
            reason: format!("not of a CA: {error}"),
        };
        let signing = KeyPair::from_pem(&read(key)?).map_err(|error| unusable(key, &error))?;
        let issuer = Issuer::from_ca_cert_pem(&read(certificate)?, signing)
            .map_err(|error| unusable(certificate, &error))?;
        Ok(Self { issuer })
    }

    /// Makes a CA.
    pub(crate) fn make(
        organization: &str,
        common_name: &str,
        validity: Validity,
    ) -> Result<(Self, Pair), DevError> {
        let signing = KeyPair::generate().map_err(DevError::certificate)?;
        let mut params = dated(organization, common_name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&signing);
        let made = Pair {
            certificate: certificate.map_err(DevError::certificate)?.pem(),
            key: signing.serialize_pem(),
        };
        let issuer = Issuer::new(params, signing);
        Ok((Self { issuer }, made))
    }

    /// Makes a key and signs a certificate for it.
    pub(crate) fn sign(&self, request: &Request<'_>) -> Result<Pair, DevError> {
        let signing = match request.purpose {
            Purpose::Operator(_) => KeyPair::generate_for(&PKCS_ED25519),
            Purpose::Server | Purpose::Member(_) | Purpose::Client(_) => KeyPair::generate(),
        };
        let signing = signing.map_err(DevError::certificate)?;
        let signed = leaf(request)?.signed_by(&signing, &self.issuer);
        Ok(Pair {
            certificate: signed.map_err(DevError::certificate)?.pem(),
            key: signing.serialize_pem(),
        })
    }

    /// Writes `NAME.crt` and `NAME.key` of a dev cluster, unless they are there.
    pub(crate) fn issue(
        &self,
        directory: &Path,
        name: &str,
        common_name: &str,
        purpose: Purpose<'_>,
    ) -> Result<(), DevError> {
        let certificate = directory.join(format!("{name}.crt"));
        if certificate.exists() {
            return Ok(());
        }
        let this_machine = [
            HostName::Dns("localhost".to_owned()),
            HostName::Address(Ipv4Addr::LOCALHOST.into()),
        ];
        let is_server = matches!(purpose, Purpose::Server | Purpose::Member(_));
        let made = self.sign(&Request {
            organization: DEV,
            common_name,
            purpose,
            hosts: if is_server { &this_machine } else { &[] },
            validity: Validity::Fixed,
        })?;
        write_secret(&directory.join(format!("{name}.key")), &made.key)?;
        write_new(&certificate, &made.certificate)
    }
}

/// Organization in the certificates of every dev cluster.
const DEV: &str = "hessra dev";

fn leaf(request: &Request<'_>) -> Result<CertificateParams, DevError> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let mut params = dated(request.organization, request.common_name, request.validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = match request.purpose {
        Purpose::Server => vec![ServerAuth],
        Purpose::Member(_) => vec![ServerAuth, ClientAuth],
        Purpose::Client(_) | Purpose::Operator(_) => vec![ClientAuth],
    };
    if let Purpose::Member(urn) | Purpose::Client(urn) | Purpose::Operator(urn) = request.purpose {
        let uri = urn.try_into().map_err(DevError::certificate)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    for host in request.hosts {
        params.subject_alt_names.push(match host {
            HostName::Dns(name) => {
                SanType::DnsName(name.as_str().try_into().map_err(DevError::certificate)?)
            }
            HostName::Address(address) => SanType::IpAddress(*address),
        });
    }
    Ok(params)
}

fn dated(organization: &str, common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = match validity {
        Validity::Fixed => (date_time_ymd(2024, 1, 1), date_time_ymd(2044, 1, 1)),
        Validity::Days { now, days } => {
            let begin = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
            let lasting = Duration::from_secs(u64::from(days) * 86_400);
            (begin - BACKDATED, begin + lasting)
        }
    };
    params
}

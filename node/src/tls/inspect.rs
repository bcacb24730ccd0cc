//! What a certificate says, and what is wrong with it for the place where it is to be used. Decides, and reads no file.
//!
//! A node's certificate for the peer port needs the SAN URI of that member and the host under which the others dial it; for
//! the public port the host alone. Who dials checks both, so a wrong one is found here first, in words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use super::material::provider;

/// Time before the end of a certificate from which on it is to be replaced, and is a condition: two weeks, as in
/// `hessra doctor`.
pub const ENDS_SOON_SECONDS: u64 = 14 * 24 * 60 * 60;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sheet {
    pub subject: String,
    pub issuer: String,
    /// Alternative names: `URI:…`, `DNS:…`, `IP:…`.
    pub names: Vec<String>,
    /// Begin and end of its validity, in Unix seconds.
    pub begins_at: i64,
    pub ends_at: i64,
    begins: String,
    ends: String,
}

/// Port for which a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Members: it is shown by who dials and by who is dialled.
    Peer,
    /// Clients: it is shown by who is dialled.
    Public,
}

/// What a certificate must say in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// SAN URI, of a member.
    pub uri: Option<String>,
    /// Host under which it is dialled, without port and brackets.
    pub host: Option<String>,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("it must have the SAN URI `{needed}`; {found}")]
    Uri { needed: String, found: String },
    #[error("it must have the SAN `{needed}`, under which the others dial it; {found}")]
    Host { needed: String, found: String },
    #[error("no CA of `{authorities}` has signed it ({reason}): it must be of that CA{with}")]
    Authority {
        authorities: String,
        reason: String,
        with: String,
    },
    #[error("it begins at {0}, which has not come yet: compare the clocks")]
    NotYet(String),
    #[error("it has ended")]
    Ended,
}

impl Sheet {
    /// Reads a certificate. `None`: it does not parse.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(spelled)
                .collect()
        });
        let validity = parsed.validity();
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names.unwrap_or_default(),
            begins_at: validity.not_before.timestamp(),
            ends_at: validity.not_after.timestamp(),
            begins: date(validity.not_before),
            ends: date(validity.not_after),
        })
    }

    /// Days that are left at `now`, in Unix seconds; below zero, since when it has ended.
    #[must_use]
    pub fn days_left(&self, now: u64) -> i64 {
        (self.ends_at - signed(now)).div_euclid(DAY_SECONDS)
    }

    /// True when it is to be replaced.
    #[must_use]
    pub fn ends_soon(&self, now: u64) -> bool {
        self.ends_at - signed(now) < signed(ENDS_SOON_SECONDS)
    }

    /// What is wrong with it, apart from who signed it.
    #[must_use]
    pub fn faults(
        &self,
        certificate: &CertificateDer<'_>,
        needed: &Needed,
        now: u64,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let found = || match self.names.is_empty() {
            true => "it has no SAN".to_owned(),
            false => format!("it has {}", self.names.join(", ")),
        };
        // Two URIs speak for nobody, see `PeerCertificate::node_id`.
        let uris: Vec<_> = self
            .names
            .iter()
            .filter_map(|name| name.strip_prefix("URI:"))
            .collect();
        if let Some(uri) = needed.uri.as_ref().filter(|uri| uris != [uri.as_str()]) {
            faults.push(Fault::Uri {
                needed: uri.clone(),
                found: found(),
            });
        }
        if let Some(host) = needed
            .host
            .as_ref()
            .filter(|host| !is_for(certificate, host))
        {
            faults.push(Fault::Host {
                needed: host_name(host),
                found: found(),
            });
        }
        if signed(now) < self.begins_at {
            faults.push(Fault::NotYet(self.begins.clone()));
        }
        if signed(now) > self.ends_at {
            faults.push(Fault::Ended);
        }
        faults
    }
}

impl Needed {
    /// SANs in words, for a sentence.
    #[must_use]
    pub fn spelled(&self) -> String {
        let uri = self.uri.as_ref().map(|uri| format!("URI:{uri}"));
        let host = self.host.as_deref().map(host_name);
        let names: Vec<String> = uri.into_iter().chain(host).collect();
        names.join(", ")
    }
}

impl Fault {
    /// The fault of a chain that leads to none of these authorities. `None`: what rustls says is said by [`Sheet::faults`].
    #[must_use]
    pub fn of_chain(error: &Error, authorities: String, needed: &Needed) -> Option<Self> {
        if let Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) = error
        {
            return None;
        }
        let names = needed.spelled();
        Some(Self::Authority {
            authorities,
            reason: error.to_string(),
            with: match names.is_empty() {
                true => String::new(),
                false => format!(", with the SANs {names}"),
            },
        })
    }
}

/// Checks that a chain, the own certificate first, leads to one of these authorities and may be used at the port.
///
/// # Errors
/// What rustls says to whoever shows it.
pub fn check_chain(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'static>],
    port: Port,
    now: u64,
) -> Result<(), Error> {
    let Some((own, above)) = chain.split_first() else {
        return Err(Error::NoCertificatesPresented);
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let algorithms = provider().signature_verification_algorithms.all;
    let parsed = ParsedCertificate::try_from(own)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, above, now, algorithms)?;
    if port == Port::Peer {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_client_cert(own, above, now)?;
    }
    Ok(())
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  subject    {}", self.subject)?;
        writeln!(f, "  issuer     {}", self.issuer)?;
        writeln!(f, "  SANs       {}", self.names.join(", "))?;
        writeln!(f, "  begins     {}", self.begins)?;
        write!(f, "  ends       {}", self.ends)
    }
}

/// True when who dials this host takes the certificate for it.
fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let name = ServerName::try_from(host.to_owned());
    let parsed = ParsedCertificate::try_from(certificate);
    name.is_ok_and(|name| parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok()))
}

fn host_name(host: &str) -> String {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => format!("IP:{address}"),
        Err(_) => format!("DNS:{host}"),
    }
}

fn spelled(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::DNSName(dns) => Some(format!("DNS:{dns}")),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let six = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            four.or(six).ok().map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}

fn date(time: ASN1Time) -> String {
    let at = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::*;

    /// 2026-01-01.
    const NOW: u64 = 1_767_225_600;

    fn certificate(names: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.not_before = date_time_ymd(2025, 12, 31);
        params.not_after = date_time_ymd(2026, 1, 31);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn said(names: &[SanType], needed: &Needed, now: u64) -> Vec<String> {
        let certificate = certificate(names);
        let sheet = Sheet::read(&certificate).unwrap();
        let faults = sheet.faults(&certificate, needed, now);
        faults.iter().map(ToString::to_string).collect()
    }

    fn needed(host: &str) -> Needed {
        Needed {
            uri: Some("urn:hessra:node:prod:1".to_owned()),
            host: Some(host.to_owned()),
        }
    }

    #[test]
    fn a_certificate_with_the_right_names_has_no_fault() {
        let dns = SanType::DnsName("node1.example".try_into().unwrap());
        let address = SanType::IpAddress([10, 77, 0, 1].into());
        let names = [uri("urn:hessra:node:prod:1"), dns, address];
        for host in ["node1.example", "10.77.0.1"] {
            assert_eq!(said(&names, &needed(host), NOW), Vec::<String>::new());
        }
    }

    #[test]
    fn a_wrong_name_is_said_with_the_san_that_it_must_have() {
        let names = [
            uri("urn:hessra:node:prod:2"),
            SanType::IpAddress([10, 77, 0, 2].into()),
        ];
        let said = said(&names, &needed("10.77.0.1"), NOW);
        assert_eq!(
            said,
            [
                "it must have the SAN URI `urn:hessra:node:prod:1`; it has URI:urn:hessra:node:prod:2, IP:10.77.0.2",
                "it must have the SAN `IP:10.77.0.1`, under which the others dial it; it has \
                 URI:urn:hessra:node:prod:2, IP:10.77.0.2",
            ]
        );
    }

    #[test]
    fn a_certificate_that_names_two_members_is_none_of_one() {
        let names = [uri("urn:hessra:node:prod:1"), uri("urn:hessra:node:prod:2")];
        let needed = Needed {
            host: None,
            ..needed("")
        };
        assert_eq!(said(&names, &needed, NOW).len(), 1);
    }

    #[test]
    fn its_time_is_told() {
        let day = 86_400;
        let sheet = Sheet::read(&certificate(&[])).unwrap();
        assert_eq!(sheet.days_left(NOW), 30);
        assert!(!sheet.ends_soon(NOW));
        assert!(sheet.ends_soon(NOW + 17 * day));
        let none = Needed::default();
        assert_eq!(said(&[], &none, NOW + 31 * day), ["it has ended"]);
        let early = said(&[], &none, NOW - 2 * day);
        assert!(early[0].contains("2025-12-31T00:00:00Z"), "{early:?}");
    }
}

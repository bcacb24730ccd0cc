//! Who is on the other side: TLS on the public and the peer port.
//!
//! | module | its story |
//! |---|---|
//! | [`material`] | certificates, keys and CAs from files, and rustls configurations made of them |
//! | [`door`] | accepts connections, within limits, and serves a router on them |
//! | [`peer`] | dials members and checks that each is the member it should be |
//!
//! Client certificates are requested on the public port and demanded on the peer port; a certificate that does not check
//! ends the handshake on both. Sessions are never resumed: every connection proves its certificate anew, so one that
//! expired or whose CA was removed is worth nothing from then on.

pub mod door;
pub mod material;
pub mod peer;

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use door::{Door, DoorLimits};
pub use material::{TlsError, TlsFiles};
pub use peer::PeerTls;

/// The certificate that the other side presented and proved; a request extension on both ports, absent when none was
/// presented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PeerCertificate {
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub sha256: [u8; 32],
    pub san_uris: Vec<String>,
    pub san_dns: Vec<String>,
}

impl PeerCertificate {
    /// Reads the names of a certificate. One that does not parse has none: it identifies nobody.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>) -> Self {
        let (mut san_uris, mut san_dns) = (Vec::new(), Vec::new());
        for name in alternative_names(certificate) {
            match name {
                Name::Uri(uri) => san_uris.push(uri),
                Name::Dns(dns) => san_dns.push(dns),
            }
        }
        let der = certificate.to_vec();
        let sha256 = Sha256::digest(&der).into();
        Self {
            der,
            sha256,
            san_uris,
            san_dns,
        }
    }

    /// The member that this certificate speaks for: its SAN URI is `urn:hessra:node:<cluster>:<id>`. A certificate that
    /// names two speaks for none.
    #[must_use]
    pub fn node_id(&self, cluster: &str) -> Option<u64> {
        let prefix = format!("{NODE_URN}{cluster}:");
        let mut ids = self
            .san_uris
            .iter()
            .filter_map(|uri| uri.strip_prefix(&prefix)?.parse().ok());
        let id = ids.next()?;
        ids.next().is_none().then_some(id)
    }
}

/// SAN URI of a member.
#[must_use]
pub fn node_urn(cluster: &str, id: u64) -> String {
    format!("{NODE_URN}{cluster}:{id}")
}

const NODE_URN: &str = "urn:hessra:node:";

enum Name {
    Uri(String),
    Dns(String),
}

fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
        GeneralName::DNSName(dns) => Some(Name::Dns((*dns).to_owned())),
        _ => None,
    };
    names.value.general_names.iter().filter_map(read).collect()
}

/// Unix seconds at which a certificate ends.
#[must_use]
pub fn ends_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

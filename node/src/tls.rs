//! TLS on the public and the peer port: proof of who is on the other side.
//!
//! | module | its story |
//! |---|---|
//! | [`material`] | certificates, keys and CAs from files, and rustls configurations made of them |
//! | [`listener`] | accepts connections, within limits, and serves a router on them |
//! | [`seats`] | how many connections there may be, by address and by what they proved |
//! | `lifetime` | when a connection must end |
//! | [`trust`] | certificate and authorities of a port, replaced while it runs |
//! | [`peer`] | dials members and checks that each is the member it should be |
//! | [`inspect`] | what a certificate says, and what is wrong with it in its place |
//!
//! Client certificates are requested on the public port and demanded on the peer port; a certificate that does not check
//! ends the handshake on both. Sessions are never resumed: every connection proves its certificate anew. A connection ends with
//! its certificate, and when the CA of it is taken out of the bundle.

pub mod inspect;
mod lifetime;
pub mod listener;
pub mod material;
pub mod peer;
pub mod seats;
pub mod trust;

use hessra_revocation::canonical_dns_name;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use listener::{CallerAddress, Goodbye, Listener, ListenerLimits, NotAdmitted, Served};
pub use material::{TlsError, TlsFiles};
pub use peer::PeerTls;
pub use seats::{AddressBlock, SeatLimits, Standing};
pub use trust::{PortTls, ServerTls};

/// The certificate that the other side presented and proved; a request extension on both ports, absent when none was
/// presented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PeerCertificate {
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub sha256: [u8; 32],
    pub san_uris: Vec<String>,
    /// In canonical spelling, [`canonical_dns_name`].
    pub san_dns: Vec<String>,
    /// End of its validity, in Unix seconds; 0 when that cannot be read.
    pub ends_at: u64,
    /// True when its chain leads to an authority of this port's file. One of the policy vouches for clients alone: an operator
    /// who changes the policy must not make other operators with it.
    pub is_of_files: bool,
}

impl PeerCertificate {
    /// Reads the names of a certificate. One that does not parse has none: it identifies nobody.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>, is_of_files: bool) -> Self {
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
            ends_at: ends_at(certificate).unwrap_or(0),
            is_of_files,
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
        GeneralName::DNSName(dns) => Some(Name::Dns(canonical_dns_name(dns))),
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Metrics;

    fn authority() -> (Issuer<'static, KeyPair>, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    }

    /// Files of a member in a directory of its own.
    fn member(
        directory: &Path,
        (issuer, ca): &(Issuer<'static, KeyPair>, String),
        uri: &str,
    ) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        let name = uri.replace(':', "-");
        let write = |extension: &str, text: &str| {
            let path = directory.join(format!("{name}.{extension}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            certificate: write("crt", &params.signed_by(&key, issuer).unwrap().pem()),
            key: write("key", &key.serialize_pem()),
            authority: write("ca", ca),
        }
    }

    fn limits() -> ListenerLimits {
        let long = Duration::from_secs(10);
        ListenerLimits {
            seats: SeatLimits {
                seats_max: 2,
                unproved_max: 0,
                shared_max: 2,
                unproved_per_address_max: 0,
                proved_per_address_max: 2,
                per_certificate_max: 2,
                handshakes_max: 2,
                handshakes_per_address_max: 2,
                handshakes_per_second: 1_000,
            },
            handshake_timeout: long,
            header_timeout: long,
            idle_timeout: long,
            stall_timeout: long,
            age_max: 360 * long,
            streams_max: 10,
            streams_reset_max: 10,
            is_counting_taken_back: false,
            header_bytes_max: 16 * 1024,
        }
    }

    /// The address of a peer listener with this TLS.
    async fn listener(tls: &PortTls, stop: &CancellationToken) -> String {
        let metrics = Metrics::unrecorded();
        let clock = crate::edge::Clock::start();
        let any = ([127, 0, 0, 1], 0).into();
        let listener = Listener::open("peer", any, tls.clone(), limits(), clock, metrics);
        let listener = listener.await.unwrap();
        let address = listener.address().to_string();
        let served = Served {
            router: axum::Router::new(),
            admission: Arc::new(|_| Ok(Standing::Proved)),
        };
        tokio::spawn(listener.serve(served, stop.clone(), Duration::ZERO));
        address
    }

    /// The address of a peer listener that shows these files.
    async fn peer_listener(files: &TlsFiles, stop: &CancellationToken) -> String {
        listener(&PortTls::new(files.peer_server().unwrap()), stop).await
    }

    /// True when the other side closes. It has nothing to say before.
    async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
        use tokio::io::AsyncReadExt as _;
        matches!(stream.read(&mut [0]).await, Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn a_member_is_spoken_to_only_when_it_is_the_one_that_was_meant() {
        let (directory, ca, stop) = (
            tempfile::tempdir().unwrap(),
            authority(),
            CancellationToken::new(),
        );
        let first = member(directory.path(), &ca, &node_urn("prod", 1));
        let second = member(directory.path(), &ca, &node_urn("prod", 2));
        let address = peer_listener(&second, &stop).await;
        let tls = PeerTls::new("prod", &first).unwrap();
        tls.connect(&address, 2).await.unwrap();
        let refused = tls.connect(&address, 3).await.err().unwrap().to_string();
        assert_eq!(
            refused,
            format!("`{address}` should be node 3, its certificate names node 2")
        );
        let elsewhere = PeerTls::new("staging", &first).unwrap();
        let refused = elsewhere
            .connect(&address, 2)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.ends_with("its certificate names no member of this cluster"),
            "{refused}"
        );
        stop.cancel();
    }

    #[tokio::test]
    async fn a_member_of_another_authority_is_no_member() {
        let (directory, ca, stop) = (
            tempfile::tempdir().unwrap(),
            authority(),
            CancellationToken::new(),
        );
        let address =
            peer_listener(&member(directory.path(), &ca, &node_urn("prod", 2)), &stop).await;
        let stranger = member(directory.path(), &authority(), &node_urn("prod", 1));
        assert!(
            PeerTls::new("prod", &stranger)
                .unwrap()
                .connect(&address, 2)
                .await
                .is_err()
        );
        stop.cancel();
    }

    #[tokio::test]
    async fn seats_are_limited_and_given_back() {
        let (directory, ca, stop) = (
            tempfile::tempdir().unwrap(),
            authority(),
            CancellationToken::new(),
        );
        let address =
            peer_listener(&member(directory.path(), &ca, &node_urn("prod", 2)), &stop).await;
        let first =
            PeerTls::new("prod", &member(directory.path(), &ca, &node_urn("prod", 1))).unwrap();
        let connect = || async { first.connect(&address, 2).await.unwrap().into_inner() };
        let mut seated = (connect().await, connect().await);
        let mut third = connect().await;
        // The preface and its settings come to those that have a seat, and the end to those that have none.
        assert!(is_closed(&mut third).await);
        assert!(!is_closed(&mut seated.0).await);
        drop(seated);
        while is_closed(&mut connect().await).await {}
        stop.cancel();
    }

    #[tokio::test]
    async fn a_silent_handshake_makes_room_for_one_that_goes_on() {
        use tokio::net::TcpStream;
        let (directory, ca, stop) = (
            tempfile::tempdir().unwrap(),
            authority(),
            CancellationToken::new(),
        );
        let address =
            peer_listener(&member(directory.path(), &ca, &node_urn("prod", 2)), &stop).await;
        let mut silent = (
            TcpStream::connect(&address).await.unwrap(),
            TcpStream::connect(&address).await.unwrap(),
        );
        let first =
            PeerTls::new("prod", &member(directory.path(), &ca, &node_urn("prod", 1))).unwrap();
        first.connect(&address, 2).await.unwrap();
        assert!(is_closed(&mut silent.0).await, "the oldest made room");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_connection_ends_when_its_authority_is_trusted_no_more_and_others_stay() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (directory, elsewhere, stop) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            CancellationToken::new(),
        );
        let (old, new) = (authority(), authority());
        // A server of the new authority, which still believes the old one.
        let server = member(directory.path(), &new, &node_urn("prod", 2));
        std::fs::write(&server.authority, format!("{}{}", old.1, new.1)).unwrap();
        let tls = PortTls::new(server.peer_server().unwrap());
        let address = listener(&tls, &stop).await;
        let mut of_old = member(elsewhere.path(), &old, &node_urn("prod", 1));
        of_old.authority.clone_from(&server.authority);
        let of_new = member(elsewhere.path(), &new, &node_urn("prod", 3));
        let connect = |files: TlsFiles| {
            let address = address.clone();
            async move {
                let tls = PeerTls::new("prod", &files).unwrap();
                let mut stream = tls.connect(&address, 2).await.unwrap().into_inner();
                // It is served: its settings have come.
                assert!(!is_closed(&mut stream).await);
                stream
            }
        };
        let (mut of_old, mut of_new) = (connect(of_old).await, connect(of_new).await);
        std::fs::write(&server.authority, &new.1).unwrap();
        tls.replace(server.peer_server().unwrap());
        while !is_closed(&mut of_old).await {}
        of_new
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        // The rest of its settings, and the answer to ours.
        let mut rest = [0; 9];
        of_new.read_exact(&mut rest).await.unwrap();
        stop.cancel();
    }

    #[test]
    fn a_certificate_that_names_two_members_speaks_for_none() {
        let names = |uris: &[String]| PeerCertificate {
            der: Vec::new(),
            sha256: [0; 32],
            san_uris: uris.to_vec(),
            san_dns: Vec::new(),
            ends_at: 0,
            is_of_files: true,
        };
        assert_eq!(names(&[node_urn("prod", 7)]).node_id("prod"), Some(7));
        assert_eq!(
            names(&[node_urn("prod", 7), node_urn("prod", 8)]).node_id("prod"),
            None
        );
        assert_eq!(
            names(&["urn:hessra:alice".to_owned()]).node_id("prod"),
            None
        );
        assert_eq!(names(&[node_urn("production", 7)]).node_id("prod"), None);
    }
}

//! Connection to the servers: their addresses, the trust in them, and the client's own certificate.
//!
//! ```no_run
//! # fn main() -> Result<(), hessra_sdk_rust::ClientError> {
//! use hessra_sdk_rust::{Connection, Credentials, Trust};
//! let connection = Connection::new("node1:7443, node2:7443".parse()?, Trust::file("ca.crt")?)
//!     .credentials(Credentials::files("alice.crt", "alice.key")?);
//! # Ok(()) }
//! ```
//!
//! Only the given authorities are trusted, never those compiled in or of the system: a Hessra cluster has its own.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hessra_files::{Readers, SecretError, open_secret, read_bounded};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use hessra_revocation::{FeedId, UnixSeconds};

use crate::ClientError;
use crate::readings::Readings;
use crate::validity::{NotValid, Validity, utc};

mod endpoint;

pub use endpoint::{Endpoint, Servers};

/// Port of an address that names none: that of HTTPS, as published clients have it.
pub const PORT_DEFAULT: u16 = 443;
/// Most servers of a list: more than any cluster has, so a longer list is a mistake.
pub const SERVERS_MAX: usize = 64;
/// Largest PEM file: a larger file is not one.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The certificate authorities that servers are believed by.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    pem: Vec<u8>,
}

impl Trust {
    /// Trust in the authorities of a PEM bundle.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] when no certificate is in it.
    pub fn pem(pem: impl Into<Vec<u8>>) -> Result<Self, ClientError> {
        let trust = Self { pem: pem.into() };
        match certificates(&trust.pem) {
            Some(found) if !found.is_empty() => Ok(trust),
            _ => Err(ClientError::invalid(
                "the authority's certificate is not PEM",
            )),
        }
    }

    /// Trust in the authorities of a PEM file.
    ///
    /// # Errors
    /// When it cannot be read, or holds no certificate.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let pem = read(path)?;
        Self::pem(pem.to_vec()).map_err(|error| in_file(error, path))
    }
}

impl Trust {
    /// The authorities, DER.
    #[must_use]
    pub fn authorities(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.pem).unwrap_or_default()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} bytes)", self.pem.len())
    }
}

/// The client's own certificate chain and private key.
#[derive(Clone)]
pub struct Credentials {
    certificate: Vec<u8>,
    key: Arc<Zeroizing<Vec<u8>>>,
    /// File of the certificate, when it came from one.
    file: Option<PathBuf>,
    validity: Option<Validity>,
}

impl Credentials {
    /// Credentials of PEM texts: a certificate chain, leaf first, and an unencrypted PKCS#8, SEC1 or PKCS#1 key.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] when either is not what it should be.
    pub fn pem(
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Result<Self, ClientError> {
        Ok(Self::parse(certificate.into(), Zeroizing::new(key.into()))?)
    }

    /// Credentials of PEM files.
    ///
    /// # Errors
    /// When one cannot be read or parsed, and when others than owner and group may read the key.
    pub fn files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ClientError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        // Group-readable stays allowed: that is how service managers hand keys to a service.
        let key_file = open_secret(key, Readers::OwnerAndGroup).map_err(|error| match error {
            SecretError::Unreadable(error) => ClientError::file("read", key, &error),
            SecretError::Exposed { mode } => open_to_everybody(key, mode),
        })?;
        let certificate_pem = read(certificate)?;
        let key_pem = read_pem(key_file, key)?;
        let parsed = Self::parse(certificate_pem.to_vec(), key_pem);
        let parsed = parsed.map(|parsed| Self {
            file: Some(certificate.to_owned()),
            ..parsed
        });
        parsed.map_err(|error| {
            let path = match error {
                CredentialError::Certificate => certificate,
                CredentialError::PrivateKey => key,
            };
            in_file(error.into(), path)
        })
    }

    fn parse(certificate: Vec<u8>, key: Zeroizing<Vec<u8>>) -> Result<Self, CredentialError> {
        let chain = certificates(&certificate).filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(CredentialError::Certificate)?;
        PrivateKeyDer::from_pem_slice(&key).map_err(|_| CredentialError::PrivateKey)?;
        Ok(Self {
            certificate,
            key: Arc::new(key),
            file: None,
            validity: Validity::of(&chain),
        })
    }

    /// Refuses a certificate that has ended or not begun by this computer's clock: a server says of it no more than that it
    /// ends the connection.
    ///
    /// # Errors
    /// [`crate::Reason::Unauthenticated`], with the file and the instant.
    pub fn check_valid(&self, now: UnixSeconds) -> Result<(), ClientError> {
        let Some(Err(not_valid)) = self.validity.map(|validity| validity.check(now)) else {
            return Ok(());
        };
        let named = self.file.as_ref();
        let named = named.map_or_else(String::new, |file| format!(" `{}`", file.display()));
        let hint = match not_valid {
            NotValid::Ended(_) => "Get a new one",
            NotValid::NotYet(_) => "Wait, or get another",
        };
        Err(ClientError::new(
            crate::Reason::Unauthenticated,
            format!("your client certificate{named} {not_valid}"),
        )
        .hint(format!("{hint}; this computer's clock says {}.", utc(now))))
    }

    /// The certificate chain as PEM; the key is never given out.
    #[must_use]
    pub fn certificate_pem(&self) -> &[u8] {
        &self.certificate
    }
}

/// Error of credentials, by the half that is not what it should be.
#[derive(Debug, thiserror::Error)]
enum CredentialError {
    #[error("the client certificate is not PEM")]
    Certificate,
    #[error("the private key is not an unencrypted PEM key")]
    PrivateKey,
}

impl From<CredentialError> for ClientError {
    fn from(error: CredentialError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .ok()
}

fn in_file(mut error: ClientError, path: &Path) -> ClientError {
    error.message = format!("{} (`{}`)", error.message, path.display());
    error
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let file = File::open(path).map_err(|error| ClientError::file("read", path, &error))?;
    read_pem(file, path)
}

fn read_pem(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let failed = |error: std::io::Error| ClientError::file("read", path, &error);
    let size = file.metadata().map_err(failed)?.len();
    if size > PEM_BYTES_MAX {
        return Err(ClientError::invalid(format!(
            "`{}` has {size} bytes: not a PEM file",
            path.display()
        )));
    }
    read_bounded(file, PEM_BYTES_MAX).map_err(failed)
}

fn open_to_everybody(key: &Path, mode: u32) -> ClientError {
    let (shown, mode) = (key.display(), mode & 0o777);
    ClientError::new(
        crate::Reason::NotPermitted,
        format!("private key `{shown}` is open to everybody ({mode:03o})"),
    )
    .hint(format!("Run `chmod 600 {shown}`."))
}

/// Connection to a cluster: everything needed to talk to it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Servers to start with.
    pub servers: Servers,
    /// Authorities that servers are believed by.
    pub trust: Trust,
    /// Certificate and key of the client; without, only what needs no identity can be asked.
    pub credentials: Option<Credentials>,
    /// Id of the cluster that requests are signed for. `None`: the first server that is asked says it; give it where one
    /// authority certifies the operators of several clusters, so that no server can name another of them.
    pub cluster: Option<FeedId>,
    /// Time for TCP and TLS together. Default 3 s.
    pub connect_timeout: Duration,
    /// Time for one whole request, all attempts at all servers included. Default 10 s.
    pub timeout: Duration,
    /// Ages of the answers to reads, of all clients that are made from this connection.
    pub readings: Readings,
}

impl Connection {
    /// Connection with default timeouts and without an identity.
    #[must_use]
    pub fn new(servers: Servers, trust: Trust) -> Self {
        let (connect_timeout, timeout) = (Duration::from_secs(3), Duration::from_secs(10));
        Self {
            servers,
            trust,
            credentials: None,
            cluster: None,
            connect_timeout,
            timeout,
            readings: Readings::default(),
        }
    }

    /// Sets the client's certificate and key.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets the id of the cluster that requests are signed for.
    #[must_use]
    pub fn cluster(mut self, cluster: FeedId) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Sets the time for one whole request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Refuses a client certificate that is not valid now, before anybody is asked with it.
    ///
    /// # Errors
    /// As [`Credentials::check_valid`].
    pub(crate) fn check_certificate(&self, now: UnixSeconds) -> Result<(), ClientError> {
        let credentials = self.credentials.as_ref();
        credentials.map_or(Ok(()), |credentials| credentials.check_valid(now))
    }

    /// TLS for gRPC to one server.
    pub(crate) fn grpc_tls(&self, server: &Endpoint) -> tonic::transport::ClientTlsConfig {
        let tls = tonic::transport::ClientTlsConfig::new()
            .ca_certificate(tonic::transport::Certificate::from_pem(&self.trust.pem))
            .domain_name(server.host());
        match &self.credentials {
            None => tls,
            Some(own) => tls.identity(tonic::transport::Identity::from_pem(
                &own.certificate,
                own.key.as_slice(),
            )),
        }
    }

    /// TLS for HTTPS. `identified`: present our certificate.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] when certificate and key do not belong together.
    pub(crate) fn https_tls(&self, identified: bool) -> Result<rustls::ClientConfig, ClientError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.trust.pem).unwrap_or_default());
        // The provider by name: the process may have installed another, or none.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                ClientError::new(
                    crate::Reason::Internal,
                    format!("TLS cannot be set up: {error}"),
                )
            })?
            .with_root_certificates(roots);
        let mut config = match self.credentials.as_ref().filter(|_| identified) {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(
                    certificates(&own.certificate).unwrap_or_default(),
                    own.private_key()?,
                )
                .map_err(|error| {
                    ClientError::invalid(format!("certificate and key do not fit: {error}"))
                })?,
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Credentials {
    /// The certificate chain, DER.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.certificate).unwrap_or_default()
    }

    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, ClientError> {
        PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| ClientError::invalid("the private key is not PEM"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_half_that_is_wrong_is_named_by_its_file() {
        let folder = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (
            folder.path().join("client.crt"),
            folder.path().join("private key.pem"),
        );
        let signed = rcgen::generate_simple_self_signed(["client".to_owned()]).expect("made");
        let refusal = |certificate_pem: &str, key_pem: &str| {
            std::fs::write(&certificate, certificate_pem).expect("written");
            std::fs::write(&key, key_pem).expect("written");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&key, private).expect("mode");
            Credentials::files(&certificate, &key).map_err(|error| error.message)
        };
        let (good_certificate, good_key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
        assert_eq!(
            refusal("", &good_key).expect_err("refused"),
            format!(
                "the client certificate is not PEM (`{}`)",
                certificate.display()
            )
        );
        assert_eq!(
            refusal(&good_certificate, "").expect_err("refused"),
            format!(
                "the private key is not an unencrypted PEM key (`{}`)",
                key.display()
            )
        );
        refusal(&good_certificate, &good_key).expect("both are good");
    }

    #[test]
    fn a_key_that_everybody_may_read_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a directory");
        let key = folder.path().join("client.key");
        std::fs::write(&key, "").expect("written");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("mode");
        let error =
            Credentials::files(folder.path().join("client.crt"), &key).expect_err("refused");
        assert!(
            error.message.contains("client.key") && error.hint.contains("chmod 600"),
            "{error}"
        );
    }
}

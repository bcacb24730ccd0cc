//! Certificates, keys and CAs from files, and the rustls configurations made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientCertVerifierBuilder, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version::TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::trust::{ServerTls, Trust};

/// Error of files that do not make TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TlsError {
    #[error("cannot read `{path}`: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("`{path}` holds no PEM {what}")]
    Empty { path: PathBuf, what: &'static str },
    #[error("`{path}` holds a certificate that is no CA: {reason}")]
    NoAuthority { path: PathBuf, reason: String },
    #[error("`{certificate}` and `{key}` do not make a TLS identity: {reason}")]
    Identity {
        certificate: PathBuf,
        key: PathBuf,
        reason: String,
    },
}

/// The files of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// CA whose certificates the other side may show.
    pub authority: PathBuf,
}

/// Time and size of each file, which tell that files have changed.
pub type Fingerprint = Vec<Option<(SystemTime, u64)>>;

impl TlsFiles {
    /// Fingerprint that changes whenever a file is replaced or rewritten.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [&self.certificate, &self.key, &self.authority]
            .map(stamp)
            .into()
    }

    /// The authorities whose certificates the other side may show.
    ///
    /// # Errors
    /// The file cannot be read or holds none.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.authority)
    }

    /// The chain that this node shows; the first is its own.
    ///
    /// # Errors
    /// The file cannot be read or holds none.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.certificate)
    }

    /// TLS of the public port: client certificates are requested, not required.
    ///
    /// # Errors
    /// A file cannot be read, or the parts do not fit together.
    pub fn public_server(
        &self,
        more_authorities: &[CertificateDer<'static>],
    ) -> Result<ServerTls, TlsError> {
        let mut authorities = self.authorities()?;
        authorities.extend_from_slice(more_authorities);
        let verifier = self.verifier(&authorities)?.allow_unauthenticated();
        self.server(verifier, authorities, &[b"h2", b"http/1.1"])
    }

    /// TLS of the peer port: a certificate of the cluster's CA is required.
    ///
    /// # Errors
    /// A file cannot be read, or the parts do not fit together.
    pub fn peer_server(&self) -> Result<ServerTls, TlsError> {
        let authorities = self.authorities()?;
        let verifier = self.verifier(&authorities)?;
        self.server(verifier, authorities, &[b"h2"])
    }

    /// Client configuration for dialling members.
    ///
    /// # Errors
    /// A file cannot be read, or the parts do not fit together.
    pub fn peer_client(&self) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has the cipher suites of TLS 1.3")
            .with_root_certificates(self.roots(&self.authorities()?)?)
            .with_client_auth_cert(self.chain()?, self.private_key()?)
            .map_err(|error| self.misfit(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn verifier(
        &self,
        authorities: &[CertificateDer<'static>],
    ) -> Result<ClientCertVerifierBuilder, TlsError> {
        let roots = Arc::new(self.roots(authorities)?);
        Ok(WebPkiClientVerifier::builder_with_provider(
            roots,
            provider(),
        ))
    }

    fn server(
        &self,
        verifier: ClientCertVerifierBuilder,
        authorities: Vec<CertificateDer<'static>>,
        protocols: &[&[u8]],
    ) -> Result<ServerTls, TlsError> {
        let built = |verifier: ClientCertVerifierBuilder| {
            let built = verifier.build();
            built.map_err(|error| self.no_authority(&error))
        };
        let of_files = built(self.verifier(&self.authorities()?)?)?;
        let verifier = built(verifier)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has the cipher suites of TLS 1.3")
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(self.chain()?, self.private_key()?)
            .map_err(|error| self.misfit(&error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(ServerTls {
            config: Arc::new(config),
            trust: Trust::new(verifier, of_files, authorities),
        })
    }

    fn roots(&self, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|error| self.no_authority(&error))?;
        }
        Ok(roots)
    }

    fn no_authority(&self, reason: &dyn std::fmt::Display) -> TlsError {
        TlsError::NoAuthority {
            path: self.authority.clone(),
            reason: reason.to_string(),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = zeroize::Zeroizing::new(read(&self.key)?);
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Empty {
            path: self.key.clone(),
            what: "private key",
        })
    }

    fn misfit(&self, error: &rustls::Error) -> TlsError {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        TlsError::Identity {
            certificate,
            key,
            reason: error.to_string(),
        }
    }
}

/// The one crypto provider of the product.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::Empty {
        path: path.into(),
        what: "certificate",
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| none())?;
    if chain.is_empty() {
        Err(none())
    } else {
        Ok(chain)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.into(),
        reason: error.to_string(),
    })
}

//! Signer: who signs a statement. The chain of an operator's certificate, and the names in its first one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ed25519_dalek::VerifyingKey;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::algorithm::Algorithm;

/// Type of our signatures, so that none made for another purpose is taken for one (RFC 8725 §3.11).
const TYPE: &str = "hessra-command+jws";
/// Certificates of a chain: an operator's, and those between it and its authority.
pub const CHAIN_MAX: usize = 4;

/// Headers whose signers are kept; beyond that all are read anew. Operators are few.
const SHARED_MAX: usize = 256;

/// Bytes of the longest header whose signer is kept: no proof that is shown to a node has a longer one.
const SHARED_BYTES_MAX: usize = 12 * 1024;

/// Signers by the header that they were read of. What is read depends on nothing else.
static READ: Mutex<BTreeMap<Box<str>, Arc<Signer>>> = Mutex::new(BTreeMap::new());

/// Makes signatures with the private key of a certificate.
pub trait Sign {
    /// Algorithm of the key.
    fn algorithm(&self) -> Algorithm;

    /// Signature of the message, in the form of RFC 7518: for ECDSA the two numbers at their full length.
    ///
    /// # Errors
    /// The key, or the device that holds it, does not serve: a sentence.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// Error of a header that names no signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignerError {
    #[error("the header of the signature is not one of ours")]
    Header,
    #[error("the certificate of the signature cannot be read")]
    Certificate,
}

/// Signer, as the header of its signatures says it. What it says is read here and believed nowhere: see
/// [`crate::Checker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Protected header, base64url: the first part of every proof by this signer.
    pub(crate) header: String,
    pub(crate) algorithm: Algorithm,
    /// Chain, DER; its first is the signer's own.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) public_key: Vec<u8>,
    /// Public key of Ed25519, as a point: finding it takes a fifth of a verification.
    pub(crate) ed25519: Option<VerifyingKey>,
    fingerprint: [u8; 32],
    uris: Vec<String>,
    dns_names: Vec<String>,
    not_before: u64,
    ends_at: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
}

impl Signer {
    /// Signer with this chain, whose first certificate is its own.
    ///
    /// # Errors
    /// No certificate, too many, or one that cannot be read.
    pub fn new(
        algorithm: Algorithm,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, SignerError> {
        if chain.len() > CHAIN_MAX {
            return Err(SignerError::Header);
        }
        let own = chain.first().ok_or(SignerError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(own).map_err(|_| SignerError::Certificate)?;
        let seconds = |time: i64| u64::try_from(time).map_err(|_| SignerError::Certificate);
        let (uris, dns_names) = names(&parsed);
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        Ok(Self {
            header: header(algorithm, &chain),
            algorithm,
            ed25519: public_key
                .as_slice()
                .try_into()
                .ok()
                .filter(|_| algorithm == Algorithm::EdDsa),
            public_key,
            fingerprint: Sha256::digest(own).into(),
            uris,
            dns_names,
            not_before: seconds(parsed.validity().not_before.timestamp())?,
            ends_at: seconds(parsed.validity().not_after.timestamp())?,
            chain,
        })
    }

    /// Reads a protected header, base64url.
    ///
    /// # Errors
    /// It is not one of ours, or its certificate cannot be read.
    pub fn read(header: &str) -> Result<Self, SignerError> {
        let bytes = BASE64URL_NOPAD
            .decode(header.as_bytes())
            .map_err(|_| SignerError::Header)?;
        let Header { alg, typ, x5c } =
            serde_json::from_slice(&bytes).map_err(|_| SignerError::Header)?;
        let algorithm = Algorithm::parse(&alg).ok_or(SignerError::Header)?;
        if typ != TYPE || x5c.len() > CHAIN_MAX {
            return Err(SignerError::Header);
        }
        let certificate = |text: &String| BASE64.decode(text.as_bytes()).map(CertificateDer::from);
        let chain: Result<Vec<_>, _> = x5c.iter().map(certificate).collect();
        let signer = Self::new(algorithm, chain.map_err(|_| SignerError::Header)?)?;
        // One spelling: otherwise a header could say more than what is read of it.
        if signer.header == header {
            Ok(signer)
        } else {
            Err(SignerError::Header)
        }
    }

    /// Reads a protected header as [`Self::read`] does, or takes what was read of the same header before: every command of an
    /// operator carries it, and every member reads it more than once.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn shared(header: &str) -> Result<Arc<Self>, SignerError> {
        // What a member puts into a log entry has no bound of its own.
        if header.len() > SHARED_BYTES_MAX {
            return Self::read(header).map(Arc::new);
        }
        // No code panics while it holds the lock.
        let read = || READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = read().get(header) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Self::read(header)?);
        let mut read = read();
        if read.len() >= SHARED_MAX {
            read.clear();
        }
        read.insert(header.into(), Arc::clone(&signer));
        Ok(signer)
    }

    /// Protected header, base64url.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// SHA-256 of the public key: the same in every certificate of one key.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }

    /// Subject alternative names of the kind URI.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Subject alternative names of the kind DNS.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Name of the signer where no policy says another: the first URI of its certificate; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.uris.first().map_or("", String::as_str)
    }

    /// Unix seconds at which the certificate ends.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        self.ends_at
    }

    pub(crate) fn is_valid_at(&self, seconds: u64) -> bool {
        (self.not_before..=self.ends_at).contains(&seconds)
    }
}

fn header(algorithm: Algorithm, chain: &[CertificateDer<'_>]) -> String {
    let chain: Vec<String> = chain
        .iter()
        .map(|certificate| format!("\"{}\"", BASE64.encode(certificate)))
        .collect();
    let json = format!(
        r#"{{"alg":"{}","typ":"{TYPE}","x5c":[{}]}}"#,
        algorithm.name(),
        chain.join(",")
    );
    BASE64URL_NOPAD.encode(json.as_bytes())
}

fn names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<String>) {
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return (uris, dns_names);
    };
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => dns_names.push((*dns).to_owned()),
            _ => {}
        }
    }
    (uris, dns_names)
}

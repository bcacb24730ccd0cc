//! Signing of operators' requests, with the key of the client certificate.
//!
//! rustls makes the signatures, because it reads every form of private key that it authenticates with. An ECDSA signature of
//! TLS is DER, one of a JWS the two numbers side by side (RFC 7518 §3.4): that is all that is done here.

use std::sync::Arc;

use hessra_proof::{Algorithm, LIFE_SECONDS_MAX, Proof, Sign, Signer, Statement};
use hessra_proto::statement::{PROOF_KEY, Stated, digest};
use hessra_revocation::FeedId;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{SignatureScheme, crypto::ring::sign::any_supported_type};
use tonic::metadata::{Ascii, MetadataValue};

use crate::config::Credentials;
use crate::{ClientError, clock};

/// Schemes of TLS, and the algorithms of JWS that make the same signatures.
const SCHEMES: [(SignatureScheme, Algorithm); 4] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, Algorithm::Es256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, Algorithm::Es384),
    (SignatureScheme::ED25519, Algorithm::EdDsa),
    (SignatureScheme::RSA_PSS_SHA256, Algorithm::Ps256),
];

/// Signs the requests of one operator to one cluster, for whoever sends them: [`crate::Authority`], or a gRPC client of one's
/// own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestSigner {
    key: Arc<OperatorKey>,
    cluster: FeedId,
}

impl RequestSigner {
    /// Signer with the key of a client certificate, for the cluster with this id.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] for a key that cannot sign requests, or a certificate that cannot be read.
    pub fn new(credentials: &Credentials, cluster: FeedId) -> Result<Self, ClientError> {
        let key = OperatorKey::new(credentials.chain(), &credentials.private_key()?)?;
        Ok(Self {
            key: Arc::new(key),
            cluster,
        })
    }

    /// Proof of a request, as metadata [`PROOF_KEY`] carries it: for this request, as often as it is tried within the life of
    /// a proof.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] for a request without an id, or when the key does not serve.
    pub fn prove(&self, request: &impl Stated) -> Result<MetadataValue<Ascii>, ClientError> {
        let id = <[u8; 16]>::try_from(request.request_id()).map_err(|_| {
            ClientError::invalid("a request that changes something has an id of 16 bytes")
        })?;
        let content = digest(&request.statement());
        let proof = self
            .key
            .prove(self.cluster.0, id, content, clock::wall().0)?;
        MetadataValue::try_from(proof.text())
            .map_err(|error| ClientError::invalid(format!("the proof is no metadata: {error}")))
    }

    /// A request with its proof.
    ///
    /// # Errors
    /// As [`Self::prove`].
    pub fn sign<Q: Stated>(&self, request: Q) -> Result<tonic::Request<Q>, ClientError> {
        let proof = self.prove(&request)?;
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert(PROOF_KEY, proof);
        Ok(request)
    }
}

/// An operator's key, and the chain of its certificate.
struct OperatorKey {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    algorithm: Algorithm,
    signer: Arc<Signer>,
}

impl OperatorKey {
    /// The key of a certificate.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] for a key that none of the algorithms is for, or a certificate that cannot be read.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, ClientError> {
        let unfit = || {
            ClientError::invalid("the private key cannot sign requests")
                .hint("Use an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key.")
        };
        let key = any_supported_type(key).map_err(|_| unfit())?;
        let fits =
            |(scheme, _): &&(SignatureScheme, Algorithm)| key.choose_scheme(&[*scheme]).is_some();
        let (scheme, algorithm) = *SCHEMES.iter().find(fits).ok_or_else(unfit)?;
        let signer = Signer::new(algorithm, chain)
            .map_err(|error| ClientError::invalid(format!("cannot sign requests: {error}")))?;
        Ok(Self {
            key,
            scheme,
            algorithm,
            signer: Arc::new(signer),
        })
    }

    /// Signs one request: for this cluster, from `now` on, for as long as a proof may live.
    ///
    /// # Errors
    /// The key does not serve.
    fn prove(
        &self,
        cluster: [u8; 16],
        request: [u8; 16],
        command: [u8; 32],
        now: u64,
    ) -> Result<Proof, ClientError> {
        let statement = Statement {
            cluster,
            request,
            command,
            issued_at: now,
            expires_at: now.saturating_add(LIFE_SECONDS_MAX),
        };
        Proof::sign(Arc::clone(&self.signer), statement, self)
            .map_err(|error| ClientError::invalid(error.to_string()))
    }
}

impl Sign for OperatorKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let signer = self.key.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or_else(|| "the key has changed".to_owned())?;
        let signature = signer.sign(message).map_err(|error| error.to_string())?;
        let fixed = match self.algorithm {
            Algorithm::Es256 => side_by_side(&signature, 32),
            Algorithm::Es384 => side_by_side(&signature, 48),
            Algorithm::EdDsa | Algorithm::Ps256 => Some(signature),
        };
        fixed.ok_or_else(|| "the signature is not DER".to_owned())
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorKey(..)")
    }
}

/// The two numbers of an ECDSA signature (RFC 3279 §2.2.3), each at its full length. Both are short enough that every length
/// in the DER is one byte.
fn side_by_side(der: &[u8], length: usize) -> Option<Vec<u8>> {
    let [0x30, sequence, rest @ ..] = der else {
        return None;
    };
    if usize::from(*sequence) != rest.len() {
        return None;
    }
    let (first, rest) = number(rest, length)?;
    let (second, rest) = number(rest, length)?;
    rest.is_empty().then(|| [first, second].concat())
}

/// A positive number at its full length, and what follows it.
fn number(der: &[u8], length: usize) -> Option<(Vec<u8>, &[u8])> {
    let [0x02, bytes, rest @ ..] = der else {
        return None;
    };
    let (digits, rest) = rest.split_at_checked(usize::from(*bytes))?;
    let digits = match digits {
        [0, digits @ ..] => digits,
        digits => digits,
    };
    let padding = length.checked_sub(digits.len())?;
    let padded = std::iter::repeat_n(0, padding).chain(digits.iter().copied());
    Some((padded.collect(), rest))
}

#[cfg(test)]
mod tests {
    use hessra_proof::{Checker, SKEW_SECONDS_MAX};
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm};

    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn authority() -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").der().clone();
        (Issuer::new(params, key), certificate)
    }

    fn operator(kind: &'static SignatureAlgorithm) -> (OperatorKey, Checker) {
        let (issuer, ca) = authority();
        let key = KeyPair::generate_for(kind).expect("a key");
        let params = CertificateParams::new(vec!["operator.example".to_owned()]);
        let certificate = params.expect("a name").signed_by(&key, &issuer);
        let chain = vec![certificate.expect("signed").der().clone()];
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let operator = OperatorKey::new(chain, &private).expect("a key that signs");
        (operator, Checker::new(vec![ca]))
    }

    #[test]
    fn every_kind_of_key_signs_what_the_nodes_believe() {
        let kinds = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::Es256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::Es384),
            (&rcgen::PKCS_ED25519, Algorithm::EdDsa),
        ];
        for (kind, algorithm) in kinds {
            let (operator, checker) = operator(kind);
            assert_eq!(operator.algorithm(), algorithm);
            // Numbers that begin with zeros have shorter DER: some of so many do.
            for number in 0..300_u16 {
                let mut request = [7; 16];
                request[..2].copy_from_slice(&number.to_be_bytes());
                let proof = operator
                    .prove([1; 16], request, [2; 32], NOW)
                    .expect("signed");
                let read = Proof::read(&proof.text()).expect("a proof");
                assert_eq!(checker.check(&read, NOW), Ok(()), "{algorithm:?} {number}");
            }
            let proof = operator
                .prove([1; 16], [7; 16], [2; 32], NOW)
                .expect("signed");
            assert!(
                checker
                    .check(&proof, NOW + LIFE_SECONDS_MAX + SKEW_SECONDS_MAX + 1)
                    .is_err()
            );
        }
    }
}

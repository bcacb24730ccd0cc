//! Proof: a statement, its signer and the signature, as one text or in parts.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use crate::signer::{Sign, Signer, SignerError};
use crate::statement::Statement;

/// Bytes of a proof as text: a chain of three certificates of RSA-4096, encoded twice, is about 11 KiB. Below the smallest
/// `limits.header_bytes_max`, because a proof travels beside its request.
pub const PROOF_BYTES_MAX: usize = 12 * 1024;
/// Bytes of a signature: RSA-8192.
pub const SIGNATURE_BYTES_MAX: usize = 1024;

/// Error of a text that is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProofError {
    #[error("the signature of the command is not a compact JWS of at most {PROOF_BYTES_MAX} bytes")]
    Form,
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error("the signature of the command signs something else than a command")]
    Statement,
    #[error("the command could not be signed: {0}")]
    Signing(String),
}

/// Proof of a command. What it says was read and is believed nowhere: see [`crate::Checker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    signer: Arc<Signer>,
    statement: Statement,
    signature: Arc<[u8]>,
}

impl Proof {
    /// Signs a statement.
    ///
    /// # Errors
    /// The key does not serve.
    pub fn sign(
        signer: Arc<Signer>,
        statement: Statement,
        key: &dyn Sign,
    ) -> Result<Self, ProofError> {
        let message = message(&signer, &statement);
        let signature = key.sign(message.as_bytes()).map_err(ProofError::Signing)?;
        Ok(Self::of_parts(signer, statement, &signature))
    }

    /// Puts a proof together that was kept in parts.
    #[must_use]
    pub fn of_parts(signer: Arc<Signer>, statement: Statement, signature: &[u8]) -> Self {
        Self {
            signer,
            statement,
            signature: signature.into(),
        }
    }

    /// Reads a compact JWS.
    ///
    /// # Errors
    /// It is none, not one of ours, or too long.
    pub fn read(text: &str) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Form);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ProofError::Form);
        };
        let decode = |part: &str| {
            BASE64URL_NOPAD
                .decode(part.as_bytes())
                .map_err(|_| ProofError::Form)
        };
        let signature = decode(signature)?;
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(ProofError::Form);
        }
        let statement = Statement::read(&decode(payload)?).ok_or(ProofError::Statement)?;
        Ok(Self::of_parts(
            Signer::shared(header)?,
            statement,
            &signature,
        ))
    }

    /// Compact JWS (RFC 7515 §7.1).
    #[must_use]
    pub fn text(&self) -> String {
        let signature = BASE64URL_NOPAD.encode(&self.signature);
        format!("{}.{signature}", message(&self.signer, &self.statement))
    }

    /// Signer, with the certificate chain.
    #[must_use]
    pub fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }

    /// Statement that was signed.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Signature, as in RFC 7518.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn message(&self) -> String {
        message(&self.signer, &self.statement)
    }
}

/// JWS signing input (RFC 7515 §5.1).
fn message(signer: &Signer, statement: &Statement) -> String {
    let payload = BASE64URL_NOPAD.encode(statement.payload().as_bytes());
    format!("{}.{payload}", signer.header)
}

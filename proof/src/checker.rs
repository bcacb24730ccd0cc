//! Checker: says whether a proof is to be believed. One function, for the node that is asked, the leader, every member
//! before it acknowledges an entry, and the audit.
//!
//! The chain of a certificate is verified once and remembered by the certificate's fingerprint; what is left for every
//! other command of the same operator is one signature. A node that is asked for a command meets it again when its leader brings
//! it: then its signature is remembered too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::UnparsedPublicKey;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::proof::Proof;
use crate::signer::Signer;

/// Certificates that are remembered as verified; more are verified again. Operators are few.
const REMEMBERED_MAX: usize = 1_024;
/// Proofs whose signatures are remembered as right. Origin: sixteen full entries.
const PROOFS_MAX: usize = 4_096;
/// Seconds for which a verified chain is relied upon: the certificates between may end meanwhile.
const REMEMBERED_SECONDS: u64 = 3_600;

/// Reason why a proof is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Unproved {
    #[error("no operator's signature came with the command")]
    Missing,
    #[error(
        "the certificate of the signature is not of an authority that identifies operators: {0}"
    )]
    Certificate(String),
    #[error("the certificate of the signature was not valid at the time of the command")]
    CertificateEnded,
    #[error("the signature is not of the certificate that it names")]
    Signature,
    #[error(
        "the signature was made at {issued_at} and ends at {expires_at}, and the cluster's time is {now}. Set this machine's clock, and sign anew"
    )]
    Time {
        issued_at: u64,
        expires_at: u64,
        now: u64,
    },
    #[error("the signature is for another cluster")]
    OtherCluster,
    #[error("the signature is of another command, or of another request")]
    OtherCommand,
    #[error("`{0}` may not make this command")]
    OtherAuthor(String),
}

/// Checks proofs against the authorities that identify operators. All clones of one are one.
#[derive(Debug)]
pub struct Checker {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    authorities: Arc<[CertificateDer<'static>]>,
    /// Time at which the chain of each certificate was verified, by its fingerprint and header.
    verified: BTreeMap<[u8; 32], (Arc<Signer>, u64)>,
    right: Right,
}

/// Proofs whose signatures were verified, one by one. Found by the signature, compared as a whole.
#[derive(Debug, Default)]
struct Right {
    proofs: BTreeMap<Arc<[u8]>, Proof>,
    order: VecDeque<Arc<[u8]>>,
}

impl Right {
    fn has(&self, proof: &Proof) -> bool {
        self.proofs.get(proof.signature()) == Some(proof)
    }

    fn keep(&mut self, proof: &Proof) {
        let signature: Arc<[u8]> = proof.signature().into();
        if self
            .proofs
            .insert(Arc::clone(&signature), proof.clone())
            .is_none()
        {
            self.order.push_back(signature);
        }
        if self.order.len() > PROOFS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.proofs.remove(&oldest);
        }
    }
}

impl Checker {
    /// Checker that trusts these authorities: certificates, DER.
    #[must_use]
    pub fn new(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                authorities: authorities.into(),
                verified: BTreeMap::new(),
                right: Right::default(),
            }),
        }
    }

    /// Trusts other authorities from now on, and forgets which certificates were verified.
    pub fn replace(&self, authorities: Vec<CertificateDer<'static>>) {
        let mut inner = self.lock();
        inner.authorities = authorities.into();
        inner.verified.clear();
    }

    /// Checks a proof as of `now`, in Unix seconds: certificate, signature, time. That the statement is that of the command
    /// it came with is for the caller to compare.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(&self, proof: &Proof, now: u64) -> Result<(), Unproved> {
        self.check_time(proof, now)?;
        self.signature(proof)
    }

    /// Checks many proofs, each as of its time, for an alarm: signatures of Ed25519 are verified together, which takes half the
    /// time. Together, a signature can pass that does not pass alone when the holder of its key has made it so (cofactors; Chalkias
    /// et al., "Taming the many EdDSAs", 2020): nothing is permitted by what is checked here.
    pub fn check_for_alarm(&self, proofs: &[(&Proof, u64)]) -> Vec<Result<(), Unproved>> {
        let checked = proofs.iter().map(|(proof, at)| {
            self.check_time(proof, *at)?;
            Ok(!self.lock().right.has(proof))
        });
        let checked: Vec<Result<bool, Unproved>> = checked.collect();
        let unknown = checked.iter().zip(proofs);
        let unknown = unknown.filter(|(checked, _)| matches!(checked, Ok(true)));
        let unknown: Vec<&Proof> = unknown.map(|(_, (proof, _))| *proof).collect();
        let together = are_right_together(&unknown);
        let outcome =
            |(checked, (proof, _)): (Result<bool, Unproved>, &(&Proof, u64))| match checked?
                && !together
            {
                true => self.signature(proof),
                false => Ok(()),
            };
        checked.into_iter().zip(proofs).map(outcome).collect()
    }

    /// Checks that a proof, which [`Self::check`] has believed, is believed at another time too: of its command's stamp. The
    /// signature says nothing about times, and is not verified again.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check_time(&self, proof: &Proof, at: u64) -> Result<(), Unproved> {
        let (statement, signer) = (proof.statement(), proof.signer());
        if !statement.is_current(at) {
            return Err(Unproved::Time {
                issued_at: statement.issued_at,
                expires_at: statement.expires_at,
                now: at,
            });
        }
        if !signer.is_valid_at(at) {
            return Err(Unproved::CertificateEnded);
        }
        self.certificate(signer, at)
    }

    /// Checks a proof that was kept: as [`Self::check`] at the time of its command, however long ago that was.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check_kept(&self, proof: &Proof, at: u64) -> Result<(), Unproved> {
        let signer = proof.signer();
        if !signer.is_valid_at(at) {
            return Err(Unproved::CertificateEnded);
        }
        self.certificate(signer, at)?;
        self.signature(proof)
    }

    fn signature(&self, proof: &Proof) -> Result<(), Unproved> {
        if self.lock().right.has(proof) {
            return Ok(());
        }
        check_signature(proof)?;
        self.lock().right.keep(proof);
        Ok(())
    }

    fn certificate(&self, signer: &Arc<Signer>, at: u64) -> Result<(), Unproved> {
        let authorities = {
            let inner = self.lock();
            let known = inner.verified.get(&signer.fingerprint());
            if known.is_some_and(|(known, since)| {
                known == signer && at.abs_diff(*since) <= REMEMBERED_SECONDS
            }) {
                return Ok(());
            }
            Arc::clone(&inner.authorities)
        };
        verify(signer, &authorities, at)?;
        let mut inner = self.lock();
        // Other authorities may have been put there meanwhile: then it is verified again next time.
        if Arc::ptr_eq(&inner.authorities, &authorities) {
            if inner.verified.len() >= REMEMBERED_MAX {
                inner.verified.pop_first();
            }
            inner
                .verified
                .insert(signer.fingerprint(), (Arc::clone(signer), at));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that a proof is signed with the key of the certificate that it names, whoever has issued that.
///
/// # Errors
/// [`Unproved::Signature`].
pub fn check_signature(proof: &Proof) -> Result<(), Unproved> {
    let (signer, message) = (proof.signer(), proof.message());
    let right = match signer.algorithm.verification() {
        Some(algorithm) => UnparsedPublicKey::new(algorithm, &signer.public_key)
            .verify(message.as_bytes(), proof.signature())
            .is_ok(),
        None => ed25519(proof).is_some_and(|(key, signature)| {
            key.verify_strict(message.as_bytes(), &signature).is_ok()
        }),
    };
    right.then_some(()).ok_or(Unproved::Signature)
}

fn ed25519(proof: &Proof) -> Option<(VerifyingKey, Signature)> {
    let key = proof.signer().ed25519?;
    Some((key, Signature::from_slice(proof.signature()).ok()?))
}

/// True when all are signatures of Ed25519 and right, verified together (Bernstein et al., "High-speed high-security signatures",
/// 2012, section 5). False says nothing.
fn are_right_together(proofs: &[&Proof]) -> bool {
    let Some(parts) = proofs
        .iter()
        .map(|proof| ed25519(proof))
        .collect::<Option<Vec<_>>>()
    else {
        return false;
    };
    let (keys, signatures): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let messages: Vec<String> = proofs.iter().map(|proof| proof.message()).collect();
    let messages: Vec<&[u8]> = messages.iter().map(String::as_bytes).collect();
    proofs.len() > 1 && ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
}

/// Verifies a chain up to one of the authorities (RFC 5280), for a client.
fn verify(
    signer: &Signer,
    authorities: &[CertificateDer<'static>],
    at: u64,
) -> Result<(), Unproved> {
    let refused = |error: webpki::Error| Unproved::Certificate(error.to_string());
    let anchors: Vec<TrustAnchor<'_>> = authorities
        .iter()
        .filter_map(|authority| webpki::anchor_from_trusted_cert(authority).ok())
        .collect();
    let (own, between) = signer
        .chain
        .split_first()
        .expect("a signer has a certificate of its own");
    let own = EndEntityCert::try_from(own).map_err(refused)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at));
    own.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        between,
        time,
        KeyUsage::client_auth(),
        None,
        None,
    )
    .map(drop)
    .map_err(refused)
}

//! Contexts: what a session was exposed to, and that it stays so.
//!
//! ```text
//! begin ─▶ version 1 ── exposed to a label ─▶ version 2 ─▶ …      the log orders the steps
//!                └──── shown again: refused, it is not the latest
//! ```
//! A step is agreed on first and minted afterwards. Its request id names what is asked, content and all: a caller that
//! lost the answer asks again and gets the same version; the same id cannot stand for fewer exposures.

use hessra_revocation::TokenId;
use hessra_sdk_core::{ContextParameters, DenyReason, Request, Session, Verified, mint_context};
use hessra_state::{ContextStep, Judged, RequestId, SessionId};
use sha2::{Digest as _, Sha256};
use tracing::info;

use super::Issuer;
use super::admission::Basis;
use super::allowance::Payer;
use super::caller::Asking;
use super::caller::Caller;
use super::issued::{Issued, issued};
use super::refusal::not_minted;
use super::term::{Ends, Term};
use super::verification::not_good;
use crate::edge::{random_16, system_random};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// Domain of these digests: separates them from all others made by this product.
const DOMAIN: &[u8] = b"hessra context step v1\n";
/// Seconds that a session lives when it does not say: an hour of work.
const SESSION_SECONDS: u64 = 3_600;
/// Seconds that a session may live: a day.
const SESSION_SECONDS_MAX: u64 = 24 * 3_600;

/// A context that was shown: the latest of its session.
pub(super) struct Shown {
    verified: Verified,
    session: Session,
}

/// A step of a session, and what is minted once it is agreed on.
pub struct Growth {
    /// The step for the ledger.
    pub step: ContextStep,
    /// Request id that names the step and its content.
    pub request: RequestId,
    parameters: ContextParameters,
    term: Term,
}

impl Issuer {
    /// A session of the caller's that begins now. `duration`: seconds; bounded by the policy.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn begun_context(
        &self,
        context: &RequestContext,
        caller: &Caller,
        duration: Option<u64>,
    ) -> Result<Growth, Problem> {
        let outcome = self.decide_beginning(context, caller, duration);
        self.counted("context", caller.method(), outcome)
    }

    /// The next version of the caller's context, with these exposures more.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn extended_context(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        labels: &[String],
    ) -> Result<Growth, Problem> {
        let outcome = self.decide_extension(context, caller, token, labels);
        self.counted("context", caller.method(), outcome)
    }

    /// The context of a step that was agreed on. `version`: as agreed.
    ///
    /// # Errors
    /// This node cannot sign.
    pub fn grown_context(
        &self,
        context: &RequestContext,
        growth: &Growth,
        version: u64,
    ) -> Result<Issued, Problem> {
        // With the revision of the judgement: a rule that was made since, while the step was agreed on, covers it.
        let mut parameters = growth.parameters.clone();
        parameters.session.version = version;
        let minted = mint_context(&self.signer()?, &parameters, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        info!(subject = %parameters.subject, version, exposures = parameters.exposures.len(), "context issued");
        Ok(issued(context, minted, &growth.term, &parameters.subject))
    }

    /// The caller's own, latest context.
    pub(super) fn context(
        &self,
        basis: &Basis,
        asking: &Asking,
        token: &str,
    ) -> Result<Shown, Problem> {
        let request = Request::Context {
            excluded: Vec::new(),
        };
        // The caller has paid for it.
        let verified = self.verify(basis, token, (&request, Payer::Paid), not_good)?;
        if verified.subject().path() != asking.actor.path() {
            let sentence = format!("the context is not of `{}`", asking.actor);
            return Err(Problem::new(Kind::Denied, "not_granted", sentence));
        }
        let session = verified.session().ok_or_else(|| {
            not_good(&DenyReason::UnsupportedShape(
                "the context does not say which session it is of".to_owned(),
            ))
        })?;
        Ok(Shown { verified, session })
    }

    fn decide_beginning(
        &self,
        context: &RequestContext,
        caller: &Caller,
        duration: Option<u64>,
    ) -> Result<Growth, Problem> {
        let basis = self.basis(context)?;
        let asking = self.identify(&basis, caller, None)?;
        known(&basis, &asking)?;
        let seconds = match duration {
            Some(0) => {
                let sentence = "a session of 0 seconds is none: ask for at least 1";
                return Err(Problem::new(Kind::Invalid, "invalid_ttl", sentence));
            }
            wanted => wanted.unwrap_or(SESSION_SECONDS).min(SESSION_SECONDS_MAX),
        };
        let (id, request) = (random_16(), random_16());
        let term = basis.term(asking.ends, seconds);
        let parameters = ContextParameters {
            subject: asking.actor,
            session: Session { id, version: 1 },
            exposures: std::collections::BTreeMap::new(),
            expires_at: term.expires_at(),
            issued_at: term.issued_at(),
            rev: term.rev(),
            parents: asking.parents,
        };
        let step = ContextStep {
            session: SessionId(id),
            from: 0,
            expires_at: term.expires_at(),
            judged: Judged {
                subject: parameters.subject.clone(),
                rev: term.rev(),
            },
        };
        self.mintable(Growth {
            step,
            request: RequestId(request),
            parameters,
            term,
        })
    }

    /// Tries whether a step can be minted before it is agreed on: otherwise its session could be left without a
    /// context.
    pub(super) fn mintable(&self, growth: Growth) -> Result<Growth, Problem> {
        mint_context(&self.signer()?, &growth.parameters, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        Ok(growth)
    }

    fn decide_extension(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        labels: &[String],
    ) -> Result<Growth, Problem> {
        let basis = self.basis(context)?;
        let asking = self.identify(&basis, caller, None)?;
        let source = asking.actor.as_str().to_owned();
        let shown = self.context(&basis, &asking, token)?;
        let growth = shown.growth(&basis, labels, &source)?.ok_or_else(|| {
            let sentence = "the context has these exposures already: name at least one that is new";
            Problem::new(Kind::Invalid, "nothing_new", sentence)
        })?;
        self.mintable(growth)
    }
}

impl Shown {
    pub(super) fn exposures(&self) -> &[String] {
        self.verified.exposures()
    }

    pub(super) fn ids(&self) -> Vec<TokenId> {
        self.verified.token_ids().to_vec()
    }

    /// The step to a version with these labels more; `None` when it has them, and is the latest.
    ///
    /// # Errors
    /// The context is not the latest.
    pub(super) fn growth(
        &self,
        basis: &Basis,
        labels: &[String],
        source: &str,
    ) -> Result<Option<Growth>, Problem> {
        let mut fresh: Vec<String> = labels.to_vec();
        fresh.sort();
        fresh.dedup();
        fresh.retain(|label| !self.exposures().contains(label));
        let request = step_id(&self.session, &fresh);
        self.is_latest(basis, request)?;
        if fresh.is_empty() {
            return Ok(None);
        }
        // It ends with the session, which ended no later than what was shown when it began.
        let term = basis.term_of_successor(&self.verified);
        let parameters = ContextParameters::grown(
            &self.verified,
            &fresh,
            source,
            term.issued_at(),
            term.expires_at(),
            term.rev(),
        );
        let parameters = parameters.ok_or_else(|| {
            not_good(&DenyReason::UnsupportedShape(
                "the context does not say which session it is of".to_owned(),
            ))
        })?;
        Ok(Some(Growth {
            step: ContextStep {
                session: SessionId(self.session.id),
                from: self.session.version,
                expires_at: term.expires_at(),
                judged: Judged {
                    subject: self.verified.subject().clone(),
                    rev: self.verified.rev().unwrap_or(term.rev()),
                },
            },
            request,
            parameters,
            term,
        }))
    }

    /// The end of the session.
    ///
    /// # Errors
    /// As [`Ends::of_token`].
    pub(super) fn ends(&self) -> Result<Ends, Problem> {
        Ends::of_token(&self.verified)
    }

    /// Checks that it is the latest that is known here, or the one before it when this very step made the latest.
    fn is_latest(&self, basis: &Basis, request: RequestId) -> Result<(), Problem> {
        let outdated = |sentence: String| Problem::new(Kind::Denied, "context_outdated", sentence);
        let latest = basis.state.context(&SessionId(self.session.id));
        let latest = latest.ok_or_else(|| {
            outdated("the session is not known or has ended: begin a new one".to_owned())
        })?;
        let version = self.session.version;
        if version == latest.version || (version + 1 == latest.version && latest.request == request)
        {
            return Ok(());
        }
        Err(outdated(format!(
            "the context is version {version} and the session is at {}: use the latest",
            latest.version
        )))
    }
}

/// Checks that the policy knows the caller, however it asked.
fn known(basis: &Basis, asking: &Asking) -> Result<(), Problem> {
    if basis.policy.client(&asking.actor).is_some()
        || basis.policy.realm_of(&asking.actor).is_some()
    {
        return Ok(());
    }
    let sentence = format!("`{}` is not a client of the policy", asking.actor);
    Err(Problem::new(
        Kind::Unauthenticated,
        "unknown_client",
        sentence,
    ))
}

fn step_id(session: &Session, labels: &[String]) -> RequestId {
    let mut digest = Sha256::new_with_prefix(DOMAIN);
    digest.update(session.id);
    digest.update(session.version.to_be_bytes());
    for label in labels {
        digest.update((label.len() as u64).to_be_bytes());
        digest.update(label.as_bytes());
    }
    let digest = digest.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    RequestId(id)
}

//! The operator that a client certificate names, and its rights.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::unfold;
use futures::{Stream, StreamExt as _};
use hessra_consensus::{Asked, Committed};
use hessra_proof::Proof;
use hessra_proto::statement::PROOF_KEY;
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::Identity;
use hessra_sled::codec;
use hessra_state::{Author, Command, Pending, RequestId};
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use super::service::AuthorityService;
use crate::api::deadline::timeout_of;
use crate::callers::may_speak;
use crate::policy::{PolicyView, Right};
use crate::request::{MissingContext, RequestContext};
use crate::tls::PeerCertificate;

/// Longest deadline: a node works on one request for no longer.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Time between two looks at whether the caller of a stream may still have it.
const RIGHTS_ASKED_EVERY: Duration = Duration::from_millis(500);

/// Stream of answers to one caller.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An operator, proved by mTLS, under the policy in force.
pub(super) struct Caller {
    /// Identity as the policy spells it, or as the certificate does when the policy does not know it.
    pub(super) identity: String,
    pub(super) policy: Arc<PolicyView>,
    certificate: PeerCertificate,
    /// Proof that came with the request, when it makes something.
    proof: Option<String>,
    /// Context of the request.
    pub(super) context: RequestContext,
}

impl Caller {
    /// True when it has a right at all, be it under some identities only.
    pub(super) fn has(&self, right: Right) -> bool {
        let operator = self.policy.operator(&self.identity);
        operator.is_some_and(|operator| operator.rights.contains(&right))
    }

    /// True when it has asked for a pending action itself, by name or certificate.
    pub(super) fn is_asker_of(&self, pending: &Pending) -> bool {
        self.identity == pending.by || self.certificate.sha256 == pending.certificate
    }

    /// Checks a right. `under`: the identity that it is used on; `None` = something that is not an identity.
    pub(super) fn may(&self, right: Right, under: Option<&Identity>) -> Result<(), Failure> {
        self.policy.may(&self.identity, right, under).map_err(|refusal| {
            Failure::new(Reason::NotPermitted, refusal.to_string())
                .hint("Ask for the right under `[[operators]]` in the policy, or use another operator's certificate.")
        })
    }

    /// Request for a command that this caller has signed. That the signature is right is asked before it is proposed, and by
    /// every member; that it is the caller's and of this command is asked here, to say it early.
    pub(super) fn asks(&self, command: &Command, request: RequestId) -> Result<Asked, Failure> {
        let text = self.proof.as_deref().ok_or_else(unsigned)?;
        let proof = Proof::read(text).map_err(|error| {
            Failure::new(Reason::InvalidArgument, error.to_string()).hint(SIGN_HINT)
        })?;
        let statement = proof.statement();
        if proof.signer().fingerprint() != self.certificate.sha256 {
            let message =
                "the request is signed with another certificate than the connection shows";
            return Err(Failure::new(Reason::Unauthenticated, message).hint(SIGN_HINT));
        }
        let of_command = codec::statement_digest(command) == Some(statement.command);
        if statement.request != request.0 || !of_command {
            let message = "the signature is of another request than this one";
            return Err(Failure::new(Reason::InvalidArgument, message).hint(SIGN_HINT));
        }
        Ok(Asked {
            author: Author::Operator(proof),
            request,
            actor: self.context.actor(),
        })
    }
}

impl AuthorityService {
    /// The caller of a request.
    ///
    /// # Errors
    /// No certificate, or one that names nobody; and a request that could not be recorded.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let proof = request.metadata().get(PROOF_KEY);
        let proof = proof.and_then(|text| text.to_str().ok()).map(str::to_owned);
        Ok(Caller {
            proof,
            ..self.caller_of(request.extensions())?
        })
    }

    /// The caller of a request that is not read yet.
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub(super) fn caller_of(&self, extensions: &http::Extensions) -> Result<Caller, Status> {
        let context = RequestContext::of(extensions).map_err(unrecorded)?;
        let certificate = extensions.get::<PeerCertificate>().ok_or_else(|| {
            Failure::new(
                Reason::Unauthenticated,
                "no client certificate was presented",
            )
            .hint("Give --cert and --key, or set HESSRA_CERT and HESSRA_KEY.")
        })?;
        let caller = self.admit(certificate, context)?;
        let identity = &caller.identity;
        caller.context.note(|noted| noted.proved(identity, "mtls"));
        Ok(caller)
    }

    /// The caller that a certificate names, when it may speak now.
    fn admit(
        &self,
        certificate: &PeerCertificate,
        context: RequestContext,
    ) -> Result<Caller, Failure> {
        let state = self.consensus.state();
        let policy = self.policies.of(&state);
        let identity = certificate.proved().operator(&policy).ok_or_else(|| {
            Failure::new(
                Reason::Unauthenticated,
                "the client certificate has no URI among its alternative names",
            )
            .hint("Issue it anew with the operator's identity as a URI.")
        })?;
        let now = self.consensus.world().clock.wall().seconds();
        may_speak(certificate, &identity, (&state, &policy), now).map_err(|silenced| {
            Failure::new(Reason::Unauthenticated, silenced.to_string())
                .hint("Use another certificate, or ask another operator.")
        })?;
        Ok(Caller {
            identity,
            policy,
            certificate: certificate.clone(),
            proof: None,
            context,
        })
    }

    /// Ends a stream with a failure when its caller may not speak any more, or has lost the right.
    pub(super) fn while_permitted<T: Send + 'static>(
        &self,
        caller: &Caller,
        right: Right,
        stream: Answers<T>,
    ) -> Answers<T> {
        let (service, certificate) = (self.clone(), caller.certificate.clone());
        let context = caller.context.clone();
        let lost = Box::pin(async move {
            loop {
                sleep(RIGHTS_ASKED_EVERY).await;
                let admitted = service.admit(&certificate, context.clone());
                let permitted = admitted.and_then(|caller| caller.may(right, None));
                if let Err(failure) = permitted {
                    return failure;
                }
            }
        });
        Box::pin(unfold(Some((stream, lost)), |running| async {
            let (mut stream, mut lost) = running?;
            tokio::select! {
                biased;
                failure = &mut lost => Some((Err(failure.into()), None)),
                answer = stream.next() => answer.map(|answer| (answer, Some((stream, lost)))),
            }
        }))
    }

    pub(super) fn may_read<T>(&self, request: &Request<T>) -> Result<(), Status> {
        Ok(self.caller(request)?.may(Right::Read, None)?)
    }

    /// Proposes a command as the caller, and returns when a quorum has it and this node its record.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        command: Command,
        request: RequestId,
        deadline: Instant,
    ) -> Result<Committed, Failure> {
        let asked = caller.asks(&command, request)?;
        Ok(self.consensus.propose(command, asked, deadline).await?)
    }

    /// Proposes as [`Self::propose`] does, also when no record can be written here: see
    /// [`hessra_consensus::Consensus::propose_unrecorded`].
    pub(super) async fn propose_unrecorded(
        &self,
        caller: &Caller,
        command: Command,
        request: RequestId,
        deadline: Instant,
    ) -> Result<Committed, Failure> {
        let asked = caller.asks(&command, request)?;
        let consensus = &self.consensus;
        Ok(consensus
            .propose_unrecorded(command, asked, deadline)
            .await?)
    }

    /// Time at which the caller stops waiting.
    pub(super) fn deadline<T>(&self, request: &Request<T>) -> Instant {
        match timeout_of(request) {
            Some(timeout) => Instant::now() + timeout.min(DEADLINE_MAX),
            None => self.consensus.deadline(),
        }
    }
}

/// Next step for a client whose requests are not signed, or not well.
const SIGN_HINT: &str = "Use a command line or SDK of this version: each change is signed with the key of the client certificate.";

fn unsigned() -> Failure {
    let message = "the request is not signed by its author";
    Failure::new(Reason::Unauthenticated, message).hint(SIGN_HINT)
}

fn unrecorded(missing: MissingContext) -> Failure {
    Failure::new(Reason::Internal, missing.to_string())
}

//! Ledger of what the whole cluster must agree on before this node says yes: uses of what may be used once, and
//! versions of contexts.
//!
//! Both are commands of the replicated log: the first one wins, wherever it was asked. An outcome that is not known is
//! never yes. A caller that wants to be able to ask again names its use with bits that no other knows: two that share a
//! name are one use, and both are told that they won.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use hessra_consensus::{Asked, WriteError};
use hessra_state::{Applied, Command, ContextStep, Duty, Refusal, RefusalCode, RequestId, Spend};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::info;

use crate::edge::random_16;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;
use crate::world::Consensus;

/// Domain of these digests: separates them from all others made by this product.
const DOMAIN: &[u8] = b"hessra use v1\n";
/// Time for the commands of one request: an election and a retry fit in, and the request itself ends after ten seconds.
const DEADLINE: Duration = Duration::from_secs(6);

/// Name of one use: 128 bits that its user drew at random.
#[derive(Clone, Copy)]
pub struct UseId([u8; 16]);

impl UseId {
    /// A name for a use that is not asked about again.
    #[must_use]
    pub fn random() -> Self {
        Self(random_16())
    }

    /// Parses 32 hexadecimal digits.
    ///
    /// # Errors
    /// Something else.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            let sentence =
                "`request_id` is not 32 hexadecimal digits: send 128 random bits, or leave it out";
            Problem::new(Kind::Invalid, "invalid", sentence)
        })
    }

    /// Request id of one facet: the same name for two facets is two requests.
    fn request(&self, spend: &Spend) -> RequestId {
        let mut digest = Sha256::new_with_prefix(DOMAIN);
        digest.update(self.0);
        digest.update(spend.facet.0);
        let digest: [u8; 32] = digest.finalize().into();
        let mut request = [0; 16];
        request.copy_from_slice(&digest[..16]);
        RequestId(request)
    }
}

/// The replicated ledger, asked through this node. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    consensus: Consensus,
}

impl Ledger {
    /// The ledger of this node's cluster.
    #[must_use]
    pub fn new(consensus: Consensus) -> Self {
        Self { consensus }
    }

    /// Uses up everything that a token may be used for once. The same use, asked again, has the same answer.
    ///
    /// # Errors
    /// Used before; or the outcome is not known. What came before it in the list is used up nevertheless.
    pub async fn spend(
        &self,
        context: &RequestContext,
        spends: Vec<Spend>,
        of: &UseId,
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + DEADLINE;
        for spend in spends {
            let request = of.request(&spend);
            match self
                .propose(context, Command::Spend(spend), request, deadline)
                .await?
            {
                Applied::Spent => info!("capability spent"),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }

    /// Moves a session to the next version of its context.
    ///
    /// `request` names what is asked, content and all: the same step, asked again, gets the same version.
    ///
    /// # Errors
    /// Not the latest version; or the outcome is not known.
    pub async fn step(
        &self,
        context: &RequestContext,
        step: ContextStep,
        request: RequestId,
    ) -> Result<u64, Problem> {
        let deadline = Instant::now() + DEADLINE;
        match self
            .propose(context, Command::Context(step), request, deadline)
            .await?
        {
            Applied::ContextAt(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns when this node knows everything that was agreed on before the call.
    ///
    /// # Errors
    /// The quorum does not confirm it in time.
    pub async fn catch_up(&self) -> Result<(), Problem> {
        let confirmed = self.consensus.linearize(Instant::now() + DEADLINE).await;
        confirmed.map(|_| ()).map_err(|_| {
            let sentence = "this node could not confirm with a quorum that it knows everything agreed on before: ask another node";
            Problem::new(Kind::Unavailable, "stale", sentence)
        })
    }

    async fn propose(
        &self,
        context: &RequestContext,
        command: Command,
        request: RequestId,
        deadline: Instant,
    ) -> Result<Applied, Problem> {
        let asked = Asked {
            request,
            actor: context.actor(),
            ..self.consensus.asked_by_node(Duty::Holders)
        };
        let committed = self.consensus.propose(command, asked, deadline).await;
        match committed.map(|committed| committed.applied) {
            Ok(Applied::Refused(refusal)) => Err(refused(refusal)),
            Ok(applied) => Ok(applied),
            Err(error) => Err(not_written(&error)),
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (kind, reason) = match refusal.code {
        RefusalCode::AlreadySpent => (Kind::Denied, "already_spent"),
        RefusalCode::ContextOutdated => (Kind::Denied, "context_outdated"),
        RefusalCode::Revoked => (Kind::Denied, "revoked"),
        RefusalCode::Invalid => (Kind::Unauthenticated, "expired"),
        RefusalCode::Limit => (Kind::Unavailable, "ledger_full"),
        _ => (Kind::Unavailable, "not_initialized"),
    };
    Problem::new(kind, reason, refusal.message)
}

fn not_written(error: &WriteError) -> Problem {
    match error {
        // Used up, and this node may not say so without its record: nobody may act on it.
        WriteError::Unknown => Problem::new(
            Kind::Unavailable,
            "outcome_unknown",
            "whether this was counted as the one use is not known: do not act on it; ask again with the same `request_id`, or for a new capability when you sent none",
        ),
        WriteError::Overloaded => Problem::new(
            Kind::TooMany,
            "overloaded",
            "this node has too many requests: try again soon",
        ),
        WriteError::NoLeader
        | WriteError::Unaudited(_)
        | WriteError::Unproved(_)
        | WriteError::Changing
        | WriteError::NoRoom(_)
        | WriteError::ClockOff(_)
        | WriteError::Stopped(_) => Problem::new(
            Kind::Unavailable,
            "no_leader",
            "the cluster takes no writes now, and nothing was used: try again soon",
        ),
    }
}

fn unexpected(applied: &Applied) -> Problem {
    tracing::error!(?applied, "the state machine answered something else");
    let sentence = "this node could not ask the ledger: ask another node";
    Problem::new(Kind::Unavailable, "internal", sentence)
}

#[cfg(test)]
mod tests {
    use hessra_revocation::{Identity, Revision, UnixSeconds};
    use hessra_state::{FacetId, Judged};

    use super::*;

    #[test]
    fn a_use_is_one_request_per_facet_and_a_name_is_128_bits() {
        let spend = |byte| Spend {
            facet: FacetId([byte; 32]),
            expires_at: UnixSeconds(9),
            judged: Judged {
                subject: Identity::parse("urn:hessra:alice").unwrap(),
                rev: Revision(1),
            },
        };
        let name = "00112233445566778899aabbccddeeff";
        let of = |text: &str, byte| UseId::parse(text).unwrap().request(&spend(byte));
        assert_eq!(of(name, 1), of(&name.to_uppercase(), 1));
        assert_ne!(of(name, 1), of(name, 2));
        assert_ne!(of(name, 1), of("10112233445566778899aabbccddeeff", 1));
        for bad in [
            "",
            "0011",
            "zz112233445566778899aabbccddeeff",
            &"0".repeat(34),
        ] {
            assert!(UseId::parse(bad).is_err(), "{bad}");
        }
    }
}

//! What the whole cluster must agree on before this node says yes: uses of what may be used once, and versions of
//! contexts.
//!
//! Both are commands of the replicated log: the first one wins, wherever it was asked. An outcome that is not known is
//! never yes, and a request is not repeated under the same id by whoever asks: two that share an id would both be told
//! that they won.

use std::time::Duration;

use hessra_state::{Applied, Command, ContextStep, Refusal, RefusalCode, RequestId, Spend};
use tokio::time::Instant;
use tracing::info;

use crate::api::problem::{Kind, Problem};
use crate::authority::{Authority, ProposeError};
use crate::edge::random_16;

/// An election and a retry fit in, and the request itself ends after ten seconds.
const DEADLINE: Duration = Duration::from_secs(6);

/// The door to the replicated ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    authority: Authority,
}

impl Ledger {
    /// A door of this node's authority.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self { authority }
    }

    /// Uses up everything that a token may be used for once.
    ///
    /// # Errors
    /// Used before; or nobody knows. What came before it in the list is used up nevertheless.
    pub async fn spend(&self, spends: Vec<Spend>) -> Result<(), Problem> {
        let deadline = Instant::now() + DEADLINE;
        for spend in spends {
            let request = RequestId(random_16());
            match self
                .propose(Command::Spend(spend), request, deadline)
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
    /// Not the latest version; or nobody knows.
    pub async fn step(&self, step: ContextStep, request: RequestId) -> Result<u64, Problem> {
        let deadline = Instant::now() + DEADLINE;
        match self
            .propose(Command::Context(step), request, deadline)
            .await?
        {
            Applied::ContextAt(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns when this node knows everything that was agreed on before the call.
    ///
    /// # Errors
    /// Nobody can say.
    pub async fn catch_up(&self) -> Result<(), Problem> {
        let confirmed = self.authority.linearize(Instant::now() + DEADLINE).await;
        confirmed.map(|_| ()).map_err(|_| {
            let sentence = "this node cannot tell which context is the latest: ask another node";
            Problem::new(Kind::Unavailable, "stale", sentence)
        })
    }

    async fn propose(
        &self,
        command: Command,
        request: RequestId,
        deadline: Instant,
    ) -> Result<Applied, Problem> {
        let identity = self.authority.raft().identity();
        let by = identity.urn(identity.id);
        let proposed = self.authority.propose(command, &by, request, deadline);
        match proposed.await {
            Ok((Applied::Refused(refusal), _)) => Err(refused(refusal)),
            Ok((applied, _)) => Ok(applied),
            Err(error) => Err(not_written(&error)),
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (kind, reason) = match refusal.code {
        RefusalCode::AlreadySpent => (Kind::Denied, "already_spent"),
        RefusalCode::ContextOutdated => (Kind::Denied, "context_outdated"),
        RefusalCode::Invalid => (Kind::Unauthenticated, "expired"),
        RefusalCode::Limit => (Kind::Unavailable, "ledger_full"),
        _ => (Kind::Unavailable, "not_initialized"),
    };
    Problem::new(kind, reason, refusal.message)
}

fn not_written(error: &ProposeError) -> Problem {
    match error {
        // Used up, and this node may not say so without its record: nobody may act on it.
        ProposeError::Unknown | ProposeError::CommittedUnaudited(_) => Problem::new(
            Kind::Unavailable,
            "outcome_unknown",
            "whether this was counted as the one use is not known: do not act on it, and ask for a new capability",
        ),
        ProposeError::Overloaded => Problem::new(
            Kind::TooMany,
            "overloaded",
            "this node has too many requests: try again soon",
        ),
        ProposeError::NoLeader
        | ProposeError::Unaudited(_)
        | ProposeError::NoRoom(_)
        | ProposeError::Stopped(_) => Problem::new(
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

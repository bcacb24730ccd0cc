//! Contexts: the latest version of every session's record of exposures.
//!
//! A context token grows: each version knows of every exposure of the one before. A holder of an old version could hide
//! the newer exposures with it, so only the latest is accepted: a step names the version that it was made from, the log
//! orders the steps, and one that starts from an older version is refused. No node can be shown an old version for
//! longer than its own state may lag.
//!
//! Like the ledger, an entry is the first answer of its latest step: a retry of that step gets the same version.

use hessra_revocation::{UnixMillis, UnixSeconds};

use crate::command::{ContextStep, RequestId, SessionId};
use crate::limits::{CONTEXT_SECONDS_MAX, CONTEXTS_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::timed::{Ends, Timed, check_end};

/// Latest version of a session's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextVersion {
    /// Version; no other is accepted. From 1.
    pub version: u64,
    /// Request that made it: a retry of it gets the same answer.
    pub request: RequestId,
    /// End of the session; it is kept until then.
    pub until: UnixSeconds,
}

impl Ends for ContextVersion {
    fn until(&self) -> UnixSeconds {
        self.until
    }
}

impl Timed<SessionId, ContextVersion> {
    /// Moves a session to its next version, or finds that this very request did before; the version.
    pub(crate) fn step(
        &mut self,
        step: &ContextStep,
        request: RequestId,
        clock: UnixMillis,
    ) -> Result<u64, Refusal> {
        let latest = self.find(&step.session).copied();
        if let Some(latest) = latest.filter(|latest| latest.request == request) {
            return Ok(latest.version);
        }
        let version = latest.map_or(0, |latest| latest.version);
        if step.from != version {
            return Err(outdated(step.from, version));
        }
        let until = latest.map_or(step.expires_at, |latest| latest.until);
        check_end(clock, until, CONTEXT_SECONDS_MAX)?;
        if latest.is_none() && self.len() >= CONTEXTS_MAX {
            let message = format!(
                "the cluster remembers {CONTEXTS_MAX} sessions that have not ended, the most it can; try again when some have"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let version = version + 1;
        let entry = ContextVersion {
            version,
            request,
            until,
        };
        self.put(step.session, entry);
        Ok(version)
    }
}

fn outdated(from: u64, latest: u64) -> Refusal {
    let message = match (from, latest) {
        (_, 0) => "the session is not known or has ended; begin a new one".to_owned(),
        (0, _) => "the session has begun; use its latest context".to_owned(),
        _ => format!(
            "the context is version {from} and the session is at {latest}; use the latest context"
        ),
    };
    Refusal::new(RefusalCode::ContextOutdated, message)
}

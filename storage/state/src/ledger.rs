//! Ledger: the uses of single-use capabilities.
//!
//! The first [`Spend`] of a facet that is applied wins, on every node, and any other is refused: the log orders them. An
//! entry is kept until its facet has ended on the state's clock, which never goes back, and a facet that has ended
//! cannot be spent: so forgetting one never makes a second use possible. A full ledger refuses, and forgets nothing.
//!
//! A spend is not among the remembered first answers: its entry is one, and names the request that won.

use hessra_revocation::{UnixMillis, UnixSeconds};

use crate::command::{FacetId, RequestId, Spend};
use crate::limits::{LEDGER_MAX, LEDGER_SECONDS_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::timed::{Ends, Timed, check_end};

/// Facet that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Request that won: a retry of it gets the same answer.
    pub request: RequestId,
    /// Time of the use, on the state's clock.
    pub at: UnixMillis,
    /// Instant until which the entry is kept.
    pub until: UnixSeconds,
}

impl Ends for Spent {
    fn until(&self) -> UnixSeconds {
        self.until
    }
}

impl Timed<FacetId, Spent> {
    /// Books the use of a facet, or finds that this very request did before.
    pub(crate) fn spend(
        &mut self,
        spend: &Spend,
        request: RequestId,
        clock: UnixMillis,
    ) -> Result<(), Refusal> {
        if let Some(spent) = self.find(&spend.facet) {
            return if spent.request == request {
                Ok(())
            } else {
                let message =
                    "the capability may be used once and was used before; ask for a new one";
                Err(Refusal::new(RefusalCode::AlreadySpent, message))
            };
        }
        check_end(clock, spend.expires_at, LEDGER_SECONDS_MAX)?;
        if self.len() >= LEDGER_MAX {
            let message = format!(
                "the ledger holds {LEDGER_MAX} facets that have not ended, the most it can; try again when some have"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let (at, until) = (clock, spend.expires_at);
        self.put(spend.facet, Spent { request, at, until });
        Ok(())
    }
}

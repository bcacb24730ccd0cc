//! The ledger of what may be used once.
//!
//! The first [`Spend`] of a facet that is applied wins, on every node, and any other is refused: the log orders them. An
//! entry is kept until its facet has ended on the state's clock, which never goes back, and a facet that has ended
//! cannot be spent: so forgetting one never makes a second use possible. A full ledger refuses, and forgets nothing.
//!
//! A spend is not among the remembered first answers: its entry is one, and names the request that won.

use hessra_revocation::{UnixMillis, UnixSeconds};

use crate::applied::{Refusal, RefusalCode};
use crate::limits::{LEDGER_MAX, LEDGER_SECONDS_MAX};
use crate::timed::Ends;
use crate::{Applied, RequestId, State};

/// Names one thing that may be used once: a digest that whoever verified the token made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetId(pub [u8; 32]);

/// Uses a facet up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which.
    pub facet: FacetId,
    /// From this instant on nobody accepts it. The same in every request about one facet: that of the authority block,
    /// which no holder can shorten.
    pub expires_at: UnixSeconds,
}

/// A facet that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Who won: a retry of the same request is told so again.
    pub request: RequestId,
    /// When, on the state's clock.
    pub at: UnixMillis,
    /// It is kept until then.
    pub until: UnixSeconds,
}

impl Ends for Spent {
    fn until(&self) -> UnixSeconds {
        self.until
    }
}

impl State {
    /// The use of a facet, while it is remembered.
    #[must_use]
    pub fn spent(&self, facet: &FacetId) -> Option<&Spent> {
        self.ledger.find(facet)
    }

    /// Facets in the ledger.
    #[must_use]
    pub fn spent_count(&self) -> usize {
        self.ledger.len()
    }

    pub(crate) fn spend(&mut self, spend: &Spend, request: RequestId) -> Result<Applied, Refusal> {
        if let Some(spent) = self.ledger.find(&spend.facet) {
            return if spent.request == request {
                Ok(Applied::Spent)
            } else {
                let message =
                    "the capability may be used once and was used before; ask for a new one";
                Err(Refusal::new(RefusalCode::AlreadySpent, message))
            };
        }
        self.check_end(spend.expires_at, LEDGER_SECONDS_MAX)?;
        if self.ledger.len() >= LEDGER_MAX {
            let message = format!(
                "the ledger holds {LEDGER_MAX} facets that have not ended, the most it can; try again when some have"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let (at, until) = (self.clock, spend.expires_at);
        self.ledger.put(spend.facet, Spent { request, at, until });
        Ok(Applied::Spent)
    }

    /// An end that is still to come, and not so far away that the entry would never be collected.
    pub(crate) fn check_end(&self, end: UnixSeconds, seconds_max: u64) -> Result<(), Refusal> {
        let now = self.clock.seconds();
        if end <= now {
            let message = format!("it ended at {end} (unix seconds); ask for a new one");
            return Err(Refusal::invalid(message));
        }
        if end.0 - now.0 > seconds_max {
            let message = format!(
                "it lives for more than {seconds_max} seconds; ask for one that ends earlier"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        Ok(())
    }
}

//! Spend: a use that is booked in the cluster's ledger.

use hessra_revocation::TokenId;

/// One use of a capability that is good once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend {
    /// Id of the token's authority block.
    pub token: TokenId,
    /// Which of its uses.
    pub facet: String,
}

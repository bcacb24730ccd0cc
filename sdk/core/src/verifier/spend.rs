//! Spend: one use that is booked in the cluster's ledger.

use hessra_revocation::TokenId;

/// Use of a single-use capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend {
    /// Id of the token's authority block.
    pub token: TokenId,
    /// Name of the use.
    pub facet: String,
}

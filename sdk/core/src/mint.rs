//! Minting: authority blocks, signed by the holder of the key.
//!
//! The published shapes and their order are kept exactly, because published clients read the printed text; our facts
//! come beside them and every published verifier ignores them. Signing is behind [`Signer`](crate::Signer).
//!
//! | module | which tokens |
//! |---|---|
//! | `identity` | identities, and identities restricted to a domain |
//! | `authorization` | a right; alone, for a service chain, for several parties, or under a prefix |
//! | `capability` | a right that asks for designations, an activation, or to be spent once |
//! | `context` | the exposures of a session |
//! | `issue` | the facts of every token, and the step that signs it |
//! | `authority` | the signature of a key that is held elsewhere |

mod authority;
mod authorization;
mod capability;
mod context;
mod identity;
mod issue;

pub use authorization::{
    AuthorizationParameters, NODES_MAX, TokenShape, mint_authorization, mint_multi_party,
    mint_service_chain, mint_stub,
};
pub use capability::{CapabilityDemands, DESIGNATIONS_MAX, mint_capability};
pub(crate) use capability::{check_designation, said_by, shown_by_verifier};
pub use context::{ContextParameters, EXPOSURES_MAX, mint_context};
pub use identity::{
    DomainIdentityParameters, IdentityParameters, mint_domain_identity, mint_identity,
};
pub(crate) use issue::check_name;
pub use issue::{Minted, NAME_BYTES_MAX};

//! Tokens: reading, minting, delegating and checking them. A check asks the revocations and answers with a verdict.
//!
//! Pure: no sockets, no clock, no randomness of its own. A check is one call with everything it may believe:
//!
//! ```
//! use hessra_sdk_core::{Keyring, Knowledge, Now, Request, Verdict, TokenVerifier, VerifierConfig};
//! # fn check(token: &str, keyring: &Keyring, now: Now) {
//! let verifier = TokenVerifier::new(VerifierConfig::default());
//! match verifier.verify(token, &Request::bearer(), &Knowledge::offline(keyring), now) {
//!     Verdict::Allow(verified) => println!("{}", verified.actor()),
//!     Verdict::Deny(reason) => println!("no: {reason}"),
//!     Verdict::Unknown(reason) => println!("cannot tell: {reason}"),
//! }
//! # }
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`token`] | a token taken apart: blocks, ids, the meaning of its checks |
//! | [`chain`] | the actor of an identity, derived from structure, never from text |
//! | [`keyring`] | the public keys that a verifier believes |
//! | `signatures` | the signatures of a token, those that were verified before aside |
//! | [`verifier`] | one token, one request, one verdict |
//! | [`reason`] | reasons to deny or not to know, with stable codes and numbers |
//! | [`mint`] | authority blocks, signed by the holder of the key |
//! | [`attest`] | blocks that services, parties and attestors add to an authorization |
//! | [`capability`] | steps of holders and activators of a capability |
//! | [`schema`] | designations that an operation must be bound by |
//! | [`mod@delegate`] | a child identity, or the same identity for less, made offline by the holder |
//! | [`just_in_time`] | a few seconds of life before a token is sent |
//! | [`mod@inspect`] | the content of a token, for people; believes nothing |
//! | [`third_party`] | keys that are not the authority's |
//! | [`ed25519`] | strict signature verification |
//!
//! A token that asks for something which the caller did not show, or which this version does not know, is refused: a
//! verifier that ignores a demand accepts too much.

mod append;
pub mod attest;
pub mod capability;
pub mod chain;
pub mod delegate;
mod designation;
pub mod ed25519;
pub mod error;
pub mod inspect;
pub mod just_in_time;
mod key_error;
pub mod keyring;
pub mod mint;
mod path;
mod payload;
pub mod reason;
pub mod schema;
mod signatures;
mod signer;
mod table;
pub mod third_party;
pub mod token;
pub mod verifier;

pub use attest::{attest_prefix, attest_service, sign_off};
pub use capability::{ActivationTerms, Narrowing, activate, attest_designations, narrow};
pub use chain::{Chain, ChainError};
pub use delegate::{Delegated, Delegation, Restriction, delegate, restrict};
pub use designation::Designation;
pub use ed25519::{Ed25519, verify_ed25519};
pub use error::{
    AttestError, Costly, DelegateError, MintError, NeverHolds, SchemaError, TokenError,
};
pub use inspect::{BlockDescription, BlockRole, Description, inspect};
pub use just_in_time::{JUST_IN_TIME_SECONDS, limit_just_in_time, limit_until};
pub use key_error::KeyError;
pub use keyring::Keyring;
pub use mint::{
    AuthorizationParameters, CapabilityDemands, ContextParameters, DomainIdentityParameters,
    IdentityParameters, Minted, TokenShape, mint_authorization, mint_capability, mint_context,
    mint_domain_identity, mint_identity, mint_multi_party, mint_service_chain, mint_stub,
};
pub use reason::{DenyReason, UnknownReason};
pub use schema::Schema;
pub use signer::{LocalKey, Signer, SignerError};
pub use third_party::{ServiceKey, ServiceNode, ThirdPartyKey};
pub use token::{Limits, PolicyChecks, Refreshed, Right, Session, Token, TokenClass, TokenFacts};
pub use verifier::{
    DomainClaim, Evidence, Knowledge, MemorySize, Now, Opened, Purpose, RememberingVerifier,
    Request, SingleUse, Spend, StalenessPolicy, TokenVerifier, Verdict, Verified, VerifierConfig,
};

//! Structure of tokens, as far as it bounds what a policy can ask for. A limit above it could never be reached, and a demand
//! above it could never be met, so neither is read.
//!
//! The numbers are those of `hessra-sdk-core`, which is not linked here; a test of the command line compares them.

/// Most refreshes in a row. Origin: each adds an id to the token, which records 32, and sixteen are for what holders add.
pub const REFRESHES_MAX: u32 = 16;

/// Most delegations of one identity that verifiers take.
pub const DELEGATIONS_MAX: u8 = 10;

/// Most services of a chain, and most parties.
pub const COMPONENTS_MAX: usize = 12;

/// Most dimensions that one token is bound in.
pub const DESIGNATIONS_MAX: usize = 16;

/// Most labels that one session is exposed to.
pub const EXPOSURES_MAX: usize = 64;

//! Knowledge and instant of a check: arguments of every verdict.

use hessra_revocation::{Freshness, Monotonic, UnixSeconds, View};

use crate::Keyring;

/// Everything a verifier may believe.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Keys that sign tokens.
    pub keyring: &'a Keyring,
    /// What the feed has said; `None` = nothing.
    pub view: Option<&'a View>,
    /// How far the view is known to be complete.
    pub freshness: Option<Freshness>,
}

impl<'a> Knowledge<'a> {
    /// Keys and nothing else: [`TokenVerifier::verify`](crate::TokenVerifier::verify) then denies or does not know.
    #[must_use]
    pub fn offline(keyring: &'a Keyring) -> Self {
        Self {
            keyring,
            view: None,
            freshness: None,
        }
    }
}

/// The instant of a check, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Bounds tokens and locks.
    pub wall: UnixSeconds,
    /// Bounds the age of knowledge.
    pub monotonic: Monotonic,
}

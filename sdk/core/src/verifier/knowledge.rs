//! Knowledge and instant of a check: arguments of every verdict.

use hessra_revocation::{Freshness, Monotonic, UnixSeconds, View};

use crate::Keyring;

/// Knowledge of a verifier: everything that it may believe.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Keys that sign tokens.
    pub keyring: &'a Keyring,
    /// View of the feed; `None` = none yet.
    pub view: Option<&'a View>,
    /// Freshness of the view.
    pub freshness: Option<Freshness>,
}

impl<'a> Knowledge<'a> {
    /// Knowledge of keys without a feed: [`TokenVerifier::verify`](crate::TokenVerifier::verify) then denies or does
    /// not know.
    #[must_use]
    pub fn offline(keyring: &'a Keyring) -> Self {
        Self {
            keyring,
            view: None,
            freshness: None,
        }
    }
}

/// Instant of a check, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, which bounds tokens and locks.
    pub wall: UnixSeconds,
    /// Monotonic clock, which bounds the age of knowledge.
    pub monotonic: Monotonic,
}

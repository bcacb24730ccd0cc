//! Terms: when a token was judged, at which revision, and when it ends.
//!
//! One rule for everything that is issued: nothing outlives what was shown for it. A caller is worth as much as the first to
//! end of its certificate and its token, limits of the token's holder included, and an [`Ends`] can be had from those
//! alone. A [`Term`] can be had from the basis of a decision and an [`Ends`] alone, so a token carries the revision at which
//! it was judged, however much later it is minted.
//!
//! A refresh alone makes more of a token than is left of it. It stays below the end that the first one recorded, that of its
//! certificate.

use hessra_revocation::{Revision, UnixSeconds};
use hessra_sdk_core::Verified;

use super::admission::Basis;
use crate::problem::{Kind, Problem};
use crate::tls::PeerCertificate;

/// The end of what was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends(UnixSeconds);

impl Ends {
    /// The end of a certificate.
    pub(super) fn of_certificate(certificate: &PeerCertificate) -> Self {
        // No token names a later instant than the largest of Datalog's numbers.
        Self(UnixSeconds(certificate.ends_at.min(i64::MAX as u64)))
    }

    /// The end of a token.
    ///
    /// # Errors
    /// Its holder limited it in a way from which no end can be read.
    pub(super) fn of_token(verified: &Verified) -> Result<Self, Problem> {
        match verified.has_checks_of_time() {
            false => Ok(Self(verified.expires_at())),
            true => Err(Problem::new(
                Kind::Denied,
                "end_unknown",
                "a check of the token's holder is about the time, and nothing may outlive it: limit it by its lifetime instead",
            )),
        }
    }

    /// The end of a token's successor, as the first of them recorded it; `None` = nothing was recorded.
    pub(super) fn of_successors(verified: &Verified) -> Option<Self> {
        verified.refreshable_until().map(Self)
    }

    /// The earlier of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The instant itself, for a token to record.
    pub(super) fn at(self) -> UnixSeconds {
        self.0
    }
}

/// Term of what is issued. Made by a judgement only: [`Basis::term`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    rev: Revision,
}

impl Basis {
    /// Term of what this decision issues: so many seconds from now on, and never beyond the end of what was shown.
    pub(super) fn term(&self, ends: Ends, seconds: u64) -> Term {
        let wanted = UnixSeconds(self.wall().0.saturating_add(seconds));
        Term {
            issued_at: self.wall(),
            expires_at: wanted.min(ends.0),
            rev: self.view().revision,
        }
    }

    /// Term of what takes the place of a token of ours that was shown: until its end.
    pub(super) fn term_of_successor(&self, before: &Verified) -> Term {
        Term {
            issued_at: self.wall(),
            expires_at: before.expires_at(),
            rev: self.view().revision,
        }
    }
}

impl Term {
    /// Instant of the judgement.
    pub(super) fn issued_at(&self) -> UnixSeconds {
        self.issued_at
    }

    /// Instant from which on it is refused.
    pub(super) fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// Revision of the judgement.
    pub(super) fn rev(&self) -> Revision {
        self.rev
    }

    /// Lifetime in seconds.
    pub(super) fn seconds(&self) -> u64 {
        self.expires_at.0.saturating_sub(self.issued_at.0)
    }
}

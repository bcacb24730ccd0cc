//! Trouble with a stream: the reasons to give it up, and the consequence of each.

use std::time::Duration;

use super::messages::Alarm;
use crate::publisher::ResetReason;
use crate::{DecodeError, Revision, View};

/// Longest wait that a node may ask for; longer ones are cut to it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Reason to give a stream up.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Reconnect; no alarm.
    Again { elsewhere: bool, after: Duration },
    /// Raise an alarm.
    Alarm(Alarm),
}

impl Trouble {
    /// Reconnect elsewhere: this node or the way to it is of no use now, above all when it does not keep to the
    /// protocol.
    pub(super) const ELSEWHERE: Self = Self::Again {
        elsewhere: true,
        after: Duration::ZERO,
    };
    /// Reconnect here: something is missing, and a new hello makes up for it.
    pub(super) const RESUME: Self = Self::Again {
        elsewhere: false,
        after: Duration::ZERO,
    };

    /// Trouble that follows from a reset by the node, for a verifier that holds `view`.
    pub(super) fn of_reset(
        reason: ResetReason,
        retry_after: Duration,
        view: Option<&View>,
    ) -> Self {
        let after = retry_after.min(RETRY_AFTER_MAX);
        match reason {
            ResetReason::Fork => fork_at(view.map_or(Revision(0), |view| view.revision)),
            ResetReason::Slow | ResetReason::Restored | ResetReason::Renew => Self::Again {
                elsewhere: false,
                after,
            },
            ResetReason::Ahead | ResetReason::Shutdown | ResetReason::Overloaded => Self::Again {
                elsewhere: true,
                after,
            },
        }
    }
}

pub(super) fn fork_at(revision: Revision) -> Trouble {
    Trouble::Alarm(Alarm::Fork { revision })
}

/// Trouble that follows from signed bytes that are not understood.
pub(super) fn unreadable(error: DecodeError) -> Trouble {
    match error {
        DecodeError::Unknown(variant) => Trouble::Alarm(Alarm::Upgrade { variant }),
        DecodeError::Truncated | DecodeError::Invalid(_) => Trouble::ELSEWHERE,
    }
}

//! Configuration of a verifier.

use std::time::Duration;

use crate::{Limits, PolicyChecks};

/// Policy about the age of knowledge. Bounds never exceed the cluster's own `fresh_for`: the strictest that applies
/// wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalenessPolicy {
    /// Permits only while the knowledge is at most `max` old.
    Strict {
        /// Oldest knowledge.
        max: Duration,
    },
    /// Permits as [`Self::Strict`] does, and with older knowledge while the token itself has little life left.
    Bounded {
        /// Oldest knowledge.
        max: Duration,
        /// Longest remaining life of a token that is permitted with older knowledge.
        token_life_max: Duration,
    },
    /// Permits with knowledge of any age, also for tokens that are newer than it, and says so in
    /// [`Verified::is_stale`](crate::Verified::is_stale).
    BestEffort,
}

impl Default for StalenessPolicy {
    /// Strict, 5 s: five missed heartbeats.
    fn default() -> Self {
        Self::Strict {
            max: Duration::from_secs(5),
        }
    }
}

/// Configuration of a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// Tolerated difference of clocks; a lock lasts so much longer. Default 5 s. Tokens end without tolerance.
    pub skew_seconds: u64,
    /// Size limits.
    pub limits: Limits,
    /// Policy about the age of knowledge.
    pub staleness: StalenessPolicy,
    /// Checks of a holder's own making.
    pub policy_checks: PolicyChecks,
    /// Longest that Datalog may run. Default 100 ms: Biscuit's own 1 ms refuses valid tokens on a busy host.
    pub datalog_time_max: Duration,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            skew_seconds: 5,
            limits: Limits::default(),
            staleness: StalenessPolicy::default(),
            policy_checks: PolicyChecks::default(),
            datalog_time_max: Duration::from_millis(100),
        }
    }
}

//! Status of the followed repository.

use hessra_proto::v1;
use hessra_revocation::{Hash, UnixMillis};

/// Status of the followed repository at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Address as configured; it has no credentials.
    pub url: String,
    /// Branch as configured.
    pub branch: String,
    /// The newest commit that was fetched, verified and read.
    pub commit: Option<String>,
    /// Digest of that commit's policy.
    pub digest: Option<Hash>,
    /// Time of the last look that succeeded, by this node's clock.
    pub synced: Option<UnixMillis>,
    /// Reason for which the last look or application failed; `None` = it did not.
    pub error: Option<String>,
}

impl Followed {
    /// True when the policy with this digest is another than that of the newest commit. False before a commit was read.
    #[must_use]
    pub fn drifted(&self, current: Hash) -> bool {
        self.digest.is_some_and(|digest| digest != current)
    }

    /// Status for operators. `current`: digest of the policy in force.
    #[must_use]
    pub fn to_wire(&self, current: Hash) -> v1::GitFollowing {
        v1::GitFollowing {
            url: self.url.clone(),
            branch: self.branch.clone(),
            commit: self.commit.clone().unwrap_or_default(),
            synced_ms: self.synced.map_or(0, |at| at.0),
            drift: self.drifted(current),
            error: self.error.clone().unwrap_or_default(),
            applies: false,
        }
    }
}

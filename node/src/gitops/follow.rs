//! The task that looks, applies, and says how it went.

use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::KeyValue;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_policy::{PolicyError, lockouts};
use hessra_revocation::Revision;
use hessra_rights::reasons_to_wait;
use hessra_sled::Published;
use hessra_state::limits::MESSAGE_BYTES_MAX;
use hessra_state::{
    Applied, Command, Duty, PendingAction, PendingId, Policy, PolicyChange, PolicyOrigin,
};

use super::decide::{Decision, Permitted, applied_last, decide};
use super::repository::{Content, GitError, Repository, Verified};
use crate::config::PolicyGit;
use crate::policy::{Followed, Policies, PolicyView};
use crate::telemetry::Metrics;
use crate::world::Consensus;

/// One node that follows a repository.
pub struct Following {
    consensus: Consensus,
    policies: Policies,
    metrics: Arc<Metrics>,
    repository: Repository,
    settings: PolicyGit,
    followed: Followed,
}

/// Error that keeps the policy of the repository from being the one that stands.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the policy of commit {commit} is not valid: {error}")]
    Invalid { commit: String, error: PolicyError },
    #[error(
        "commit {commit} does not descend from {applied}, which was applied last. Merge that one, or set \
         policy.git.allow_rewind"
    )]
    Rewind { commit: String, applied: String },
    #[error(
        "the policy of commit {commit} weakens the rule of two persons and waits for an operator: hessra approvals approve {id}"
    )]
    Waits { commit: String, id: PendingId },
    #[error("{reason}")]
    Cluster { reason: String },
    #[error("the cluster answered {0:?} to a policy")]
    Answer(Box<Applied>),
}

impl FollowError {
    fn cluster(error: impl std::fmt::Display) -> Self {
        Self::Cluster {
            reason: error.to_string(),
        }
    }
}

/// The newest commit, and the texts in it. Neither its signature nor its policy was looked at: only what is to be applied
/// must be signed, see [`Applicable`].
struct Read {
    commit: String,
    policy: Policy,
    story: String,
}

/// A commit that may be applied: verified, or applied by the cluster before, and with a valid policy.
struct Applicable(Read);

impl Following {
    /// The following of the repository; `None`: the settings name none. `folder` is for git alone.
    #[must_use]
    pub fn new(
        consensus: Consensus,
        policies: Policies,
        metrics: Arc<Metrics>,
        settings: &PolicyGit,
        folder: PathBuf,
    ) -> Option<Self> {
        if settings.url.is_empty() {
            return None;
        }
        let followed = Followed {
            url: settings.url.clone(),
            branch: settings.branch.clone(),
            ..Followed::default()
        };
        policies.set_followed(followed.clone());
        let cluster = consensus.raft().identity().cluster.clone();
        let repository = Repository::new(folder, &cluster, settings.clone());
        Some(Self {
            consensus,
            policies,
            metrics,
            repository,
            settings: settings.clone(),
            followed,
        })
    }

    /// Looks at every interval, and when another policy stands.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = interval(self.settings.interval.0);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published = self.consensus.raft().watch();
        let mut seen = Revision(0);
        loop {
            let changed = published.wait_for(|now: &Arc<Published>| now.state.policy().0 != seen);
            tokio::select! {
                _ = look.tick() => {}
                changed = changed => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            seen = self.consensus.state().policy().0;
            if stop.run_until_cancelled(self.look()).await.is_none() {
                return;
            }
        }
    }

    async fn look(&mut self) {
        if !self.consensus.state().is_initialized() {
            return;
        }
        let outcome = match self.read().await {
            Ok(read) => {
                self.followed.commit = Some(read.commit.clone());
                self.followed.digest = Some(read.policy.digest);
                self.settle(read).await
            }
            Err(error) => Err(error),
        };
        let word = match &outcome {
            Ok(word) => word,
            Err(_) => "failed",
        };
        self.note(outcome.err());
        self.metrics
            .policy_git_looks
            .add(1, &[KeyValue::new("outcome", word)]);
    }

    async fn read(&self) -> Result<Read, FollowError> {
        let commit = self.repository.fetch().await?;
        let content = self.repository.content(&commit).await?;
        let Content {
            clients,
            resources,
            story,
        } = content;
        Ok(Read {
            commit,
            policy: Policy::new(clients, resources),
            story,
        })
    }

    /// Verifies what is to be applied. A commit that the cluster has applied before was verified then: its signature may
    /// be older by now than a new one may be.
    async fn applicable(
        &self,
        read: Read,
        applied_before: Option<&str>,
    ) -> Result<Applicable, FollowError> {
        if applied_before != Some(read.commit.as_str()) {
            let now = self.consensus.world().clock.wall().seconds();
            let _verified: Verified = self.repository.verify(&read.commit, now.0).await?;
        }
        let policy = &read.policy;
        let parsed = PolicyView::parse(&policy.clients_toml, &policy.resources_toml);
        let view = parsed.map_err(|error| FollowError::Invalid {
            commit: read.commit.clone(),
            error,
        })?;
        // Followed from a repository, it can be corrected there; but somebody should know.
        let stands = self.policies.of(&self.consensus.state());
        for lockout in lockouts(&stands, &view, None) {
            warn!(commit = read.commit, %lockout, "the policy of the repository locks people out");
        }
        Ok(Applicable(read))
    }

    /// Compares with what stands, and applies what is to be applied when this node leads.
    async fn settle(&mut self, read: Read) -> Result<&'static str, FollowError> {
        let leads = self.consensus.raft().is_leader();
        if leads {
            // A new leader may not have applied what the leader before it committed.
            let deadline = self.consensus.deadline();
            let linear = self.consensus.linearize(deadline).await;
            linear.map_err(FollowError::cluster)?;
        }
        let state = self.consensus.state();
        let versions = state.policies();
        let descends = match applied_last(versions) {
            None => true,
            Some(applied) => self.repository.descends(&read.commit, applied).await?,
        };
        let permitted = Permitted {
            rewind: self.settings.allow_rewind,
            correct_drift: self.settings.correct_drift,
        };
        match decide(
            versions,
            &read.commit,
            read.policy.digest,
            descends,
            permitted,
        ) {
            Decision::InSync => Ok("in_sync"),
            Decision::Drift => Ok("drift"),
            Decision::Rewind { applied } => Err(FollowError::Rewind {
                commit: read.commit,
                applied,
            }),
            Decision::Apply { based_on } => {
                let read = self.applicable(read, applied_last(versions)).await?;
                match leads {
                    true => self.apply(read, based_on).await,
                    false => Ok("left_to_leader"),
                }
            }
        }
    }

    async fn apply(
        &self,
        Applicable(read): Applicable,
        based_on: Revision,
    ) -> Result<&'static str, FollowError> {
        let change = PolicyChange {
            origin: PolicyOrigin::Git(read.commit.clone()),
            message: bounded(&read.story),
            ticket: String::new(),
        };
        let stands = self.policies.of(&self.consensus.state());
        let waits = !reasons_to_wait(&stands, &read.policy).is_empty();
        let policy = read.policy;
        let command = match waits {
            true => Command::Ask(PendingAction::ApplyPolicy {
                based_on,
                policy,
                change,
            }),
            false => Command::ApplyPolicy {
                based_on,
                policy,
                change,
            },
        };
        if let Command::Ask(action) = &command
            && let Some(waiting) = self.waiting(action)
        {
            return Err(waiting);
        }
        let deadline = self.consensus.deadline();
        let asked = self.consensus.asked_by_node(Duty::Repository);
        let proposed = self.consensus.propose(command, asked, deadline).await;
        match proposed.map_err(FollowError::cluster)?.applied {
            Applied::Pending { id, .. } => Err(FollowError::Waits {
                commit: read.commit,
                id,
            }),
            Applied::PolicyApplied { revision } => {
                info!(
                    revision = revision.0,
                    commit = read.commit,
                    "policy of the repository applied"
                );
                Ok("applied")
            }
            Applied::Refused(refusal) => Err(FollowError::Cluster {
                reason: refusal.message,
            }),
            other => Err(FollowError::Answer(Box::new(other))),
        }
    }

    /// The error of a commit that waits already: it is not asked for at each look.
    fn waiting(&self, action: &PendingAction) -> Option<FollowError> {
        let state = self.consensus.state();
        let PendingAction::ApplyPolicy { change, .. } = action else {
            return None;
        };
        let PolicyOrigin::Git(commit) = &change.origin else {
            return None;
        };
        let clock = self.consensus.world().clock.wall();
        let mut waiting = state.pending().iter();
        let same =
            waiting.find(|pending| pending.action == *action && !pending.has_ended(clock))?;
        Some(FollowError::Waits {
            commit: commit.clone(),
            id: same.id,
        })
    }

    /// Says what changed, and shows how it stands.
    fn note(&mut self, error: Option<FollowError>) {
        let error = error.map(|error| error.to_string());
        match &error {
            Some(reason) if self.followed.error.as_ref() != Some(reason) => {
                warn!(%reason, url = self.followed.url, "policy not followed");
            }
            Some(_) => {}
            None => self.followed.synced = Some(self.consensus.world().clock.wall()),
        }
        self.followed.error = error;
        let current = self.consensus.state().policy().1.digest;
        let drifted = self.followed.drifted(current);
        let before = self
            .policies
            .followed()
            .is_some_and(|known| known.drifted(current));
        if drifted && !before && self.followed.error.is_none() {
            warn!(
                commit = self.followed.commit,
                "policy is not that of the repository"
            );
        }
        self.metrics.policy_drift.record(u64::from(drifted), &[]);
        if let Some(synced) = self.followed.synced {
            self.metrics
                .policy_git_synced
                .record(synced.seconds().0, &[]);
        }
        self.policies.set_followed(self.followed.clone());
    }
}

/// The printable text of a story, no longer than the state keeps.
fn bounded(story: &str) -> String {
    let mut bounded = String::new();
    for letter in story.chars().filter(|letter| !letter.is_control()) {
        if bounded.len() + letter.len_utf8() > MESSAGE_BYTES_MAX {
            break;
        }
        bounded.push(letter);
    }
    bounded
}

//! Policy as replicated: the version that stands, and those that stood before it. Its meaning is the node's business.
//!
//! Every version is kept with its author, its time and why it came about, until [`POLICY_VERSIONS_MAX`] or
//! [`POLICY_HISTORY_BYTES_MAX`] make room for newer ones; the one that stands is never dropped. Going back is applying an
//! old text anew: revisions only grow.

use std::sync::Arc;

use hessra_revocation::{Hash, Revision, UnixMillis};
use imbl::OrdMap;
use sha2::{Digest as _, Sha256};

use crate::limits::{
    MESSAGE_BYTES_MAX, POLICY_BYTES_MAX, POLICY_HISTORY_BYTES_MAX, POLICY_VERSIONS_MAX,
    TICKET_BYTES_MAX,
};
use crate::refusal::{Refusal, RefusalCode};

/// Texts of a policy under one digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 over both texts, each after its length in bytes (8 bytes, big-endian).
    pub digest: Hash,
    /// Text of the clients file.
    pub clients_toml: String,
    /// Text of the resources file.
    pub resources_toml: String,
}

impl Policy {
    /// Policy of both texts, with their digest.
    #[must_use]
    pub fn new(clients_toml: String, resources_toml: String) -> Self {
        let digest = digest(&clients_toml, &resources_toml);
        Self {
            digest,
            clients_toml,
            resources_toml,
        }
    }

    /// Refuses texts that are too long, and a digest that is not theirs: verifiers are told the digest alone.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for (name, text) in [
            ("clients", &self.clients_toml),
            ("resources", &self.resources_toml),
        ] {
            if text.len() > POLICY_BYTES_MAX {
                return Err(too_long(name, text.len()));
            }
        }
        if self.digest == digest(&self.clients_toml, &self.resources_toml) {
            Ok(())
        } else {
            Err(Refusal::invalid(
                "the policy's digest is not that of its texts; compute it over the texts as sent",
            ))
        }
    }
}

/// Reason of a change of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// Origin of the text.
    pub origin: PolicyOrigin,
    /// Message for people, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// Ticket that tells the story, at most [`TICKET_BYTES_MAX`] bytes.
    pub ticket: String,
}

/// Origin of a policy's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PolicyOrigin {
    /// Files that a new cluster starts with.
    Start,
    /// Files of an operator.
    #[default]
    Operator,
    /// Earlier version, applied anew.
    Rollback(Revision),
    /// Commit of a followed repository: its full id in lower-case hexadecimal, 40 or 64 digits.
    Git(String),
}

/// Version of the policy: one that stands or stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// Revision that put it there.
    pub revision: Revision,
    /// Texts of the version.
    pub policy: Policy,
    /// Time of the change, on the state's clock.
    pub at: UnixMillis,
    /// Author of the change.
    pub by: String,
    /// Reason of the change.
    pub change: PolicyChange,
}

impl PolicyVersion {
    fn bytes(&self) -> usize {
        self.policy.clients_toml.len() + self.policy.resources_toml.len()
    }
}

impl PolicyChange {
    /// Refuses texts that are too long, and a rollback to a version that is gone or has another text.
    fn check(&self, policy: &Policy, versions: &PolicyVersions) -> Result<(), Refusal> {
        for (name, text, most) in [
            ("message", &self.message, MESSAGE_BYTES_MAX),
            ("ticket", &self.ticket, TICKET_BYTES_MAX),
        ] {
            if text.len() > most {
                let message = format!(
                    "the {name} has {} bytes, at most {most} are kept; shorten it",
                    text.len()
                );
                return Err(Refusal::new(RefusalCode::Limit, message));
            }
        }
        match &self.origin {
            PolicyOrigin::Start => Err(Refusal::invalid(
                "only a new cluster starts with a policy; apply this one as an operator",
            )),
            PolicyOrigin::Operator => Ok(()),
            PolicyOrigin::Git(commit) => check_commit(commit),
            PolicyOrigin::Rollback(revision) => match versions.find(*revision) {
                None => Err(Refusal::new(
                    RefusalCode::NotFound,
                    format!(
                        "no policy of revision {revision} is kept; choose one of `hessra policy history`"
                    ),
                )),
                Some(version) if version.policy.digest != policy.digest => {
                    Err(Refusal::invalid(format!(
                        "the texts are not those of revision {revision}; roll back with the texts as kept"
                    )))
                }
                Some(_) => Ok(()),
            },
        }
    }
}

fn check_commit(commit: &str) -> Result<(), Refusal> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if matches!(commit.len(), 40 | 64) && commit.bytes().all(is_digit) {
        Ok(())
    } else {
        Err(Refusal::invalid(
            "a commit has 40 or 64 lower-case hexadecimal digits; give its full id",
        ))
    }
}

/// Version that stands, and those before it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PolicyVersions {
    by_revision: OrdMap<Revision, Arc<PolicyVersion>>,
    bytes: usize,
}

impl PolicyVersions {
    /// Version that stands; `None` before the cluster began.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<PolicyVersion>> {
        self.by_revision.get_max().map(|(_, version)| version)
    }

    /// Version that this revision put there, if it is still kept.
    #[must_use]
    pub fn find(&self, revision: Revision) -> Option<&Arc<PolicyVersion>> {
        self.by_revision.get(&revision)
    }

    /// Versions, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<PolicyVersion>> {
        self.by_revision.values()
    }

    /// Number of versions that are kept, at most [`POLICY_VERSIONS_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_revision.len()
    }

    /// True before the cluster began.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_revision.is_empty()
    }

    /// Keeps a version that is newer than all, and drops the oldest ones if need be.
    pub(crate) fn push(&mut self, version: PolicyVersion) {
        self.put(version);
        while self.len() > 1
            && (self.len() > POLICY_VERSIONS_MAX || self.bytes > POLICY_HISTORY_BYTES_MAX)
        {
            let Some((revision, oldest)) = self.by_revision.get_min().cloned() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.by_revision.remove(&revision);
        }
    }

    /// Puts a stored version; false when there was one of that revision.
    pub(crate) fn put(&mut self, version: PolicyVersion) -> bool {
        self.bytes += version.bytes();
        let revision = version.revision;
        self.by_revision
            .insert(revision, Arc::new(version))
            .is_none()
    }

    /// Gives versions that are later than `clock` that time.
    pub(crate) fn none_after(&mut self, clock: UnixMillis) {
        let late = self.iter().filter(|version| version.at > clock);
        let late: Vec<PolicyVersion> = late.map(|version| PolicyVersion::clone(version)).collect();
        for version in late {
            let version = PolicyVersion {
                at: clock,
                ..version
            };
            self.by_revision.insert(version.revision, Arc::new(version));
        }
    }

    pub(crate) fn is_within_limits(&self) -> bool {
        self.len() <= POLICY_VERSIONS_MAX
            && (self.len() == 1 || self.bytes <= POLICY_HISTORY_BYTES_MAX)
    }
}

/// Policy before the cluster began.
pub(crate) static NO_POLICY: Policy = Policy {
    digest: [0; 32],
    clients_toml: String::new(),
    resources_toml: String::new(),
};

/// Revision of the policy that stands, if `policy` is that one already; `None` = go on and replace it.
pub(crate) fn revision_in_force(
    versions: &PolicyVersions,
    based_on: Revision,
    policy: &Policy,
    change: &PolicyChange,
) -> Result<Option<Revision>, Refusal> {
    change.check(policy, versions)?;
    let current = versions.newest();
    let (revision, current) = current.map_or((Revision(0), &NO_POLICY), |version| {
        (version.revision, &version.policy)
    });
    // The same content needs no comparison of revisions: what was asked for already stands.
    if policy.digest == current.digest {
        return Ok(Some(revision));
    }
    if based_on == revision {
        return Ok(None);
    }
    Err(Refusal::new(
        RefusalCode::Conflict,
        format!(
            "the policy is at revision {revision}, this change was made from {based_on}; \
             look at the difference and apply it again based on {revision}"
        ),
    ))
}

fn digest(clients_toml: &str, resources_toml: &str) -> Hash {
    let mut hasher = Sha256::new();
    for text in [clients_toml, resources_toml] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

fn too_long(name: &str, length: usize) -> Refusal {
    let message = format!(
        "the {name} text has {length} bytes, at most {POLICY_BYTES_MAX} are kept; remove what no client needs"
    );
    Refusal::new(RefusalCode::Limit, message)
}

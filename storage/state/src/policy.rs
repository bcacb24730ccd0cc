//! The policy as replicated: a version and its content. What it means is the node's business.

use hessra_revocation::{Hash, Revision};
use sha2::{Digest as _, Sha256};

use crate::applied::{Applied, Refusal, RefusalCode};
use crate::limits::POLICY_BYTES_MAX;

/// Both policy texts under one digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 over both texts, each after its length in bytes (8 bytes, big-endian).
    pub digest: Hash,
    /// The clients file.
    pub clients_toml: String,
    /// The resources file.
    pub resources_toml: String,
}

impl Policy {
    /// Both texts with their digest.
    #[must_use]
    pub fn new(clients_toml: String, resources_toml: String) -> Self {
        let digest = digest(&clients_toml, &resources_toml);
        Self {
            digest,
            clients_toml,
            resources_toml,
        }
    }

    /// Refuses what is too long, and a digest that is not that of the texts: verifiers are told the digest alone.
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

/// What applying `policy` over the one that stands answers without any effect; `None` = go on and replace it.
pub(crate) fn standing_answer(
    (revision, standing): (Revision, &Policy),
    based_on: Revision,
    policy: &Policy,
) -> Result<Option<Applied>, Refusal> {
    // The same content needs no comparison of revisions: what was asked for already stands.
    if policy.digest == standing.digest {
        return Ok(Some(Applied::PolicyApplied { revision }));
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

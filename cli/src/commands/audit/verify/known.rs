//! Heads of each chain that the cluster has witnessed, as all members that answer say.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hessra_audit::{ChainId, CheckpointKey, Head, Known};
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, AuditHeadResponse, AuditKey, WitnessedHead};
use serde_json::Value;

use crate::failure::{CommandError, Outcome};
use crate::files;

/// Witnessed heads by node and chain; of several members, each that differs.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    heads: BTreeMap<(u64, String), Vec<WitnessedHead>>,
    members: usize,
}

impl Witnesses {
    /// Asks every member. One that does not answer is left out: the others know the same.
    pub(super) async fn of(client: &AuditClient) -> Self {
        let mut witnesses = Self::default();
        for (_, server) in client.servers().await {
            if let Ok(said) = client.head(&server, AuditChain::Changes).await {
                witnesses.members += 1;
                said.witnessed
                    .into_iter()
                    .for_each(|one| witnesses.take(one));
            }
        }
        witnesses
    }

    fn take(&mut self, witnessed: WitnessedHead) {
        let name = (witnessed.node, witnessed.chain.clone());
        let known = self.heads.entry(name).or_default();
        if !known.contains(&witnessed) {
            known.push(witnessed);
        }
    }

    /// Fails when the cluster was to be asked and no member answered.
    pub(super) fn require(&self, asked: bool) -> Outcome {
        if asked && self.members == 0 {
            let message = "no member could be asked what the cluster has witnessed";
            return Err(
                CommandError::unavailable(message).hint("Give a server, or leave out --witnessed.")
            );
        }
        Ok(())
    }

    /// Adds what is witnessed of a chain to what is known of it. A member that is behind says an older head: all of one
    /// chain must be in it. The id is the one that was witnessed last.
    pub(super) fn add(&self, node: u64, chain: &str, known: &mut Known) {
        let Some(said) = self.heads.get(&(node, chain.to_owned())) else {
            return;
        };
        let newest = said.iter().max_by_key(|one| (one.at_ms, one.loss_accepted));
        // A chain that is given up may begin anew: nothing is known of the one that comes.
        let Some(newest) = newest.filter(|newest| !newest.loss_accepted) else {
            return;
        };
        known.chain_id = ChainId::parse(&newest.chain_id);
        known.node_key = newest.key.as_slice().try_into().ok();
        let same = said.iter().filter(|one| one.chain_id == newest.chain_id);
        known
            .heads
            .extend(same.filter_map(|one| head(one.seq, &one.hash)));
    }
}

/// A head from its number and the hexadecimal of its hash.
pub(super) fn head(seq: u64, hash: &str) -> Option<Head> {
    let hash = HEXLOWER.decode(hash.as_bytes()).ok()?;
    Some(Head {
        seq,
        hash: hash.try_into().ok()?,
    })
}

/// The keys of the cluster that a node says.
pub(super) fn keys_of(said: &AuditHeadResponse) -> Vec<CheckpointKey> {
    said.keys.iter().filter_map(key).collect()
}

fn key(key: &AuditKey) -> Option<CheckpointKey> {
    Some(CheckpointKey {
        id: key.id,
        public_key: key.public_key.as_slice().try_into().ok()?,
    })
}

/// Ed25519 keys of a JSON Web Key Set (RFC 8037), by their `kid`.
pub(super) fn read_keys(path: &Path) -> Outcome<Vec<CheckpointKey>> {
    let wrong = |what: &str| {
        CommandError::usage(format!(
            "{} is no set of audit keys: {what}",
            path.display()
        ))
        .hint("Write one with `hessra keys export --format jwks --purpose audit`.")
    };
    let set: Value = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| wrong(&error.to_string()))?;
    let keys = set["keys"]
        .as_array()
        .ok_or_else(|| wrong("it has no `keys`"))?;
    let read = |key: &Value| {
        let x = BASE64URL_NOPAD.decode(key["x"].as_str()?.as_bytes()).ok()?;
        Some(CheckpointKey {
            id: key["kid"].as_str()?.parse().ok()?,
            public_key: x.try_into().ok()?,
        })
    };
    let keys: Vec<CheckpointKey> = keys.iter().filter_map(read).collect();
    if keys.is_empty() {
        return Err(wrong(
            "none of its keys is an Ed25519 key with a number as `kid`",
        ));
    }
    Ok(keys)
}

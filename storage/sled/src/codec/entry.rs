//! Log entries, votes, memberships and snapshot metadata.

use std::collections::{BTreeMap, BTreeSet};

use hessra_proto::v1::{log, raft};
use hessra_state::Incarnation;
use openraft::{AsyncRuntime, CommittedLeaderId, EntryPayload};
use prost::Message;

use super::command::{decode_batch, encode_batch};
use super::message::{CodecError, decode};
use crate::{
    Entry, LogId, Member, Membership, Proposal, SnapshotMeta, StoredMembership, Types, Vote,
};

/// Encodes an entry, as on the wire and on disk.
#[must_use]
pub fn encode_entry<R: AsyncRuntime>(entry: &openraft::Entry<Types<R>>) -> Vec<u8> {
    use log::entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(log::Blank {}),
        EntryPayload::Normal(Proposal(commands)) => Payload::Batch(encode_batch(commands)),
        EntryPayload::Membership(membership) => Payload::Membership(encode_membership(membership)),
    };
    let (term, index) = (entry.log_id.leader_id.term, entry.log_id.index);
    log::Entry {
        term,
        index,
        payload: Some(payload),
    }
    .encode_to_vec()
}

/// Decodes an entry.
///
/// # Errors
/// [`CodecError::Unknown`] when a newer version wrote it; [`CodecError::Invalid`] when none did.
pub fn decode_entry<R: AsyncRuntime>(bytes: &[u8]) -> Result<Entry<R>, CodecError> {
    use log::entry::Payload;
    let entry: log::Entry = decode("entry", bytes)?;
    let payload = match entry.payload.ok_or(CodecError::Unknown("entry payload"))? {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Batch(batch) => EntryPayload::Normal(Proposal::from(decode_batch(&batch)?)),
        Payload::Membership(membership) => EntryPayload::Membership(decode_membership(&membership)),
    };
    Ok(Entry {
        log_id: log_id(entry.term, entry.index),
        payload,
    })
}

/// Encodes term and index.
#[must_use]
pub fn encode_log_id(id: &LogId) -> log::LogId {
    log::LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

/// Decodes term and index.
#[must_use]
pub fn decode_log_id(id: &log::LogId) -> LogId {
    log_id(id.term, id.index)
}

fn log_id(term: u64, index: u64) -> LogId {
    // One leader per term: the id of the leader is no part of the log id.
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

/// Encodes a vote.
#[must_use]
pub fn encode_vote(vote: &Vote) -> log::Vote {
    let node = vote.leader_id.voted_for().unwrap_or_default();
    log::Vote {
        term: vote.leader_id.get_term(),
        node,
        committed: vote.committed,
    }
}

/// Decodes a vote. Term 0 for node 0 is the vote for nobody with which every node begins.
#[must_use]
pub fn decode_vote(vote: &log::Vote) -> Vote {
    match (vote.term, vote.node, vote.committed) {
        (0, 0, false) => Vote::default(),
        (term, node, false) => Vote::new(term, node),
        (term, node, true) => Vote::new_committed(term, node),
    }
}

/// Encodes voters and addresses.
#[must_use]
pub fn encode_membership(membership: &Membership) -> log::Membership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes().map(|(id, member)| log::Node {
        id: *id,
        peer_address: member.peer_address.clone(),
        public_address: member.public_address.clone(),
        incarnation: member
            .incarnation
            .map_or_else(Vec::new, |store| store.0.to_vec()),
    });
    log::Membership {
        configs: configs
            .map(|ids| log::VoterSet {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        nodes: nodes.collect(),
    }
}

/// Decodes voters and addresses.
#[must_use]
pub fn decode_membership(membership: &log::Membership) -> Membership {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|config| config.ids.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<u64, Member> = membership
        .nodes
        .iter()
        .map(|node| (node.id, member(node)))
        .collect();
    Membership::new(configs, nodes)
}

fn member(node: &log::Node) -> Member {
    Member {
        peer_address: node.peer_address.clone(),
        public_address: node.public_address.clone(),
        incarnation: node.incarnation.as_slice().try_into().ok().map(Incarnation),
    }
}

/// Encodes the metadata of a snapshot, and its size in bytes.
#[must_use]
pub fn encode_snapshot_meta(meta: &SnapshotMeta, size: u64) -> raft::SnapshotMeta {
    raft::SnapshotMeta {
        last_log: meta.last_log_id.as_ref().map(encode_log_id),
        membership_log: meta.last_membership.log_id().as_ref().map(encode_log_id),
        membership: Some(encode_membership(meta.last_membership.membership())),
        id: meta.snapshot_id.clone(),
        size,
    }
}

/// Decodes the metadata of a snapshot, and its size in bytes.
///
/// # Errors
/// [`CodecError::Unknown`] when its membership is missing.
pub fn decode_snapshot_meta(meta: &raft::SnapshotMeta) -> Result<(SnapshotMeta, u64), CodecError> {
    let membership = meta
        .membership
        .as_ref()
        .ok_or(CodecError::Unknown("snapshot membership"))?;
    let membership_log = meta.membership_log.as_ref().map(decode_log_id);
    let decoded = SnapshotMeta {
        last_log_id: meta.last_log.as_ref().map(decode_log_id),
        last_membership: StoredMembership::new(membership_log, decode_membership(membership)),
        snapshot_id: meta.id.clone(),
    };
    Ok((decoded, meta.size))
}

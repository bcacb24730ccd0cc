//! Records of the state: the unit of change on disk and of a snapshot.

use std::sync::Arc;

use hessra_proto::v1::log;
use hessra_revocation::{Cutoff, Epoch, FeedId, FeedSalt, Revision, Rule, UnixMillis, UnixSeconds};
use hessra_state::{
    ContextVersion, FacetId, Lifted, Meta, Record, RequestId, Revocation, SessionId, Spent,
    Undoing, Why,
};
use prost::Message;

use super::command::{decode_applied, encode_applied};
use super::key::{decode_key, encode_key};
use super::members::{decode_member_change, encode_member_change};
use super::message::{CodecError, array, decode, identity};
use super::pending::{decode_pending, encode_pending};
use super::policy::{decode_policy_version, encode_policy_version};
use super::start::{decode_node_start, encode_start};
use super::witness::{decode_witnessed, encode_witnessed};

/// Encodes a record.
#[must_use]
pub fn encode_record(record: &Record) -> Vec<u8> {
    use log::record::Kind;
    let kind = match record {
        Record::Meta(meta) => Kind::Meta(encode_meta(meta)),
        Record::Rule(rule) => Kind::Rule(log::Rule {
            canonical: rule.to_bytes(),
        }),
        Record::Revocation(revocation) => Kind::Revocation(encode_revocation(revocation)),
        Record::Key(key) => Kind::Key(encode_key(key)),
        Record::Policy(version) => Kind::Policy(encode_policy_version(version)),
        Record::Request {
            id,
            asked,
            at,
            applied,
            sequence,
        } => Kind::Request(log::StoredRequest {
            asked: asked.to_vec(),
            request: id.0.to_vec(),
            at_ms: at.0,
            applied: Some(encode_applied(applied)),
            sequence: *sequence,
        }),
        Record::Pending(pending) => Kind::Pending(encode_pending(pending)),
        Record::FeedEntry { revision, bytes } => Kind::FeedEntry(log::FeedEntry {
            revision: revision.0,
            canonical: bytes.clone(),
        }),
        Record::Spent(facet, spent) => Kind::Spent(log::StoredSpent {
            facet: facet.0.to_vec(),
            request: spent.request.0.to_vec(),
            at_ms: spent.at.0,
            until: spent.until.0,
            subject: spent.subject.as_str().to_owned(),
        }),
        Record::Context(session, context) => Kind::Context(log::StoredContext {
            session: session.0.to_vec(),
            version: context.version,
            request: context.request.0.to_vec(),
            until: context.until.0,
            subject: context.subject.as_str().to_owned(),
        }),
        Record::Witnessed(witnessed) => Kind::Witnessed(encode_witnessed(witnessed)),
    };
    log::Record { kind: Some(kind) }.encode_to_vec()
}

/// Decodes a record.
///
/// # Errors
/// [`CodecError::Unknown`] when a newer version wrote it; [`CodecError::Invalid`] when none did.
pub fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    use log::record::Kind;
    let record: log::Record = decode("record", bytes)?;
    Ok(match record.kind.ok_or(CodecError::Unknown("record"))? {
        Kind::Meta(meta) => Record::Meta(decode_meta(&meta)?),
        Kind::Rule(rule) => Record::Rule(
            Rule::from_bytes(&rule.canonical)
                .map_err(|error| CodecError::undecodable("rule", &error))?,
        ),
        Kind::Revocation(revocation) => Record::Revocation(decode_revocation(revocation)?),
        Kind::Key(key) => Record::Key(decode_key(&key)?),
        Kind::Policy(stored) => Record::Policy(decode_policy_version(stored)?),
        Kind::Request(request) => Record::Request {
            id: RequestId(array("request", &request.request)?),
            asked: array("asked", &request.asked)?,
            at: UnixMillis(request.at_ms),
            applied: decode_applied(
                request
                    .applied
                    .as_ref()
                    .ok_or(CodecError::Unknown("applied"))?,
            )?,
            sequence: request.sequence,
        },
        Kind::Pending(pending) => Record::Pending(decode_pending(&pending)?),
        Kind::FeedEntry(entry) => Record::FeedEntry {
            revision: Revision(entry.revision),
            bytes: entry.canonical,
        },
        Kind::Spent(stored) => Record::Spent(
            FacetId(array("facet", &stored.facet)?),
            Spent {
                request: RequestId(array("request", &stored.request)?),
                at: UnixMillis(stored.at_ms),
                until: UnixSeconds(stored.until),
                subject: identity(&stored.subject)?,
            },
        ),
        Kind::Witnessed(stored) => Record::Witnessed(decode_witnessed(&stored)?),
        Kind::Context(stored) => Record::Context(
            SessionId(array("session", &stored.session)?),
            ContextVersion {
                version: stored.version,
                request: RequestId(array("request", &stored.request)?),
                until: UnixSeconds(stored.until),
                subject: identity(&stored.subject)?,
            },
        ),
    })
}

fn encode_meta(meta: &Meta) -> log::Meta {
    log::Meta {
        version: meta.version,
        feed_id: meta.feed_id.0.to_vec(),
        salt: meta.salt.0.to_vec(),
        epoch: meta.epoch.0,
        revision: meta.revision.0,
        floor: meta.floor.0,
        clock_ms: meta.clock.0,
        settled_ms: meta.settled.0,
        clock_set_backs: meta.clock_set_backs,
        keyset_version: meta.keyset_version,
        floor_frontier: meta
            .floor_frontier
            .iter()
            .map(|hash| hash.to_vec())
            .collect(),
        next_sequence: meta.next_sequence,
        policy_digest: meta.policy_digest.to_vec(),
        policy_revision: meta.policy_revision.0,
        next_key_id: meta.next_key_id,
        next_pending: meta.next_pending,
        pending: meta.pending,
        policy_versions: meta.policy_versions,
        witnessed: meta.witnessed,
        member_change: meta.member_change.as_ref().map(encode_member_change),
        undoing: meta
            .undoing
            .iter()
            .map(|undoing| log::Undoing {
                operator: undoing.operator.clone(),
                since_ms: undoing.since.0,
                next: undoing.next.0,
            })
            .collect(),
        starts: meta
            .starts
            .iter()
            .map(|(node, start)| log::NodeStart {
                node: *node,
                start: Some(encode_start(start)),
            })
            .collect(),
    }
}

fn decode_meta(meta: &log::Meta) -> Result<Meta, CodecError> {
    let floor_frontier = meta
        .floor_frontier
        .iter()
        .map(|hash| array("floor_frontier", hash));
    Ok(Meta {
        version: meta.version,
        feed_id: FeedId(array("feed_id", &meta.feed_id)?),
        salt: FeedSalt(array("salt", &meta.salt)?),
        epoch: Epoch(meta.epoch),
        revision: Revision(meta.revision),
        clock: UnixMillis(meta.clock_ms),
        settled: UnixMillis(meta.settled_ms),
        clock_set_backs: meta.clock_set_backs,
        keyset_version: meta.keyset_version,
        policy_digest: array("policy_digest", &meta.policy_digest)?,
        policy_revision: Revision(meta.policy_revision),
        policy_versions: meta.policy_versions,
        floor: Revision(meta.floor),
        floor_frontier: floor_frontier.collect::<Result<_, _>>()?,
        next_sequence: meta.next_sequence,
        next_key_id: meta.next_key_id,
        next_pending: meta.next_pending,
        pending: meta.pending,
        witnessed: meta.witnessed,
        member_change: meta
            .member_change
            .as_ref()
            .map(decode_member_change)
            .transpose()?,
        undoing: meta
            .undoing
            .iter()
            .map(|undoing| Undoing {
                operator: undoing.operator.clone(),
                since: UnixMillis(undoing.since_ms),
                next: Revision(undoing.next),
            })
            .collect(),
        starts: meta
            .starts
            .iter()
            .map(decode_node_start)
            .collect::<Result<_, _>>()?,
    })
}

fn encode_revocation(revocation: &Revocation) -> log::Revocation {
    let (permanent, cutoff) = match revocation.cutoff {
        Cutoff::Permanent => (true, 0),
        Cutoff::Before(revision) => (false, revision.0),
    };
    let lifted = revocation.lifted.as_ref();
    log::Revocation {
        revision: revocation.revision.0,
        target: Some((&revocation.target).into()),
        permanent,
        cutoff,
        until: revocation.until.map(|until| until.0),
        at_ms: revocation.at.0,
        by: revocation.why.by.clone(),
        reason: revocation.why.reason.clone(),
        ticket: revocation.why.ticket.clone(),
        message: revocation.why.message.clone(),
        lifted_at: lifted.map_or(0, |lifted| lifted.revision.0),
        lifted_at_ms: lifted.map_or(0, |lifted| lifted.at.0),
        lifted_by: lifted.map_or_else(String::new, |lifted| lifted.by.clone()),
        restored: lifted.is_some_and(|lifted| lifted.restored),
    }
}

fn decode_revocation(revocation: log::Revocation) -> Result<Revocation, CodecError> {
    let target = revocation
        .target
        .as_ref()
        .ok_or(CodecError::Unknown("target"))?;
    let cutoff = if revocation.permanent {
        Cutoff::Permanent
    } else {
        Cutoff::Before(Revision(revocation.cutoff))
    };
    // Revision 0 is the empty feed: nothing was ever lifted there.
    let lifted = (revocation.lifted_at > 0).then_some(Lifted {
        revision: Revision(revocation.lifted_at),
        at: UnixMillis(revocation.lifted_at_ms),
        by: revocation.lifted_by,
        restored: revocation.restored,
    });
    Ok(Revocation {
        revision: Revision(revocation.revision),
        target: target.try_into()?,
        cutoff,
        until: revocation.until.map(UnixSeconds),
        at: UnixMillis(revocation.at_ms),
        why: Arc::new(Why {
            by: revocation.by,
            reason: revocation.reason,
            ticket: revocation.ticket,
            message: revocation.message,
        }),
        lifted,
    })
}

//! Messages of a node on a verifier's stream, as the events that the follower takes.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_revocation::follower::{Mode, SignedWelcome, Welcome};
use hessra_revocation::publisher::{FEED_KEYS_MAX, ResetReason};
use hessra_revocation::{Epoch, Event, FeedId, FeedSalt, Hash, Revision, SignedCheckpoint};

use super::error::{ConvertError, array, at_most, hashes};
use crate::v1::feed::{self, downstream::Message};

/// Most peaks of an RFC 6962 frontier: one per bit of a u64.
const PEAKS_MAX: usize = 64;
/// Most buckets of a rule set.
const BUCKETS_MAX: usize = 256;
/// Longest time that a node may send a verifier away for: five minutes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Message of an event; `None` for events that a driver tells itself and no node sends: [`Event::Connected`],
/// [`Event::Stored`], [`Event::Disconnected`], [`Event::Malformed`].
#[must_use]
pub fn to_downstream(event: Event) -> Option<feed::Downstream> {
    let message = match event {
        Event::Connected { .. } | Event::Stored(_) | Event::Disconnected | Event::Malformed => {
            return None;
        }
        Event::Welcome(welcome) => Message::Welcome(welcome.into()),
        Event::SnapshotChunk {
            buckets,
            rules,
            keys,
        } => {
            let buckets = buckets.into_iter().map(u32::from).collect();
            Message::Snapshot(feed::SnapshotChunk {
                buckets,
                rules,
                keys,
            })
        }
        Event::SnapshotEnd {
            checkpoint,
            frontier,
            policy_digest,
        } => Message::SnapshotEnd(feed::SnapshotEnd {
            checkpoint: Some(checkpoint.into()),
            frontier: frontier.iter().map(|peak| peak.to_vec()).collect(),
            policy_digest: policy_digest.to_vec(),
        }),
        Event::Delta {
            from,
            to,
            entries,
            checkpoint,
        } => Message::Delta(feed::Delta {
            from: from.0,
            to: to.0,
            entries,
            checkpoint: Some(checkpoint.into()),
            traces: Vec::new(),
        }),
        Event::Heartbeat(checkpoint) => Message::Heartbeat(feed::Heartbeat {
            checkpoint: Some(checkpoint.into()),
        }),
        Event::Reset {
            reason,
            retry_after,
        } => Message::Reset(reset(reason, retry_after)),
    };
    Some(feed::Downstream {
        message: Some(message),
    })
}

impl TryFrom<feed::Downstream> for Event {
    type Error = ConvertError;

    fn try_from(wire: feed::Downstream) -> Result<Self, ConvertError> {
        match wire
            .message
            .ok_or(ConvertError::Missing("downstream.message"))?
        {
            Message::Welcome(welcome) => welcome.try_into().map(Self::Welcome),
            Message::Snapshot(chunk) => snapshot_chunk(chunk),
            Message::SnapshotEnd(end) => snapshot_end(end),
            Message::Delta(delta) => delta_event(delta),
            Message::Heartbeat(heartbeat) => checkpoint(heartbeat.checkpoint).map(Self::Heartbeat),
            Message::Reset(reset) => reset_event(reset),
        }
    }
}

fn checkpoint(wire: Option<feed::Checkpoint>) -> Result<SignedCheckpoint, ConvertError> {
    wire.ok_or(ConvertError::Missing("checkpoint"))?.try_into()
}

fn snapshot_chunk(wire: feed::SnapshotChunk) -> Result<Event, ConvertError> {
    at_most("snapshot.buckets", BUCKETS_MAX, wire.buckets.len())?;
    let bucket = |number: &u32| {
        u8::try_from(*number).map_err(|_| unknown("snapshot.buckets", i64::from(*number)))
    };
    let buckets = wire.buckets.iter().map(bucket).collect::<Result<_, _>>()?;
    Ok(Event::SnapshotChunk {
        buckets,
        rules: wire.rules,
        keys: wire.keys,
    })
}

fn snapshot_end(wire: feed::SnapshotEnd) -> Result<Event, ConvertError> {
    at_most("snapshot_end.frontier", PEAKS_MAX, wire.frontier.len())?;
    let frontier: Vec<Hash> = hashes("snapshot_end.frontier", &wire.frontier)?;
    let policy_digest = array("snapshot_end.policy_digest", &wire.policy_digest)?;
    Ok(Event::SnapshotEnd {
        checkpoint: checkpoint(wire.checkpoint)?,
        frontier,
        policy_digest,
    })
}

fn delta_event(wire: feed::Delta) -> Result<Event, ConvertError> {
    let span = wire
        .to
        .checked_sub(wire.from)
        .and_then(|span| span.checked_add(1));
    if span != Some(wire.entries.len() as u64) {
        let rule = format!(
            "{} entries cannot be the revisions {} to {}",
            wire.entries.len(),
            wire.from,
            wire.to
        );
        return Err(ConvertError::Rule {
            field: "delta.entries",
            rule,
        });
    }
    let checkpoint = checkpoint(wire.checkpoint)?;
    Ok(Event::Delta {
        from: Revision(wire.from),
        to: Revision(wire.to),
        entries: wire.entries,
        checkpoint,
    })
}

impl From<SignedWelcome> for feed::Welcome {
    fn from(signed: SignedWelcome) -> Self {
        Self {
            key_id: signed.key_id,
            signature: signed.signature.to_vec(),
            ..signed.welcome.into()
        }
    }
}

impl TryFrom<feed::Welcome> for SignedWelcome {
    type Error = ConvertError;

    fn try_from(wire: feed::Welcome) -> Result<Self, ConvertError> {
        Ok(Self {
            key_id: wire.key_id,
            signature: array("welcome.signature", &wire.signature)?,
            welcome: wire.try_into()?,
        })
    }
}

/// The welcome without its signature, as it stands in a stored feed.
impl From<Welcome> for feed::Welcome {
    fn from(welcome: Welcome) -> Self {
        let key = |(id, public_key): (u32, [u8; 32])| feed::FeedKey {
            id,
            public_key: public_key.to_vec(),
        };
        Self {
            feed_id: welcome.feed_id.0.to_vec(),
            salt: welcome.salt.0.to_vec(),
            epoch: welcome.epoch.0,
            head: welcome.head.0,
            floor: welcome.floor.0,
            mode: wire_mode(welcome.mode).into(),
            tick_ms: welcome.tick_ms,
            node: welcome.node,
            feed_keys: welcome.feed_keys.into_iter().map(key).collect(),
            key_id: 0,
            signature: Vec::new(),
            counted: welcome.counted,
        }
    }
}

impl TryFrom<feed::Welcome> for Welcome {
    type Error = ConvertError;

    fn try_from(wire: feed::Welcome) -> Result<Self, ConvertError> {
        Ok(Self {
            feed_id: FeedId(array("welcome.feed_id", &wire.feed_id)?),
            salt: FeedSalt(array("welcome.salt", &wire.salt)?),
            epoch: Epoch(wire.epoch),
            head: Revision(wire.head),
            floor: Revision(wire.floor),
            mode: our_mode(wire.mode)?,
            tick_ms: wire.tick_ms,
            node: wire.node,
            feed_keys: feed_keys(&wire.feed_keys)?,
            counted: wire.counted,
        })
    }
}

fn feed_keys(wire: &[feed::FeedKey]) -> Result<BTreeMap<u32, [u8; 32]>, ConvertError> {
    at_most("welcome.feed_keys", FEED_KEYS_MAX, wire.len())?;
    let mut keys = BTreeMap::new();
    for key in wire {
        if keys
            .insert(key.id, array("feed_key.public_key", &key.public_key)?)
            .is_some()
        {
            let rule = format!("key {} is named twice", key.id);
            return Err(ConvertError::Rule {
                field: "welcome.feed_keys",
                rule,
            });
        }
    }
    Ok(keys)
}

fn wire_mode(mode: Mode) -> feed::welcome::Mode {
    match mode {
        Mode::Deltas => feed::welcome::Mode::Deltas,
        Mode::Snapshot => feed::welcome::Mode::Snapshot,
        Mode::Buckets => feed::welcome::Mode::Buckets,
    }
}

fn our_mode(number: i32) -> Result<Mode, ConvertError> {
    match feed::welcome::Mode::try_from(number) {
        Ok(feed::welcome::Mode::Deltas) => Ok(Mode::Deltas),
        Ok(feed::welcome::Mode::Snapshot) => Ok(Mode::Snapshot),
        Ok(feed::welcome::Mode::Buckets) => Ok(Mode::Buckets),
        Ok(feed::welcome::Mode::Unspecified) | Err(_) => {
            Err(unknown("welcome.mode", i64::from(number)))
        }
    }
}

fn reset(reason: ResetReason, retry_after: Duration) -> feed::Reset {
    let retry_after_ms =
        u32::try_from(retry_after.min(RETRY_AFTER_MAX).as_millis()).unwrap_or(u32::MAX);
    feed::Reset {
        reason: wire_reason(reason).into(),
        retry_after_ms,
    }
}

fn reset_event(wire: feed::Reset) -> Result<Event, ConvertError> {
    let retry_after = Duration::from_millis(wire.retry_after_ms.into()).min(RETRY_AFTER_MAX);
    Ok(Event::Reset {
        reason: our_reason(wire.reason)?,
        retry_after,
    })
}

fn wire_reason(reason: ResetReason) -> feed::reset::Reason {
    use feed::reset::Reason;
    match reason {
        ResetReason::Slow => Reason::Slow,
        ResetReason::Shutdown => Reason::Shutdown,
        ResetReason::Ahead => Reason::Ahead,
        ResetReason::Fork => Reason::Fork,
        ResetReason::Restored => Reason::Restored,
        ResetReason::Overloaded => Reason::Overloaded,
        ResetReason::Renew => Reason::Renew,
    }
}

fn our_reason(number: i32) -> Result<ResetReason, ConvertError> {
    use feed::reset::Reason;
    match Reason::try_from(number) {
        Ok(Reason::Slow) => Ok(ResetReason::Slow),
        Ok(Reason::Shutdown) => Ok(ResetReason::Shutdown),
        Ok(Reason::Ahead) => Ok(ResetReason::Ahead),
        Ok(Reason::Fork) => Ok(ResetReason::Fork),
        Ok(Reason::Restored) => Ok(ResetReason::Restored),
        Ok(Reason::Overloaded) => Ok(ResetReason::Overloaded),
        Ok(Reason::Renew) => Ok(ResetReason::Renew),
        Ok(Reason::Unspecified) | Err(_) => Err(unknown("reset.reason", i64::from(number))),
    }
}

fn unknown(field: &'static str, number: i64) -> ConvertError {
    ConvertError::Unknown { field, number }
}

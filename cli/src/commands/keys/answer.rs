//! Keys and changes of keys, as they are printed.

use std::time::Duration;

use hessra_sdk_rust::v1::{KeyInfo, KeyResponse};
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::commands::waiting::waits;
use crate::failure::Outcome;
use crate::output::{Console, timestamp};

pub(super) fn changed(console: Console, answer: &KeyResponse) -> Outcome {
    if let Some(pending) = &answer.pending {
        return waits(console, pending);
    }
    let value = json!({
        "id": answer.id,
        "state": answer.state,
        "revision": answer.revision,
        "ready_in_ms": answer.ready_in_ms,
    });
    let done = format!(
        "key {} is {} at revision {}",
        answer.id, answer.state, answer.revision
    );
    console.committed(&done, &value, || sentence(answer))
}

pub(super) fn to_json(key: &KeyInfo) -> Value {
    let instant = |at: u64| (at > 0).then(|| timestamp(at));
    json!({
        "kid": key.id,
        "purpose": key.purpose,
        "state": key.state,
        "public_key": format!("ed25519/{}", data_encoding::HEXLOWER.encode(&key.public_key)),
        "changed_revision": key.changed_revision,
        "published": timestamp(key.published_ms),
        "since": timestamp(key.since_ms),
        "ready_in_ms": key.ready_in_ms,
        "forgotten_from": instant(key.forgotten_from_ms),
        "kek": (!key.kek.is_empty()).then_some(&key.kek),
    })
}

fn sentence(answer: &KeyResponse) -> String {
    let (id, state, revision) = (answer.id, &answer.state, answer.revision);
    let mut text = format!("✓ Key {id} is {state} at revision {revision}\n");
    if answer.ready_in_ms > 0 {
        let wait = seconds(answer.ready_in_ms);
        text += &format!("  It can sign in {wait}: hessra keys activate {id}\n");
    }
    text
}

/// Seconds, whole and rounded up: a request after a shorter wait is refused.
pub(super) fn seconds(milliseconds: u64) -> String {
    duration::rounded(Duration::from_secs(milliseconds.div_ceil(1_000)))
}

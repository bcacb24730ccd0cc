//! `hessra keys rotate`: a successor, the wait until every verifier can know it, and the change.
//!
//! ```text
//! prepare, if none is ─► wait until it has been published for long enough ─► activate ─► (emergency: revoke the old)
//! ```
//! In an emergency no key waits for its publication time. A feed key is activated once the verifiers that are connected
//! hold it, or after a few seconds: a verifier that has not heard of it could believe nothing that it signs.

use std::time::Duration;

use futures::StreamExt as _;
use hessra_sdk_rust::v1::{KeyInfo, KeyResponse, WatchAppliedRequest};
use hessra_sdk_rust::{Authority, Reason};
use hessra_settings::duration;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::answer::changed;
use crate::args::{Purpose, RotateKeys};
use crate::commands::confirm::{self, Decided};
use crate::commands::waiting::waits;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Longest and shortest pause between two looks at the key.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Largest difference of members' clocks: operators are told of a larger one.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);
/// Next step when a step of an emergency has an unknown outcome. Run again, the command would revoke the key that signs by then.
const AGAIN_IN_AN_EMERGENCY: &str = "See `hessra keys list`: activate the new key with `hessra keys activate KID --force` if it does not sign, then \
     revoke the old one with `hessra keys revoke KID`.";
/// Time for which connected verifiers are waited for in an emergency.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Rotates the key of a purpose.
pub(super) async fn run(
    authority: &Authority,
    console: Console,
    arguments: &RotateKeys,
) -> Outcome {
    let rotated = rotate(authority, console, arguments).await;
    rotated.map_err(|failure| {
        failure.look_at(match arguments.emergency {
            true => AGAIN_IN_AN_EMERGENCY,
            false => {
                "See `hessra keys list`, and run the command again: it goes on from what is done."
            }
        })
    })
}

async fn rotate(authority: &Authority, console: Console, arguments: &RotateKeys) -> Outcome {
    let keys = authority.list_keys().await?.keys;
    let old = in_state(&keys, arguments.purpose, "active").cloned();
    if arguments.emergency {
        return emergency(authority, console, arguments, old).await;
    }
    if arguments.confirmation.dry_run {
        return plan(console, arguments.purpose, old.as_ref(), &keys);
    }
    let successor = successor(authority, console, arguments.purpose, &keys).await?;
    wait(authority, console, successor, arguments.wait_timeout).await?;
    let answer = activate(authority, successor).await?;
    if let Some(old) = old {
        console.note(&format!(
            "  Key {} is retired: it verifies what it signed and signs no more.",
            old.id
        ));
    }
    changed(console, &answer)
}

fn in_state<'a>(keys: &'a [KeyInfo], purpose: Purpose, state: &str) -> Option<&'a KeyInfo> {
    keys.iter()
        .find(|key| key.purpose == purpose.word() && key.state == state)
}

fn plan(console: Console, purpose: Purpose, old: Option<&KeyInfo>, keys: &[KeyInfo]) -> Outcome {
    let prepared = in_state(keys, purpose, "prepared");
    let value = json!({
        "dry_run": true,
        "purpose": purpose.word(),
        "active": old.map(|key| key.id),
        "prepared": prepared.map(|key| key.id),
        "ready_in_ms": prepared.map(|key| key.ready_in_ms),
    });
    console.answer(&value, || match prepared {
        Some(key) => format!("Would activate key {}, which is prepared\n", key.id),
        None => "Would prepare a key, wait and activate it\n".to_owned(),
    })
}

async fn successor(
    authority: &Authority,
    console: Console,
    purpose: Purpose,
    keys: &[KeyInfo],
) -> Outcome<u32> {
    if let Some(key) = in_state(keys, purpose, "prepared") {
        console.note(&format!("  Key {} is prepared already.", key.id));
        return Ok(key.id);
    }
    let answer = authority.prepare_key(purpose.word()).await?;
    console.note(&format!(
        "  Key {} is prepared at revision {}.",
        answer.id, answer.revision
    ));
    Ok(answer.id)
}

/// Activates a key. The wait was counted by one node's clock, and another may stamp the activation: milliseconds may be
/// missing.
async fn activate(authority: &Authority, id: u32) -> Outcome<KeyResponse> {
    let deadline = Instant::now() + CLOCKS_DIFFER_MAX;
    loop {
        match authority.activate_key(id, false).await {
            Err(error) if error.reason == Reason::Conflict && Instant::now() < deadline => {
                sleep(PAUSE_MIN).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Waits until the key has been published for long enough.
async fn wait(authority: &Authority, console: Console, id: u32, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    loop {
        let keys = authority.list_keys().await?.keys;
        let key = keys.iter().find(|key| key.id == id);
        let left = match key {
            Some(key) if key.state != "prepared" => return Ok(()),
            Some(key) => Duration::from_millis(key.ready_in_ms),
            None => {
                return Err(CommandError::not_found(format!("key {id} is gone"))
                    .hint("See `hessra keys list`, and rotate again."));
            }
        };
        if left.is_zero() {
            return Ok(());
        }
        if Instant::now() + left > deadline {
            return Err(CommandError::new(
                Exit::Unconfirmed,
                "degraded",
                format!(
                    "key {id} is prepared and cannot sign for another {} s",
                    left.as_secs() + 1
                ),
            )
            .hint(format!("Later: hessra keys activate {id}")));
        }
        console.note(&format!(
            "  Verifiers learn key {id}; it can sign in {}.",
            duration::rounded(Duration::from_secs(left.as_secs() + 1))
        ));
        sleep(left.clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

async fn emergency(
    authority: &Authority,
    console: Console,
    arguments: &RotateKeys,
    old: Option<KeyInfo>,
) -> Outcome {
    let purpose = arguments.purpose;
    let Some(old) = old else {
        return Err(CommandError::new(
            Exit::Conflict,
            "conflict",
            format!("no {} key is active", purpose.word()),
        )
        .hint("Rotate without --emergency: nothing signs that could be revoked."));
    };
    console.note(&format!(
        "A new {} key signs at once, and key {} is revoked: everything that it signed is denied, for ever.",
        purpose.word(),
        old.id
    ));
    if arguments.confirmation.dry_run {
        let value = json!({"dry_run": true, "purpose": purpose.word(), "revokes": old.id});
        return console.answer(&value, String::new);
    }
    let word = old.id.to_string();
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "do it")?;
    }
    // Never a key that lay prepared: a thief of one private half may have the other.
    let fresh = authority.prepare_key(purpose.word()).await?;
    if purpose == Purpose::Feed {
        heard(authority, console, fresh.revision).await;
    }
    let active = authority.activate_key(fresh.id, true).await?;
    let revoked = authority.revoke_key(old.id).await?;
    finish(console, &active, old.id, &revoked)
}

/// Waits until connected verifiers have heard of a feed key: they believe one that an older key has introduced.
async fn heard(authority: &Authority, console: Console, revision: u64) {
    let request = WatchAppliedRequest {
        revision,
        ..WatchAppliedRequest::default()
    };
    let watch = async {
        let mut progress = authority.watch_applied(request, HEARD_WITHIN).await.ok()?;
        while let Some(Ok(step)) = progress.next().await {
            if step.done {
                return Some(());
            }
        }
        None
    };
    let all = tokio::time::timeout(HEARD_WITHIN, watch).await;
    if !matches!(all, Ok(Some(()))) {
        console.warn("not every verifier has heard of the new feed key; those that have not must be started anew");
    }
}

fn finish(console: Console, active: &KeyResponse, old: u32, revoked: &KeyResponse) -> Outcome {
    if let Some(pending) = &revoked.pending {
        console.success(&format!("Key {} signs", active.id));
        console.warn(&format!("key {old} is not revoked yet"));
        return waits(console, pending);
    }
    let value = json!({
        "id": active.id,
        "state": active.state,
        "revision": revoked.revision,
        "revoked": old,
    });
    let done = format!(
        "Key {} signs, and key {old} is revoked at revision {}",
        active.id, revoked.revision
    );
    console.committed(&done, &value, || format!("✓ {done}\n"))
}

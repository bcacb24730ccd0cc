//! Verification of a token: first what needs no server, then revocation by the feed.
//!
//! ```text
//! signature, chain, expiry (offline) ──no──► No (3)
//!        │ yes
//!        ├─ --offline ── known here as revoked ─► No (3): denial needs no freshness
//!        │            └─ else ──────────────► yes, and said in words that nobody was asked
//!        ▼
//! feed of any reachable node ── revoked ───► No (3), even when it is old: denial needs no freshness
//!        │ fresh ─────────────────────────► yes, with revision and age
//!        └ no node answers ───────────────► cannot tell (10)
//! ```

use std::time::{Duration, Instant};

use hessra_sdk_rust::token::{UnknownReason, Verified};
use hessra_sdk_rust::{Readiness, Request, Verdict, Verifier};
use serde_json::{Value, json};

use crate::args::PublicKeyArguments;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::{knowledge, sdk, signing_key};

/// A good token, and what is known about its revocation.
pub(crate) struct Verification {
    pub verified: Verified,
    pub revocation: Revocation,
}

/// Revocation of a good token, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// Not asked, as the command line says.
    NotAsked,
    /// Not revoked at this revision, known this long ago.
    NotRevoked { revision: u64, age: Duration },
}

impl Revocation {
    /// The object `revocation` of an answer.
    pub(crate) fn to_json(self) -> Value {
        match self {
            Self::NotAsked => json!({"checked": false}),
            Self::NotRevoked { revision, age } => {
                let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                json!({"checked": true, "revision": revision, "age_ms": age_ms})
            }
        }
    }
}

/// Verifies a token.
///
/// # Errors
/// No, with the reason; cannot tell; usage.
pub(crate) async fn verify(
    context: &Context,
    token: &str,
    request: &Request,
    keys: &PublicKeyArguments,
    offline: bool,
) -> Outcome<Verification> {
    let key_id = sdk::parse(token).map_err(no)?.root_key_id();
    if offline {
        let key = signing_key::find(context, keys, key_id).await?;
        let verified = conclude(sdk::verify_offline(token, request, &key)?)?;
        not_known_as_revoked(context, token, request, &key)?;
        return Ok(Verification {
            verified,
            revocation: Revocation::NotAsked,
        });
    }
    // A key that is known here settles most bad tokens at once. One that does not fit settles nothing: the cluster
    // may have been set up anew.
    if let Some(key) = signing_key::known(context, keys, key_id)?
        && let Verdict::Deny(reason) = sdk::verify_offline(token, request, &key)?
        && !sdk::is_about_the_key(&reason)
    {
        return Err(sdk::denied(&reason));
    }
    by_the_feed(context, token, request).await
}

/// Denies what an earlier command of this computer has learnt from the feed to be revoked, however long ago.
fn not_known_as_revoked(context: &Context, token: &str, request: &Request, key: &str) -> Outcome {
    let views = knowledge::stored(context, &sdk::key_bytes(key)?);
    for view in &views {
        match sdk::verify_by(token, request, key, view)? {
            Verdict::Deny(reason) => return Err(sdk::denied(&reason)),
            Verdict::Allow(_) | Verdict::Unknown(_) => {}
        }
    }
    Ok(())
}

async fn by_the_feed(context: &Context, token: &str, request: &Request) -> Outcome<Verification> {
    let verifier = knowledge::checker(context).map_err(cannot_ask)?;
    let verdict = tokio::time::timeout(context.timeout, settled(&verifier, token, request)).await;
    let alarm = verifier.subscribe().borrow().alarm.clone();
    verifier.shutdown().await;
    match (verdict, alarm) {
        (Ok(verdict), _) => not_revoked(conclude(verdict)?),
        (Err(_), Some(alarm)) => Err(alarmed(context, &alarm)),
        (Err(_), None) => Err(nobody_answered(context)),
    }
}

fn not_revoked(verified: Verified) -> Outcome<Verification> {
    let revision = verified.checked_at().map_or(0, |revision| revision.0);
    let age = verified.knowledge_age().unwrap_or_default();
    Ok(Verification {
        verified,
        revocation: Revocation::NotRevoked { revision, age },
    })
}

/// The verdict as soon as there is one: when the feed is fresh, and has reached the revision that the token carries.
///
/// A person who has just seen `revoke` return must not be told yes by a node that lags: yes needs a confirmation that
/// began after the question.
async fn settled(verifier: &Verifier, token: &str, request: &Request) -> Verdict {
    let asked = Instant::now();
    let (mut status, mut news) = (verifier.subscribe(), verifier.news());
    loop {
        let fresh = status.borrow_and_update().readiness == Readiness::Fresh;
        let verdict = verifier.check(token, request);
        if is_final(&verdict, fresh, asked.elapsed()) {
            return verdict;
        }
        // A heartbeat changes the age alone, which only the news tell. Both senders live as long as the verifier.
        tokio::select! {
            _ = status.changed() => (),
            _ = news.recv() => (),
        }
    }
}

/// True when a verdict is final. A denial needs no freshness, except that of a key: knowledge from yesterday lacks the
/// key of today.
fn is_final(verdict: &Verdict, fresh: bool, since_asked: Duration) -> bool {
    match verdict {
        Verdict::Allow(verified) => verified
            .knowledge_age()
            .is_some_and(|age| age <= since_asked),
        Verdict::Deny(reason) => fresh || !sdk::is_about_the_key(reason),
        // More knowledge will not finish its checks.
        Verdict::Unknown(reason) => matches!(reason, UnknownReason::LimitExceeded),
    }
}

fn conclude(verdict: Verdict) -> Outcome<Verified> {
    match verdict {
        Verdict::Allow(verified) => Ok(verified),
        Verdict::Deny(reason) => Err(sdk::denied(&reason)),
        Verdict::Unknown(reason) => Err(unknown(&reason)),
    }
}

fn unknown(reason: &UnknownReason) -> CommandError {
    CommandError {
        retryable: true,
        ..CommandError::new(
            Exit::CannotTell,
            reason.code(),
            format!("cannot tell: {reason}"),
        )
    }
}

/// Answer no to a text that is no token: it proves nothing.
fn no(failure: CommandError) -> CommandError {
    CommandError::no("malformed", failure.message)
}

fn cannot_ask(failure: CommandError) -> CommandError {
    let hint = "Name a server to ask about revocations, or use --offline to check the rest.";
    CommandError::new(
        Exit::CannotTell,
        "never_synced",
        format!("cannot tell: {}", failure.message),
    )
    .hint(hint)
}

/// Error of another history than the one known here: a forged or restored feed, or a cluster that was set up anew.
fn alarmed(context: &Context, alarm: &str) -> CommandError {
    let folder = context.feed_folder();
    CommandError::new(Exit::CannotTell, "fork", format!("cannot tell: {alarm}")).hint(format!(
        "If the cluster was set up anew on purpose, delete {}. Otherwise tell its operators: two histories exist.",
        folder.display()
    ))
}

fn nobody_answered(context: &Context) -> CommandError {
    let waited = hessra_settings::duration::rounded(context.timeout);
    let message = format!("cannot tell: no node said within {waited} whether it is revoked");
    CommandError {
        retryable: true,
        ..CommandError::new(Exit::CannotTell, "stale", message)
    }
    .hint("See `hessra doctor`, or use --offline to check all but revocation.")
}

#[cfg(test)]
mod tests {
    use hessra_sdk_rust::token::DenyReason;

    use super::*;

    #[test]
    fn a_denial_about_the_key_waits_for_fresh_knowledge_and_any_other_does_not() {
        let other = || Verdict::Deny(DenyReason::NotGranted);
        let key = || Verdict::Deny(DenyReason::UnknownKey { key_id: 2 });
        assert!(
            is_final(&other(), false, Duration::ZERO) && is_final(&other(), true, Duration::ZERO)
        );
        assert!(!is_final(&key(), false, Duration::ZERO) && is_final(&key(), true, Duration::ZERO));
    }

    #[test]
    fn what_more_knowledge_cannot_settle_is_final() {
        assert!(is_final(
            &Verdict::Unknown(UnknownReason::LimitExceeded),
            false,
            Duration::ZERO
        ));
        assert!(!is_final(
            &Verdict::Unknown(UnknownReason::NeverSynced),
            true,
            Duration::ZERO
        ));
    }
}

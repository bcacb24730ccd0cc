//! `hessra identity verify`: whether a token proves an identity, now.

use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_sdk_rust::Request;
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::VerifyIdentity;
use crate::clock;
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, timestamp};
use crate::sdk;
use crate::tokens;
use crate::verification::{self, Revocation, Verification};

/// Answers on stdout and by the exit code.
pub(super) async fn run(
    context: &Context,
    console: Console,
    arguments: &VerifyIdentity,
) -> Outcome {
    let given = tokens::read_stored(context, &arguments.token)?;
    let expected = arguments
        .identity
        .as_deref()
        .map(sdk::identity)
        .transpose()?;
    let request = expected.map_or_else(Request::bearer, Request::identity);
    let verified_token = verification::verify(
        context,
        &given.text,
        &request,
        &arguments.public_key,
        arguments.offline,
    )
    .await;
    let verified_token =
        verified_token.and_then(|verification| lives_long_enough(arguments, verification));
    match verified_token {
        Ok(verification) => {
            console.answer(&to_json(&verification), || {
                to_text(&verification, console.verbose)
            })?;
            if verification.revocation == Revocation::NotAsked {
                console.warn(
                    "Revocation was not checked (--offline): the token may have been revoked since this computer last heard of the cluster.",
                );
            }
            Ok(())
        }
        Err(failure) => {
            refuse(console, arguments, &failure)?;
            Err(failure)
        }
    }
}

fn lives_long_enough(
    arguments: &VerifyIdentity,
    verification: Verification,
) -> Outcome<Verification> {
    let left = verification
        .verified
        .expires_at()
        .0
        .saturating_sub(clock::unix_seconds());
    if !arguments.check_expiry || left >= arguments.min_ttl.as_secs() {
        return Ok(verification);
    }
    let (left, wanted) = (
        duration::rounded(Duration::from_secs(left)),
        duration::rounded(arguments.min_ttl),
    );
    Err(CommandError::no(
        "expires_soon",
        format!("the token expires in {left}, sooner than in {wanted}"),
    ))
}

/// Refuses. Programs get the answer on stdout also when it is no: `valid` is null when the answer cannot be told.
fn refuse(console: Console, arguments: &VerifyIdentity, failure: &CommandError) -> Outcome {
    if !console.for_machines() {
        return Ok(());
    }
    let valid = (failure.exit == crate::exit::Exit::No).then_some(false);
    let value = json!({
        "success": false,
        "valid": valid,
        "identity": arguments.identity,
        "reason": failure.reason,
        "error": failure.message,
    });
    console.answer(&value, String::new)
}

fn to_json(verification: &Verification) -> Value {
    let verified = &verification.verified;
    let expires_at = verified.expires_at().0;
    json!({
        "success": true,
        "valid": true,
        "identity": verified.actor().as_str(),
        "subject": verified.subject().as_str(),
        "chain": sdk::chain(verified),
        "expiry": expires_at,
        "expires_in": expires_at.saturating_sub(clock::unix_seconds()),
        "revocation_ids": verified.token_ids().iter().map(|id| HEXLOWER.encode(id.as_bytes())).collect::<Vec<_>>(),
        "key_id": verified.root_key_id(),
        "revocation": verification.revocation.to_json(),
    })
}

fn to_text(verification: &Verification, verbose: bool) -> String {
    let verified = &verification.verified;
    let expires_at = verified.expires_at().0;
    let left = duration::rounded(Duration::from_secs(
        expires_at.saturating_sub(clock::unix_seconds()),
    ));
    let first = format!("✓ Valid: {} (expires in {left})\n", verified.actor());
    if !verbose {
        return first;
    }
    let revocation = match verification.revocation {
        Revocation::NotAsked => "not checked".to_owned(),
        Revocation::NotRevoked { revision, age } => {
            format!(
                "not revoked at revision {revision}, known {} ago",
                duration::rounded(age)
            )
        }
    };
    let mut lines = vec![
        ("Chain", sdk::chain(verified).join(" → ")),
        ("Expires", timestamp(expires_at.saturating_mul(1_000))),
        (
            "Key id",
            verified
                .root_key_id()
                .map_or_else(|| "none".to_owned(), |id| id.to_string()),
        ),
        ("Revocation", revocation),
    ];
    let ids = verified
        .token_ids()
        .iter()
        .map(|id| HEXLOWER.encode(id.as_bytes()));
    lines.extend(
        ids.enumerate()
            .map(|(block, id)| ("Block", format!("{block} {id}"))),
    );
    first
        + &lines
            .iter()
            .map(|(name, value)| format!("  {name:<11} {value}\n"))
            .collect::<String>()
}

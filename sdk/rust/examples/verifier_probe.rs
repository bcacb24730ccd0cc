//! A verifier as a process of its own, driven by lines, for tests and for looking at one.
//!
//! ```text
//! > check TOKEN ACTOR                       whether the token proves this actor; `-` = the one it names
//! < {"at_us":…,"verdict":"deny","reason":"revoked","revision":12,"age_ms":430}
//! > authz TOKEN SUBJECT RESOURCE OPERATION  whether it grants this; SUBJECT `-` = the one it was issued to
//! > status                                  the status of the verifier
//! > exit                                    writes what is known to disk, and ends
//! ```
//!
//! Whenever readiness, revision, server or alarm change it prints, unasked,
//! `{"event":"status","at_us":…,"standing":"fresh","revision":12,"epoch":1,"age_ms":3,"server":"…","alarm":null}`.
//! `at_us`: Unix time in microseconds. Configuration: `HESSRA_SERVER`, `HESSRA_CA`, and optionally `HESSRA_PORT`,
//! `HESSRA_CERT` with `HESSRA_KEY`, or `HESSRA_IDENTITY_TOKEN`, `HESSRA_VERIFIER_ID`, `HESSRA_STATE_DIR`, `HESSRA_STALENESS_MS`,
//! `HESSRA_BEST_EFFORT=1`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hessra_sdk_rust::revocation::{Identity, IdentityError};
use hessra_sdk_rust::{
    Credentials, DomainClaim, Evidence, Readiness, Request, StalenessPolicy, Verdict, Verifier,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

type AnyError = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let verifier = verifier()?;
    let mut changes = verifier.subscribe();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            // The verifier outlives the loop, so this never fails.
            _ = changes.changed() => {
                changes.mark_unchanged();
                let mut event = status(&verifier);
                event["event"] = json!("status");
                say(event);
            }
            line = lines.next_line() => match line?.as_deref().map(str::trim) {
                None | Some("exit") => break,
                Some("") => {}
                Some(line) => say(answer(&verifier, line)),
            },
        }
    }
    verifier.shutdown().await;
    Ok(())
}

fn answer(verifier: &Verifier, line: &str) -> Value {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.as_slice() {
        ["status"] => status(verifier),
        ["check", token, actor] => match named(actor) {
            Ok(expected) => verdict(
                verifier,
                token,
                &Request::Identity {
                    expected,
                    purpose: None,
                    domain: DomainClaim::default(),
                },
            ),
            Err(error) => json!({ "error": error.to_string() }),
        },
        ["authz", token, subject, resource, operation] => match named(subject) {
            Ok(subject) => {
                let (resource, operation) = ((*resource).to_owned(), (*operation).to_owned());
                verdict(
                    verifier,
                    token,
                    &Request::Authorization {
                        subject,
                        resource,
                        operation,
                        evidence: Evidence::default(),
                    },
                )
            }
            Err(error) => json!({ "error": error.to_string() }),
        },
        _ => json!({ "error": "not one of check, authz, status, exit" }),
    }
}

fn named(word: &str) -> Result<Option<Identity>, IdentityError> {
    match word {
        "-" => Ok(None),
        _ => Identity::parse(word).map(Some),
    }
}

fn verdict(verifier: &Verifier, token: &str, request: &Request) -> Value {
    let verdict = verifier.check(token, request);
    let at_us = now_us();
    let name = match &verdict {
        Verdict::Allow(_) => "allow",
        Verdict::Deny(_) => "deny",
        Verdict::Unknown(_) => "unknown",
    };
    let revision = verifier.subscribe().borrow().revision.0;
    json!({ "at_us": at_us, "verdict": name, "reason": verdict.code(), "revision": revision, "age_ms": age(verifier) })
}

fn status(verifier: &Verifier) -> Value {
    let status = verifier.subscribe().borrow().clone();
    let readiness = match status.readiness {
        Readiness::Unknown => "unknown",
        Readiness::Fresh => "fresh",
        Readiness::Stale => "stale",
    };
    json!({
        "at_us": now_us(),
        "standing": readiness,
        "revision": status.revision.0,
        "epoch": status.epoch.0,
        "age_ms": age(verifier),
        "server": status.server.map(|server| server.to_string()),
        "alarm": status.alarm,
    })
}

fn age(verifier: &Verifier) -> Option<u64> {
    verifier
        .age()
        .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

fn now_us() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// Writes one line at once: standard output is line-buffered also into a pipe.
fn say(line: Value) {
    println!("{line}");
}

fn verifier() -> Result<Verifier, AnyError> {
    let server =
        setting("HESSRA_SERVER").ok_or("set HESSRA_SERVER to HOST:PORT of one or more nodes")?;
    let ca = setting("HESSRA_CA").ok_or("set HESSRA_CA to the file of the cluster's authority")?;
    let port = setting("HESSRA_PORT")
        .unwrap_or_else(|| "443".into())
        .parse()?;
    let mut builder = Verifier::builder()
        .default_port(port)
        .servers([server])?
        .ca_file(ca)?;
    if let (Some(certificate), Some(key)) = (setting("HESSRA_CERT"), setting("HESSRA_KEY")) {
        builder = builder.credentials(Credentials::files(certificate, key)?);
    }
    if let Some(token) = setting("HESSRA_IDENTITY_TOKEN") {
        builder = builder.identity_token(move || Ok(token.clone()));
    }
    if let Some(id) = setting("HESSRA_VERIFIER_ID") {
        builder = builder.id(&id)?;
    }
    if let Some(directory) = setting("HESSRA_STATE_DIR") {
        builder = builder.state_dir(directory);
    }
    if let Some(milliseconds) = setting("HESSRA_STALENESS_MS") {
        let max = Duration::from_millis(milliseconds.parse()?);
        builder = builder.staleness(StalenessPolicy::Strict { max });
    }
    if setting("HESSRA_BEST_EFFORT").is_some() {
        builder = builder.staleness(StalenessPolicy::BestEffort);
    }
    Ok(builder.connect()?)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

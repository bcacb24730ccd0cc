//! The SDK's token operations with this command's clock, key texts and failures.

use std::time::Duration;

use hessra_sdk_rust::clock;
use hessra_sdk_rust::revocation::{Identity, UnixSeconds, View};
use hessra_sdk_rust::token::{
    self, DelegateError, Delegated, DenyReason, Description, KeyError, Keyring, Knowledge, Limits,
    Now, PolicyChecks, Token, TokenError, TokenVerifier, Verified, VerifierConfig,
};
use hessra_sdk_rust::{Request, Verdict};
use rand::rngs::OsRng;

use crate::failure::{CommandError, Outcome};
use crate::output::timestamp;

/// Delegation of a token: the child, its life, its checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delegation<'a> {
    pub identity: &'a str,
    pub ttl: Duration,
    /// Check in Datalog, or none.
    pub check: Option<&'a str>,
}

/// Reads a token without believing it.
///
/// # Errors
/// Usage.
pub(crate) fn parse(text: &str) -> Outcome<Token> {
    Token::parse(text, &Limits::default()).map_err(not_a_token)
}

/// Description of a token, unproven.
///
/// # Errors
/// Usage.
pub(crate) fn describe(text: &str) -> Outcome<Description> {
    token::inspect(text, &Limits::default()).map_err(not_a_token)
}

/// Verifies everything but revocation, with one key.
///
/// # Errors
/// Usage: the key is no key.
pub(crate) fn verify_offline(text: &str, request: &Request, key: &str) -> Outcome<Verdict> {
    Ok(verifier().verify_offline(text, request, &keyring(key)?, clock::wall()))
}

/// Checks that a holder added are evaluated: they can only restrict, and `delegate --check` makes them.
fn verifier() -> TokenVerifier {
    TokenVerifier::new(VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    })
}

/// Verifies with one key and by one view, of which nobody knows the age: only a denial says anything.
///
/// # Errors
/// Usage: the key is no key.
pub(crate) fn verify_by(text: &str, request: &Request, key: &str, view: &View) -> Outcome<Verdict> {
    let keyring = keyring(key)?;
    let knowledge = Knowledge {
        keyring: &keyring,
        view: Some(view),
        freshness: None,
    };
    let now = Now {
        wall: clock::wall(),
        monotonic: clock::monotonic(),
    };
    Ok(verifier().verify(text, request, &knowledge, now))
}

/// Bytes of a public key.
///
/// # Errors
/// Usage: the key is no key.
pub(crate) fn key_bytes(pem: &str) -> Outcome<[u8; 32]> {
    token::keyring::public_key_from_pem(pem).map_err(|error| not_a_key(&error))
}

/// The identities from the subject down to the actor.
pub(crate) fn chain(verified: &Verified) -> Vec<String> {
    verified.chain().iter().map(ToString::to_string).collect()
}

/// Denial: the answer no, with its reason.
pub(crate) fn denied(reason: &DenyReason) -> CommandError {
    match reason {
        DenyReason::Expired { at } => CommandError::no(
            reason.code(),
            format!("the token ended at {}", timestamp(at.0.saturating_mul(1_000))),
        )
        .hint("Ask for a new one."),
        DenyReason::Revoked { .. } => CommandError::no(reason.code(), reason.to_string())
            .hint("`hessra token explain` names the revocation. Ask for a new token if you still may have one."),
        _ => CommandError::no(reason.code(), reason.to_string()),
    }
}

/// True when the reason says that another key is needed, rather than that the token is bad.
pub(crate) fn is_about_the_key(reason: &DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::BadSignature | DenyReason::UnknownKey { .. }
    )
}

/// Delegates a token to a child identity.
///
/// # Errors
/// Usage for what is asked; no, when the token cannot be delegated from.
pub(crate) fn delegate(text: &str, key: &str, wanted: &Delegation<'_>) -> Outcome<Delegated> {
    let now = clock::wall();
    let delegation = token::Delegation {
        child: identity(wanted.identity)?,
        expires_at: UnixSeconds(now.0.saturating_add(wanted.ttl.as_secs())),
        checks: wanted.check,
    };
    token::delegate(text, &keyring(key)?, &delegation, now, &mut OsRng)
        .map_err(|error| not_delegated(&error))
}

fn not_delegated(error: &DelegateError) -> CommandError {
    match error {
        DelegateError::Refused(_) => CommandError::no("refused", error.to_string()),
        DelegateError::NotDelegatable { .. } => {
            CommandError::no("not_delegable", error.to_string())
        }
        _ => CommandError::usage(error.to_string()),
    }
}

/// Reads an identity; refused, not repaired, but for the case of a DNS name.
///
/// # Errors
/// Usage.
pub(crate) fn identity(text: &str) -> Outcome<Identity> {
    Identity::parse_spelled(text).map_err(|error| {
        CommandError::usage(format!("`{text}` is not an identity: {error}")).hint(
            "Identities are segments of letters, digits and ._~@/- joined by colons, like urn:hessra:alice:agent.",
        )
    })
}

fn not_a_token(error: TokenError) -> CommandError {
    CommandError::usage(format!("this is not a token that can be read: {error}"))
}

fn keyring(pem: &str) -> Outcome<Keyring> {
    Keyring::from_pem(pem).map_err(|error| not_a_key(&error))
}

fn not_a_key(error: &KeyError) -> CommandError {
    CommandError::usage(format!("the public key is not one: {error}"))
        .hint("`hessra keys export --format pem` prints the one that signs.")
}

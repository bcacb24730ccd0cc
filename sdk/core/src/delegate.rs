//! Delegation: a child identity, made offline by the holder of its parent; or the same identity, for less.
//!
//! The published form: a third-party block signed by a throw-away key, which no verifier trusts; it is only a way to
//! append. The form is safe because the child's name lies below the parent's, so the result is checked before it
//! leaves.

mod holds;

use std::ops::Range;

use biscuit_auth::KeyPair;
use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::macros::block;
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Identity, UnixSeconds};

use crate::chain::is_below;
use crate::token::{PolicyCheck, to_text};
use crate::verifier::Established;
use crate::{
    DelegateError, DenyReason, DomainClaim, Keyring, PolicyChecks, Request, Token, TokenVerifier,
    Verdict, VerifierConfig,
};

/// Most bytes of the further checks of one delegation. Origin: an eighth of a token, so that ten delegations fit.
pub const POLICY_BYTES_MAX: usize = 2048;

/// Most further checks of one delegation. Origin: each is evaluated on every use, and all holders of a token share 32
/// alternatives.
pub const POLICY_CHECKS_MAX: usize = 8;

/// Most levels of brackets in a further check. Origin: its parser and its encoding go one level deeper for each, and nobody
/// reads more.
const NESTING_MAX: usize = 16;

/// Facts of a request with an identity that checks may be about. Rights and designations are of authorizations.
const FACTS: [&str; 3] = ["time", "resource", "operation"];

/// Terms of a delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation<'a> {
    /// Name of the child: strictly below the current actor. In the token it begins as that one is spelled.
    pub child: Identity,
    /// Instant from which on it is refused; the parent's when that comes first.
    pub expires_at: UnixSeconds,
    /// Further `check if ..` statements, joined by `;`, about `time`, `resource` and `operation` of the use: at most
    /// [`POLICY_CHECKS_MAX`] in [`POLICY_BYTES_MAX`], of operators whose cost is constant: [`crate::Costly`] says of which.
    /// `time` is in Unix seconds, and is compared with numbers and with times like `2030-01-01T00:00:00Z`. A check that no
    /// request could meet is refused: [`crate::NeverHolds`].
    /// Verifiers evaluate them only where their configuration says so, and refuse the token elsewhere.
    pub checks: Option<&'a str>,
}

/// Identity that was delegated.
#[derive(Clone)]
pub struct Delegated {
    /// Text form: padded URL-safe base64, no line end.
    pub token: String,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Names: subject first, then every delegation; the child last.
    pub chain: Vec<Identity>,
}

/// Hides the token.
impl std::fmt::Debug for Delegated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delegated")
            .field("expires_at", &self.expires_at)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// Appends a delegation to an identity token. Revocations are not asked: verifiers do.
///
/// # Errors
/// [`DelegateError`]; each says what is allowed.
pub fn delegate(
    token: &str,
    keyring: &Keyring,
    delegation: &Delegation<'_>,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Delegated, DelegateError> {
    let parent = established(token, &Request::bearer(), keyring, now)?;
    let child = delegation.child.spelled_below(&parent.actor);
    let expires_at = check_delegation(&parent, &child, delegation.expires_at, now)?;
    let block = delegation_block(&child, now..expires_at, delegation.checks)?;
    let token = to_text(&append(parent.token(), block, rng)?);
    let expected = Request::identity(child);
    let child = established(&token, &expected, keyring, now)?;
    if child.reusable {
        confirm(&token, &expected, keyring, now)?;
    }
    Ok(Delegated {
        token,
        // A further check may end it before.
        expires_at: child.expires_at,
        chain: child.chain.clone(),
    })
}

/// Terms of restricting an identity without another name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restriction<'a> {
    /// Instant from which on it is refused; `None` = as before, and never later.
    pub expires_at: Option<UnixSeconds>,
    /// Further checks, as [`Delegation::checks`].
    pub checks: Option<&'a str>,
}

/// Restricts an identity token, for good: the result acts under the same name, for less.
///
/// Works for every identity, also one that cannot be delegated. Needs no key.
///
/// # Errors
/// [`DelegateError`]; each says what is allowed.
pub fn restrict(
    token: &str,
    keyring: &Keyring,
    restriction: &Restriction<'_>,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Delegated, DelegateError> {
    let request = Request::bearer().in_domain(DomainClaim::OfToken);
    let before = established(token, &request, keyring, now)?;
    let wanted = restriction.expires_at.unwrap_or(before.expires_at);
    let expires_at = check_lifetime(wanted.min(before.expires_at), now)?;
    let bound = i64::try_from(expires_at.0).unwrap_or(i64::MAX);
    let mut block = block!("check if time($time), $time < {bound};");
    if let Some(checks) = restriction.checks {
        block = block.merge(further_checks(checks, &(now.0..expires_at.0))?);
    }
    let token = to_text(&append(before.token(), block, rng)?);
    let restricted = established(&token, &request, keyring, now)?;
    Ok(Delegated {
        token,
        expires_at: restricted.expires_at,
        chain: restricted.chain.clone(),
    })
}

/// Establishes an identity: signatures, structure and end. Checks of a holder's own making are not run: the facts that
/// they ask for are known only where the token is used.
fn established(
    token: &str,
    request: &Request,
    keyring: &Keyring,
    now: UnixSeconds,
) -> Result<Established, DelegateError> {
    let lenient = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    };
    let established = Established::read_unexpired(token, request, keyring, &lenient, now);
    established.map_err(|reason| match reason {
        DenyReason::TooDeep { limit } => DelegateError::TooDeep { limit },
        other => DelegateError::Refused(other.to_string()),
    })
}

/// Runs the whole check with the child as actor, as every verifier will.
fn confirm(
    token: &str,
    expected: &Request,
    keyring: &Keyring,
    now: UnixSeconds,
) -> Result<(), DelegateError> {
    match TokenVerifier::default().verify_offline(token, expected, keyring, now) {
        Verdict::Allow(_) => Ok(()),
        Verdict::Deny(reason) => Err(DelegateError::Refused(reason.to_string())),
        Verdict::Unknown(reason) => Err(DelegateError::Refused(reason.to_string())),
    }
}

/// Checks the terms, and returns the instant at which the child ends.
fn check_delegation(
    parent: &Established,
    child: &Identity,
    wanted: UnixSeconds,
    now: UnixSeconds,
) -> Result<UnixSeconds, DelegateError> {
    let actor = parent.actor.clone();
    if !parent.delegable {
        return Err(DelegateError::NotDelegatable { actor });
    }
    if !is_below(child, &actor) {
        let child = child.clone();
        return Err(DelegateError::NotBelow { child, actor });
    }
    check_lifetime(wanted.min(parent.expires_at), now)
}

fn check_lifetime(expires_at: UnixSeconds, now: UnixSeconds) -> Result<UnixSeconds, DelegateError> {
    if expires_at <= now {
        return Err(DelegateError::Lifetime {
            expires_at: expires_at.0,
            now: now.0,
        });
    }
    Ok(expires_at)
}

fn delegation_block(
    child: &Identity,
    life: Range<UnixSeconds>,
    checks: Option<&str>,
) -> Result<BlockBuilder, DelegateError> {
    let name = child.as_str();
    let bound = i64::try_from(life.end.0).unwrap_or(i64::MAX);
    let published = block!(
        r#"check if actor($a), $a == {name} || $a.starts_with({name} + ":");
           check if time($time), $time < {bound};"#
    );
    match checks {
        None => Ok(published),
        Some(checks) => Ok(published.merge(further_checks(checks, &(life.start.0..life.end.0))?)),
    }
}

/// Parses the text of a person, and checks that it restricts, does nothing else, and leaves something of the token's life.
fn further_checks(source: &str, life: &Range<u64>) -> Result<BlockBuilder, DelegateError> {
    if source.len() > POLICY_BYTES_MAX {
        let why = format!(
            "it has {} bytes, and {POLICY_BYTES_MAX} are the most",
            source.len()
        );
        return Err(DelegateError::Check(why));
    }
    if nesting(source) > NESTING_MAX {
        let why = format!("it nests more than {NESTING_MAX} levels of brackets: write it flatter");
        return Err(DelegateError::Check(why));
    }
    let source = source.trim().trim_end_matches(';');
    let parsed = BlockBuilder::new().code(format!("{source};"));
    let mut block = parsed.map_err(|error| DelegateError::Check(error.to_string()))?;
    let refuse = |why: &str| Err(DelegateError::Check(why.into()));
    if !(block.facts.is_empty() && block.rules.is_empty() && block.scopes.is_empty()) {
        return refuse("it has facts, rules or a scope");
    }
    if block.checks.is_empty() {
        return refuse("it has no check");
    }
    if block.checks.len() > POLICY_CHECKS_MAX {
        return refuse("it has more than 8 checks");
    }
    let queries = block.checks.iter().flat_map(|check| &check.queries);
    if queries.clone().any(|query| !query.scopes.is_empty()) {
        return refuse("it names whom it trusts");
    }
    let names = queries.flat_map(|query| &query.body).map(|part| &part.name);
    for name in names {
        if matches!(name.as_str(), "actor" | "subject" | "domain") {
            return refuse("it speaks about the identity itself");
        }
        if !FACTS.contains(&name.as_str()) {
            return refuse(&format!("no use of an identity has a `{name}`"));
        }
    }
    holds::times_as_numbers(&mut block);
    let costly = block
        .checks
        .iter()
        .find_map(|check| match PolicyCheck::of(check) {
            PolicyCheck::Costly(costly) => Some(costly),
            PolicyCheck::Evaluable(_) | PolicyCheck::Unknown => None,
        });
    if let Some(costly) = costly {
        return refuse(&costly.to_string());
    }
    let mut checks = block.checks.iter();
    checks
        .try_for_each(|check| holds::may_hold(check, life))
        .map_err(DelegateError::NeverHolds)?;
    Ok(block)
}

/// Levels of brackets, those in texts not counted.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for character in source.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' | ']' | '}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn append(
    token: &Token,
    block: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Vec<u8>, DelegateError> {
    let throw_away = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let biscuit = token.biscuit();
    let biscuit = biscuit.map_err(|error| DelegateError::Refused(error.to_string()))?;
    biscuit
        .third_party_request()
        .and_then(|request| request.create_block(&throw_away.private(), block))
        .and_then(|block| block.serialize())
        .and_then(|block| biscuit.append_third_party_with_keypair(&block, next))
        .and_then(|child| child.to_vec())
        .map_err(|error| match error {
            BiscuitError::AppendOnSealed | BiscuitError::AlreadySealed => DelegateError::Sealed,
            other => DelegateError::Biscuit(other.to_string()),
        })
}

//! Just-in-time limit: a token lives for a few seconds once it is sent, so that a reader on the way or in a log cannot
//! use it for long.
//!
//! The published clients do the same, but send the long-lived token as it is when they do not know the server's key.
//! Appending needs no key, so here it always happens: a token that cannot be limited is not sent.

use biscuit_auth::KeyPair;
use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::block;
use rand::{CryptoRng, RngCore};

use hessra_revocation::UnixSeconds;

use crate::token::to_text;
use crate::{DelegateError, Limits, Token};

/// Seconds that a token lives once it was limited; as in the published clients.
pub const JUST_IN_TIME_SECONDS: u64 = 5;

/// Appends a block `check if time($time), $time < now + 5`, signed by a key that is thrown away.
///
/// # Errors
/// As [`limit_until`].
pub fn limit_just_in_time(
    token: &str,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, DelegateError> {
    let end = UnixSeconds(now.0.saturating_add(JUST_IN_TIME_SECONDS));
    limit_until(token, end, rng)
}

/// Appends a block `check if time($time), $time < end`, signed by a key that is thrown away.
///
/// The authority issues nothing for a token that outlives it, so a token that is sent lives for as long as what is asked for.
///
/// # Errors
/// [`DelegateError::Refused`] when it is no token, or one block more is too many; [`DelegateError::Sealed`].
pub fn limit_until(
    token: &str,
    end: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, DelegateError> {
    let limits = Limits::default();
    let refused = |error: crate::TokenError| DelegateError::Refused(error.to_string());
    let token = Token::parse(token, &limits).map_err(refused)?;
    let end = i64::try_from(end.0).unwrap_or(i64::MAX);
    let bound = block!("check if time($time), $time < {end};");
    let throw_away = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let biscuit = token.biscuit().map_err(refused)?;
    let request = biscuit.third_party_request();
    let request = request.map_err(|_| DelegateError::Sealed)?;
    let limited = request
        .create_block(&throw_away.private(), bound)
        .and_then(|block| block.serialize())
        .and_then(|block| biscuit.append_third_party_with_keypair(&block, next))
        .and_then(|limited| limited.to_vec())
        .map_err(|error| DelegateError::Biscuit(error.to_string()))?;
    let text = to_text(&limited);
    // A token that verifiers would refuse for its size is not sent either: the error says why.
    Token::parse(&text, &limits).map_err(refused)?;
    Ok(text)
}

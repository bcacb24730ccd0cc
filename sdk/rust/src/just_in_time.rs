//! Limits an identity token to a few seconds before it is sent, so that who reads it on the way or in a log cannot use
//! it for long.
//!
//! The published clients do the same, but send the long-lived token as it is when they do not know the server's key.
//! Appending needs no key, so here it always happens: a token that cannot be limited is not sent.

use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::block;
use biscuit_auth::{KeyPair, UnverifiedBiscuit};
use hessra_revocation::UnixSeconds;

use crate::ClientError;

/// As in the published clients.
const LIFE_SECONDS: u64 = 5;

/// The token with one more block: `check if time($time), $time < now + 5`, signed by a key that is thrown away.
///
/// # Errors
/// `invalid_argument` when the token is malformed or sealed.
pub(crate) fn limit(token: &str, now: UnixSeconds) -> Result<String, ClientError> {
    let refused = |error: biscuit_auth::error::Token| {
        ClientError::invalid(format!(
            "the identity token cannot be limited in time: {error}"
        ))
        .hint("Use a token as the authority issued it, or as it was delegated; not a sealed one.")
    };
    let token = UnverifiedBiscuit::from_base64(token.trim()).map_err(refused)?;
    let keys = KeyPair::new_with_algorithm(Algorithm::Ed25519);
    let end = i64::try_from(now.0.saturating_add(LIFE_SECONDS)).unwrap_or(i64::MAX);
    let check = block!("check if time($time), $time < {end};");
    let request = token.third_party_request().map_err(refused)?;
    let block = request
        .create_block(&keys.private(), check)
        .map_err(refused)?;
    let block = block.serialize().map_err(refused)?;
    token
        .append_third_party(&block)
        .and_then(|limited| limited.to_base64())
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use biscuit_auth::macros::{authorizer, biscuit};

    use super::*;

    fn token(root: &KeyPair) -> biscuit_auth::Biscuit {
        biscuit!(r#"subject("urn:hessra:alice")"#)
            .build(root)
            .expect("a token")
    }

    #[test]
    fn a_limited_token_verifies_for_five_seconds_and_no_longer() {
        let root = KeyPair::new();
        let text = token(&root).to_base64().expect("text");
        let limited = limit(&text, UnixSeconds(1000)).expect("limited");
        let limited = biscuit_auth::Biscuit::from_base64(limited, root.public()).expect("signed");
        let at = |second: i64| {
            let authorizer = authorizer!("time({second}); allow if true;")
                .build(&limited)
                .expect("built");
            { authorizer }.authorize().is_ok()
        };
        assert!(at(1004));
        assert!(!at(1005));
    }

    #[test]
    fn a_sealed_token_is_not_sent() {
        let sealed = token(&KeyPair::new())
            .seal()
            .expect("sealed")
            .to_base64()
            .expect("text");
        assert!(limit(&sealed, UnixSeconds(1000)).is_err());
        assert!(limit("not a token", UnixSeconds(1000)).is_err());
    }
}

//! Limits an identity token before it is sent: a token that cannot be limited is not sent.
//!
//! An answer to a token ends with it, so the limit is as long as the answer is wanted for. Where the policy demands a
//! token that was limited to the request (`require_jit`), it is five seconds, and so is the life of the answer.

use std::time::Duration;

use hessra_revocation::UnixSeconds;
use hessra_sdk_core::{JUST_IN_TIME_SECONDS, limit_until};
use rand::rngs::OsRng;

use crate::ClientError;

/// Limit of a token where the policy demands one to the request.
pub(crate) const OF_THE_REQUEST: Duration = Duration::from_secs(JUST_IN_TIME_SECONDS);

/// Limit of a token for an authorization. Origin: authorizations live for 300 s unless the policy says otherwise.
pub(crate) const OF_AN_AUTHORIZATION: Duration = Duration::from_secs(300);

/// Limits a token to so long from now on.
///
/// # Errors
/// `invalid_argument` when the token is malformed, sealed, or has as many blocks as a token may have.
pub(crate) fn limit(token: &str, now: UnixSeconds, life: Duration) -> Result<String, ClientError> {
    let end = UnixSeconds(now.0.saturating_add(life.as_secs()));
    limit_until(token.trim(), end, &mut OsRng).map_err(|error| {
        ClientError::invalid(format!(
            "the identity token cannot be limited in time: {error}"
        ))
        .hint("Use a token as the authority issued it, or as it was delegated; not a sealed one.")
    })
}

#[cfg(test)]
mod tests {
    use biscuit_auth::KeyPair;
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
        let limited = limit(&text, UnixSeconds(1000), OF_THE_REQUEST).expect("limited");
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
        assert!(limit(&sealed, UnixSeconds(1000), OF_THE_REQUEST).is_err());
        assert!(limit("not a token", UnixSeconds(1000), OF_THE_REQUEST).is_err());
    }
}

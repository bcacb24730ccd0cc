//! Limits an identity token to a few seconds before it is sent: a token that cannot be limited is not sent.

use hessra_revocation::UnixSeconds;
use hessra_sdk_core::limit_just_in_time;
use rand::rngs::OsRng;

use crate::ClientError;

/// Limits a token to a few seconds of life.
///
/// # Errors
/// `invalid_argument` when the token is malformed, sealed, or has as many blocks as a token may have.
pub(crate) fn limit(token: &str, now: UnixSeconds) -> Result<String, ClientError> {
    limit_just_in_time(token.trim(), now, &mut OsRng).map_err(|error| {
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

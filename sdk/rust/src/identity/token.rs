//! Tokens as they were issued, and the keys that sign them.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// An identity token as it was issued.
#[derive(Clone)]
pub struct IdentityToken {
    /// Padded URL-safe base64.
    pub token: String,
    /// Whose it is, as the policy spells it.
    pub identity: String,
    /// From now.
    pub expires_in: Duration,
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IdentityToken({}, expires in {} s)",
            self.identity,
            self.expires_in.as_secs()
        )
    }
}

/// An authorization token as it was issued.
#[derive(Clone)]
pub struct AuthorizationToken {
    /// Padded URL-safe base64.
    pub token: String,
    /// From now; absent at servers before Hessra's clusters.
    pub expires_in: Option<Duration>,
    /// Who must sign before it is usable; empty for most resources.
    pub pending_signoffs: Vec<PendingSignoff>,
}

impl fmt::Debug for AuthorizationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AuthorizationToken({} pending)",
            self.pending_signoffs.len()
        )
    }
}

/// A party that must sign a multi-party token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PendingSignoff {
    /// Its name in the resource's configuration.
    pub component: String,
    /// Where to ask.
    pub authorization_service: String,
    /// The key it signs with.
    pub public_key: String,
}

/// What `/public_key` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublicKeys {
    /// The active token-signing key: SPKI PEM.
    pub public_key: String,
    /// Every token-signing key; absent at servers before Hessra's clusters.
    #[serde(default)]
    pub keys: Vec<PublishedKey>,
    /// Keys that sign the feed's checkpoints.
    #[serde(default)]
    pub feed_keys: Vec<PublishedKey>,
}

/// One key of a set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublishedKey {
    /// As in a token's root key id.
    pub id: u32,
    /// prepared, active, retired or revoked.
    #[serde(default)]
    pub state: String,
    /// SPKI PEM.
    #[serde(alias = "pem")]
    pub public_key: String,
}

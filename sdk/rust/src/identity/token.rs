//! Tokens as they were issued, and the keys that sign them.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// An identity token as it was issued.
#[derive(Clone)]
pub struct IdentityToken {
    /// Text form: padded URL-safe base64.
    pub token: String,
    /// Identity of the holder, as the policy spells it.
    pub identity: String,
    /// Time until it ends, from now.
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
    /// Text form: padded URL-safe base64.
    pub token: String,
    /// Time until it ends, from now; absent at servers before Hessra's clusters.
    pub expires_in: Option<Duration>,
    /// Parties that must sign before it is usable; empty for most resources.
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
    /// Name of the party in the resource's configuration.
    pub component: String,
    /// Address of the service to ask for the signature.
    pub authorization_service: String,
    /// The key it signs with.
    pub public_key: String,
}

/// Keys that `/public_key` answers with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublicKeys {
    /// The active token-signing key: SPKI PEM.
    pub public_key: String,
    /// Token-signing keys, all of them; absent at servers before Hessra's clusters.
    #[serde(default)]
    pub keys: Vec<PublishedKey>,
    /// Keys that sign the feed's checkpoints.
    #[serde(default)]
    pub feed_keys: Vec<PublishedKey>,
}

/// Key of a set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublishedKey {
    /// Id of the key, as in a token's root key id.
    pub id: u32,
    /// State: prepared, active, retired or revoked.
    #[serde(default)]
    pub state: String,
    /// Public key: SPKI PEM.
    #[serde(alias = "pem")]
    pub public_key: String,
}

//! Public keys as other systems read them: a JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).
//!
//! ```json
//! {"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"4","x":"11qYAYK…","state":"active"}]}
//! ```
//! A reader believes every key of a set, so there are only those that sign tokens and are not revoked. `state` is ours:
//! a prepared key signs soon, a retired one signs no more.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use hessra_revocation::{KeyPurpose, KeyState};
use hessra_state::{SealedKey, State};

/// A set of public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    /// Keys by ascending id.
    pub keys: Vec<Jwk>,
}

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Jwk {
    pub kty: &'static str,
    pub crv: &'static str,
    pub alg: &'static str,
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The id in tokens, in decimal.
    pub kid: String,
    /// The 32 bytes of the key, base64url without padding.
    pub x: String,
    /// State of the key in its life.
    pub state: &'static str,
}

/// The keys whose tokens are believed now or soon.
#[must_use]
pub fn jwks(state: &State) -> JwkSet {
    let believed =
        |key: &&SealedKey| key.purpose == KeyPurpose::Token && key.state != KeyState::Revoked;
    JwkSet {
        keys: state.keys().values().filter(believed).map(jwk).collect(),
    }
}

fn jwk(key: &SealedKey) -> Jwk {
    Jwk {
        kty: "OKP",
        crv: "Ed25519",
        alg: "EdDSA",
        usage: "sig",
        kid: key.id.to_string(),
        x: BASE64URL_NOPAD.encode(&key.public_key),
        state: key.state.word(),
    }
}

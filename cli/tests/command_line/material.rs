//! Tokens as a cluster would have issued them, made here with a key that is everybody's.

use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer as _, SigningKey};
use hessra_sdk_rust::revocation::{Identity, Revision, UnixSeconds};
use hessra_sdk_rust::token::keyring::public_key_to_pem;
use hessra_sdk_rust::token::{
    AuthorizationParameters, IdentityParameters, Signer, SignerError, TokenShape,
    mint_authorization, mint_identity,
};
use rand::rngs::OsRng;

use super::Home;

/// Signer of the tokens that a cluster would mint.
struct TokenSigner(SigningKey);

impl Signer for TokenSigner {
    fn key_id(&self) -> u32 {
        1
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.0.sign(payload).to_bytes())
    }
}

pub(crate) const ALICE: &str = "urn:hessra:alice";
pub(crate) const AGENT: &str = "urn:hessra:alice:agent";

/// A home in which the authority's key is `key.pem` and alice's token is stored as `default`, living for `ttl` seconds.
pub(crate) fn alice(ttl: u64) -> (Home, String) {
    let now = now();
    alice_between(now, now + ttl)
}

pub(crate) fn alice_between(issued_at: u64, expires_at: u64) -> (Home, String) {
    let home = Home::new();
    let authority = TokenSigner(SigningKey::from_bytes(&[7; 32]));
    home.write(
        "key.pem",
        &public_key_to_pem(&authority.public_key()).expect("a key"),
    );
    let parameters = IdentityParameters {
        subject: Identity::parse(ALICE).expect("an identity"),
        delegatable: true,
        expires_at: UnixSeconds(expires_at),
        issued_at: UnixSeconds(issued_at),
        rev: Revision(1),
        parents: Vec::new(),
        cert: None,
        refreshed: None,
        refreshable_until: None,
    };
    let token = mint_identity(&authority, &parameters, &mut OsRng)
        .expect("minted")
        .token;
    home.write("home/tokens/default.token", &token);
    (home, token)
}

pub(crate) fn permission(home: &Home, ttl: u64) -> String {
    let authority = TokenSigner(SigningKey::from_bytes(&[7; 32]));
    let parameters = AuthorizationParameters {
        subject: Identity::parse(ALICE).expect("an identity"),
        resource: "api".to_owned(),
        operation: "read".to_owned(),
        expires_at: UnixSeconds(now() + ttl),
        issued_at: UnixSeconds(now()),
        rev: Revision(1),
        parents: Vec::new(),
        cert: None,
        shape: TokenShape::default(),
    };
    home.write(
        "key.pem",
        &public_key_to_pem(&authority.public_key()).expect("a key"),
    );
    mint_authorization(&authority, &parameters, &mut OsRng)
        .expect("minted")
        .token
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

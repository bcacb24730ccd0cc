//! One key in both worlds, and the published verifiers as questions with a yes or a no.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use biscuit_auth::{Algorithm, KeyPair, PrivateKey, PublicKey};
use ed25519_dalek::{Signer as _, SigningKey};
use published_authz::ServiceNode as PublishedNode;
use rand::SeedableRng;
use rand::rngs::StdRng;

use hessra_revocation::{Identity, Revision, UnixSeconds};
use hessra_sdk_core::*;

pub(crate) struct Key(SigningKey);

impl Signer for Key {
    fn key_id(&self) -> u32 {
        3
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.0.sign(payload).to_bytes())
    }
}

/// Key of one seed in our form; [`pair`] is the same key in theirs.
pub(crate) fn key(seed: u8) -> Key {
    Key(SigningKey::from_bytes(&[seed; 32]))
}

pub(crate) fn pair(seed: u8) -> KeyPair {
    KeyPair::from(&PrivateKey::from_bytes(&[seed; 32], Algorithm::Ed25519).unwrap())
}

/// Seed of the authority's key.
pub(crate) const ROOT: u8 = 1;

pub(crate) fn root() -> PublicKey {
    pair(ROOT).public()
}

pub(crate) fn keyring() -> Keyring {
    Keyring::from_public_key(&key(ROOT).public_key()).unwrap()
}

pub(crate) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixSeconds(since.as_secs())
}

pub(crate) fn ends() -> UnixSeconds {
    UnixSeconds(now().0 + 3600)
}

pub(crate) fn rng() -> StdRng {
    StdRng::from_entropy()
}

pub(crate) fn name(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

pub(crate) const ALICE: &str = "uri:urn:test:alice";

/// A right of alice to read files.
pub(crate) fn parameters(shape: TokenShape) -> AuthorizationParameters {
    AuthorizationParameters {
        subject: name(ALICE),
        resource: "files".into(),
        operation: "read".into(),
        expires_at: ends(),
        issued_at: now(),
        rev: Revision(1),
        parents: Vec::new(),
        cert: Some([4; 32]),
        shape,
    }
}

pub(crate) fn node(component: &str, seed: u8) -> ServiceNode {
    ServiceNode {
        component: component.into(),
        key: ThirdPartyKey::from(pair(seed).public()),
    }
}

pub(crate) fn published_node(component: &str, seed: u8) -> PublishedNode {
    PublishedNode {
        component: component.into(),
        public_key: node(component, seed).key.to_string(),
    }
}

/// Asks a published verifier until it has decided.
///
/// Those of 2025 give Datalog one millisecond of wall clock (Biscuit's default), which a busy machine exceeds with any
/// token. That is no verdict, so it is asked again.
pub(crate) fn says<E: Debug>(ask: impl Fn() -> Result<(), E>) -> bool {
    for _ in 0..1000 {
        match ask() {
            Ok(()) => return true,
            Err(error) if is_limit(&error) => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    panic!("a published verifier ran into its limits 1000 times")
}

pub(crate) fn is_limit(error: &impl Debug) -> bool {
    let words = format!("{error:?}");
    ["ExecutionLimit", "RunLimit", "execution limits"]
        .iter()
        .any(|limit| words.contains(limit))
}

/// True when a published identity verifier of either generation takes it as `identity`; both must agree.
pub(crate) fn identity_is(token: &str, identity: Option<&str>) -> bool {
    let old = says(|| old_identity(token, identity).verify());
    let new = says(|| {
        let verifier = published_identity_2::IdentityVerifier::new(token.into(), root());
        match identity {
            Some(identity) => verifier.with_identity(identity.into()).verify(),
            None => verifier.verify(),
        }
    });
    assert_eq!(old, new, "the two generations differ about {identity:?}");
    old
}

pub(crate) fn old_identity(
    token: &str,
    identity: Option<&str>,
) -> published_identity::IdentityVerifier {
    let verifier = published_identity::IdentityVerifier::new(token.into(), root());
    match identity {
        Some(identity) => verifier.with_identity(identity.into()),
        None => verifier,
    }
}

pub(crate) fn authz(
    token: &str,
    (subject, resource, operation): (&str, &str, &str),
) -> published_authz::AuthorizationVerifier {
    published_authz::AuthorizationVerifier::new(
        token.into(),
        root(),
        subject.into(),
        resource.into(),
        operation.into(),
    )
}

pub(crate) fn capability(
    token: &str,
    resource: &str,
    operation: &str,
) -> published_capability::CapabilityVerifier {
    published_capability::CapabilityVerifier::new(
        token.into(),
        root(),
        resource.into(),
        operation.into(),
    )
}

/// Alice, files, read; and each of them wrong once.
pub(crate) const RIGHT: (&str, &str, &str) = (ALICE, "files", "read");
pub(crate) const WRONG: [(&str, &str, &str); 4] = [
    ("uri:urn:test:mallory", "files", "read"),
    ("uri:urn:test:alice:agent", "files", "read"),
    (ALICE, "other", "read"),
    (ALICE, "files", "write"),
];

/// Our verdict, without revocations.
pub(crate) fn ours(token: &str, request: &Request) -> &'static str {
    verdict(token, request).code()
}

pub(crate) fn verdict(token: &str, request: &Request) -> Verdict {
    TokenVerifier::default().verify_offline(token, request, &keyring(), now())
}

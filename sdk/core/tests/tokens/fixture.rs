//! A cluster of one key, a clock that stands still, and the tokens made with them.

use std::hash::RandomState;
use std::time::Duration;

use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, error::Token as BiscuitError};
use ed25519_dalek::{Signer as _, SigningKey};
use rand::SeedableRng;
use rand::rngs::StdRng;

use hessra_revocation::*;
use hessra_sdk_core::*;

pub(crate) const KEY_ID: u32 = 7;
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const ENDS: UnixSeconds = UnixSeconds(1_800_003_600);
/// Revision at which the cluster's tokens are minted.
pub(crate) const REV: Revision = Revision(1);

pub(crate) struct Key {
    pub id: u32,
    signing: SigningKey,
}

impl Key {
    pub(crate) fn new(id: u32, seed: u8) -> Self {
        Self {
            id,
            signing: SigningKey::from_bytes(&[seed; 32]),
        }
    }

    pub(crate) fn private(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    pub(crate) fn record(&self, state: KeyState) -> PublicKeyRecord {
        PublicKeyRecord {
            id: self.id,
            purpose: KeyPurpose::Token,
            state,
            public_key: self.public_key(),
        }
    }
}

impl Signer for Key {
    fn key_id(&self) -> u32 {
        self.id
    }

    fn public_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.signing.sign(payload).to_bytes())
    }
}

pub(crate) fn key() -> Key {
    Key::new(KEY_ID, 1)
}

pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(42)
}

pub(crate) fn name(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

pub(crate) fn now() -> Now {
    Now {
        wall: NOW,
        monotonic: Monotonic(100_000),
    }
}

/// A feed whose first entry is the active key.
pub(crate) struct Feed {
    pub view: View,
}

impl Feed {
    pub(crate) fn new() -> Self {
        let mut feed = Self {
            view: View::new(FeedId([1; 16]), Epoch(1), FeedSalt([9; 16])),
        };
        feed.say(Change::Key(key().record(KeyState::Active)));
        feed
    }

    pub(crate) fn say(&mut self, change: Change) {
        let revision = self.view.revision.next();
        self.view
            .apply(&FeedEntry {
                revision,
                at: NOW,
                change,
            })
            .unwrap();
    }

    pub(crate) fn revoke(&mut self, target: &Target, cutoff: Cutoff) {
        let rule = Rule::new(self.view.set.salt(), target, cutoff, None);
        self.say(Change::Put(rule));
    }

    pub(crate) fn lock(&mut self, target: &Target, until: UnixSeconds) {
        let rule = Rule::new(self.view.set.salt(), target, Cutoff::Permanent, Some(until));
        self.say(Change::Put(rule));
    }

    /// Verifies with knowledge that was confirmed this instant.
    pub(crate) fn verify(&self, token: &str, request: &Request) -> Verdict {
        self.verify_aged(token, request, Some(Duration::ZERO))
    }

    pub(crate) fn verify_aged(
        &self,
        token: &str,
        request: &Request,
        age: Option<Duration>,
    ) -> Verdict {
        self.verify_as(VerifierConfig::default(), token, request, age, NOW)
    }

    pub(crate) fn verify_as(
        &self,
        config: VerifierConfig,
        token: &str,
        request: &Request,
        age: Option<Duration>,
        wall: UnixSeconds,
    ) -> Verdict {
        let keyring = Keyring::from_view(&self.view);
        let now = Now { wall, ..now() };
        let as_of =
            age.map(|age| Monotonic(now.monotonic.0 - u64::try_from(age.as_millis()).unwrap()));
        let freshness = Some(Freshness {
            as_of,
            fresh_for: Duration::from_secs(60),
        });
        let knowledge = Knowledge {
            keyring: &keyring,
            view: Some(&self.view),
            freshness,
        };
        let verifier = TokenVerifier::new(config);
        let verdict = verifier.verify(token, request, &knowledge, now);
        // Whatever a test asks, a verifier that remembers says the same: at first, and when it has seen the token.
        let remembering =
            RememberingVerifier::new(verifier, MemorySize::default(), RandomState::new());
        for time in ["first", "second"] {
            let remembered = remembering.verify(token, request, &knowledge, now);
            assert_eq!(said(&remembered), said(&verdict), "{time}");
        }
        verdict
    }
}

/// All that a verdict says.
pub(crate) fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(verified) => format!(
            "allow {:?} {:?} {:?} {:?} {} {:?} {:?}",
            verified.chain(),
            verified.expires_at(),
            verified.token_ids(),
            verified.root_key_id(),
            verified.is_stale(),
            verified.checked_at(),
            verified.knowledge_age(),
        ),
        Verdict::Deny(reason) => format!("{} {reason}", verdict.code()),
        Verdict::Unknown(reason) => format!("{} {reason}", verdict.code()),
    }
}

pub(crate) fn identity_parameters(subject: &str) -> IdentityParameters {
    IdentityParameters {
        subject: name(subject),
        delegatable: true,
        expires_at: ENDS,
        issued_at: NOW,
        rev: REV,
        parents: Vec::new(),
        cert: Some([3; 32]),
        refreshed: None,
        refreshable_until: None,
    }
}

pub(crate) fn identity(subject: &str) -> String {
    mint_identity(&key(), &identity_parameters(subject), &mut rng())
        .unwrap()
        .token
}

pub(crate) fn authorization_parameters(subject: &str) -> AuthorizationParameters {
    AuthorizationParameters {
        subject: name(subject),
        resource: "ledger".into(),
        operation: "read".into(),
        expires_at: ENDS,
        issued_at: NOW,
        rev: REV,
        parents: Vec::new(),
        cert: None,
        shape: TokenShape::Universal,
    }
}

pub(crate) fn keyring() -> Keyring {
    Keyring::from_public_key(&key().public_key()).unwrap()
}

pub(crate) fn delegated(parent: &str, child: &str) -> String {
    try_delegate(parent, child, None).unwrap().token
}

pub(crate) fn try_delegate(
    parent: &str,
    child: &str,
    checks: Option<&str>,
) -> Result<Delegated, DelegateError> {
    let delegation = Delegation {
        child: name(child),
        expires_at: ENDS,
        checks,
    };
    delegate(parent, &keyring(), &delegation, NOW, &mut rng())
}

pub(crate) fn ids(token: &str) -> Vec<TokenId> {
    Token::parse(token, &Limits::default())
        .unwrap()
        .revocation_ids()
        .to_vec()
}

pub(crate) fn node(component: &str, seed: u8) -> ServiceNode {
    ServiceNode {
        component: component.into(),
        key: ThirdPartyKey::ed25519(&Key::new(0, seed).public_key()).unwrap(),
    }
}

/// Service chain of `gateway` with seed 31, then `orders` with seed 32.
pub(crate) fn service_chain() -> String {
    let parameters = authorization_parameters("urn:h:alice");
    let nodes = [node("gateway", 31), node("orders", 32)];
    let minted = mint_service_chain(&key(), &parameters, &nodes, &mut rng());
    minted.unwrap().token
}

/// Multi-party authorization for `approvals` with seed 21 and `audit` with seed 22.
pub(crate) fn multi_party() -> String {
    let parameters = authorization_parameters("urn:h:alice");
    let parties = [node("approvals", 21), node("audit", 22)];
    let minted = mint_multi_party(&key(), &parameters, &parties, &mut rng());
    minted.unwrap().token
}

/// Stub for an attestor with seed 41.
pub(crate) fn stub() -> String {
    let parameters = authorization_parameters("urn:h:alice");
    let minted = mint_stub(&key(), &parameters, &node("", 41).key, &mut rng());
    minted.unwrap().token
}

pub(crate) fn domain_parameters(subject: &str) -> DomainIdentityParameters {
    DomainIdentityParameters {
        domain: name("urn:h:realm"),
        subject: name(subject),
        roles: vec!["admin".into()],
        expires_at: ENDS,
        issued_at: NOW,
        rev: REV,
        parents: Vec::new(),
        cert: None,
    }
}

pub(crate) fn domain_identity(subject: &str) -> String {
    let parameters = domain_parameters(subject);
    mint_domain_identity(&key(), &parameters, &mut rng())
        .unwrap()
        .token
}

/// True when an authorizer permits a token. It has all the time that a busy machine needs: biscuit-auth's own limit is a
/// millisecond.
pub(crate) fn authorizes(builder: AuthorizerBuilder, biscuit: &Biscuit) -> bool {
    let limits = AuthorizerLimits {
        max_time: Duration::from_secs(60),
        ..AuthorizerLimits::default()
    };
    let built = builder.set_limits(limits).build(biscuit);
    match built.and_then(|mut authorizer| authorizer.authorize()) {
        Ok(_) => true,
        Err(error @ BiscuitError::RunLimit(_)) => panic!("{error}"),
        Err(_) => false,
    }
}

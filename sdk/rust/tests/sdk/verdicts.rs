//! Verdicts, from a revocation at a node to a denied token in a service, and the answer when nothing can be known.

use std::time::Duration;

use hessra_revocation::{
    Change, Identity, KeyPurpose, KeyState, PublicKeyRecord, Revision, UnixSeconds,
};
use hessra_sdk_rust::token::{IdentityParameters, Signer, SignerError, mint_identity};
use hessra_sdk_rust::{
    Readiness, Request, StalenessPolicy, Trust, Verdict, Verifier, VerifierBuilder, clock,
};

use ed25519_dalek::{Signer as _, SigningKey};

use crate::node::{Certificates, Cluster, Node};

const TOKEN_KEY: u32 = 2;

struct TokenKey(SigningKey);

impl Signer for TokenKey {
    fn key_id(&self) -> u32 {
        TOKEN_KEY
    }
    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.0.sign(payload).to_bytes())
    }
}

fn token_key() -> TokenKey {
    TokenKey(SigningKey::from_bytes(&[5; 32]))
}

fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("canonical")
}

/// An identity token as a node mints it after it applied `rev`.
fn token(subject: &str, rev: u64) -> String {
    let now = clock::wall();
    let parameters = IdentityParameters {
        subject: identity(subject),
        delegatable: true,
        expires_at: UnixSeconds(now.0 + 600),
        issued_at: now,
        rev: Revision(rev),
        parents: Vec::new(),
        cert: None,
        refreshed: None,
        refreshable_until: None,
    };
    mint_identity(&token_key(), &parameters, &mut rand::rngs::OsRng)
        .expect("minted")
        .token
}

/// A node whose second revision is the token-signing key.
fn node(certificates: &Certificates) -> Node {
    let mut cluster = Cluster::new();
    cluster.add(Change::Key(PublicKeyRecord {
        id: TOKEN_KEY,
        purpose: KeyPurpose::Token,
        state: KeyState::Active,
        public_key: token_key().public_key(),
    }));
    Node::start(1, cluster, certificates)
}

fn builder(certificates: &Certificates, node: &Node) -> VerifierBuilder {
    Verifier::builder()
        .servers([format!("localhost:{}", node.address.port())])
        .expect("an address")
        .trust(Trust::pem(certificates.ca.clone()).expect("a certificate"))
}

async fn until(verifier: &Verifier, readiness: Readiness, revision: u64) {
    let mut status = verifier.subscribe();
    let wanted = status
        .wait_for(|status| status.readiness == readiness && status.revision == Revision(revision));
    tokio::time::timeout(Duration::from_secs(10), wanted)
        .await
        .expect("in time")
        .expect("alive");
}

#[tokio::test]
async fn a_good_token_is_allowed_until_its_subtree_is_revoked_and_stays_denied_when_the_node_is_gone()
 {
    let certificates = Certificates::new();
    let node = node(&certificates);
    let max = Duration::from_secs(2);
    let verifier = builder(&certificates, &node)
        .staleness(StalenessPolicy::Strict { max })
        .connect()
        .expect("started");
    let (alice, bob) = (token("urn:hessra:alice", 2), token("urn:hessra:bob", 2));
    assert_eq!(
        verifier.check(&alice, &Request::bearer()).code(),
        "never_synced"
    );

    node.heartbeat();
    until(&verifier, Readiness::Fresh, 2).await;
    let Verdict::Allow(verified) = verifier.check(&alice, &Request::bearer()) else {
        panic!("not allowed")
    };
    assert_eq!(verified.actor(), &identity("urn:hessra:alice"));
    assert_eq!(verified.checked_at(), Some(Revision(2)));

    node.revoke("urn:hessra:alice");
    node.heartbeat();
    until(&verifier, Readiness::Fresh, 3).await;
    assert_eq!(verifier.check(&alice, &Request::bearer()).code(), "revoked");
    assert!(verifier.check(&bob, &Request::bearer()).is_allow());

    node.kill();
    until(&verifier, Readiness::Stale, 3).await;
    assert_eq!(
        verifier.check(&alice, &Request::bearer()).code(),
        "revoked",
        "denial needs no freshness"
    );
    assert_eq!(
        verifier.check(&bob, &Request::bearer()).code(),
        "stale",
        "permission does"
    );
}

#[tokio::test]
async fn best_effort_permits_with_old_knowledge_and_flags_it() {
    let certificates = Certificates::new();
    let node = node(&certificates);
    node.fresh_for(300);
    let builder = builder(&certificates, &node).staleness(StalenessPolicy::BestEffort);
    let verifier = builder.connect().expect("started");
    node.heartbeat();
    until(&verifier, Readiness::Fresh, 2).await;
    node.kill();
    until(&verifier, Readiness::Stale, 2).await;
    let Verdict::Allow(verified) =
        verifier.check(&token("urn:hessra:alice", 2), &Request::bearer())
    else {
        panic!("not allowed")
    };
    assert!(verified.is_stale());
}

#[tokio::test]
async fn a_token_from_the_future_waits_for_the_verifier_to_catch_up() {
    let certificates = Certificates::new();
    let node = node(&certificates);
    let verifier = builder(&certificates, &node).connect().expect("started");
    node.heartbeat();
    until(&verifier, Readiness::Fresh, 2).await;
    let ahead = token("urn:hessra:alice", 3);
    assert_eq!(verifier.check(&ahead, &Request::bearer()).code(), "behind");
    let request = Request::bearer();
    let waiting = verifier.check_within(&ahead, &request, Duration::from_secs(10));
    let news = async { node.revoke("urn:hessra:mallory") };
    let (verdict, _) = tokio::join!(waiting, news);
    assert!(verdict.is_allow(), "{verdict:?}");
    let never = token("urn:hessra:alice", 99);
    let patience = Duration::from_millis(20);
    assert_eq!(
        verifier
            .check_within(&never, &request, patience)
            .await
            .code(),
        "behind"
    );
}

#[tokio::test]
async fn after_a_restart_the_revoked_is_denied_and_the_good_is_unknown() {
    let certificates = Certificates::new();
    let node = node(&certificates);
    let state = tempfile::tempdir().expect("a directory");
    let builder = || builder(&certificates, &node).state_dir(state.path());
    let (first, second) = (builder(), builder());
    let verifier = first.connect().expect("started");
    node.revoke("urn:hessra:alice");
    node.heartbeat();
    until(&verifier, Readiness::Fresh, 3).await;
    verifier.shutdown().await;
    drop(verifier);

    node.kill();
    let verifier = second.connect().expect("started without a node");
    until(&verifier, Readiness::Unknown, 3).await;
    let (agent, bob) = (
        token("urn:hessra:alice:agent", 2),
        token("urn:hessra:bob", 2),
    );
    assert_eq!(verifier.check(&agent, &Request::bearer()).code(), "revoked");
    assert_eq!(
        verifier.check(&bob, &Request::bearer()).code(),
        "never_synced"
    );
}

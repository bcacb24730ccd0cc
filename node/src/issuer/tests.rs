//! An issuer over a state that moves while it works.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_revocation::{FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Target, UnixMillis};
use hessra_sdk_core::{Limits, Token};
use hessra_state::{Applied, Command, Init, Machine, Policy, Revoke, State};
use zeroize::Zeroizing;

use super::*;
use crate::anyone;
use crate::keys::generate::new_key;
use crate::request::{Noted, RequestContext};
use crate::seal::{KekRing, MemoryKek};
use crate::tls::PeerCertificate;

const POLICY: &str = r#"
[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice" }
identity_token_enabled = true
identity_token_duration = 3600
resources = [{ name = "api", operations = ["read"] }]
"#;

/// A cluster of one machine, and the issuer over its newest state.
struct World {
    machine: Machine,
    newest: Arc<Mutex<Arc<State>>>,
    issuer: Issuer,
}

impl World {
    fn new() -> Self {
        let kek = MemoryKek::new(Zeroizing::new([7; 32]), "of this test".to_owned());
        let keks = KekRing::new(Arc::new(kek), None);
        let keys = (1..).zip(KeyPurpose::ALL);
        let keys = keys.map(|(id, purpose)| new_key(&keks, id, purpose, KeyState::Active));
        let init = Init {
            feed_id: FeedId([1; 16]),
            salt: FeedSalt([2; 16]),
            keys: keys.collect::<Result<_, _>>().expect("sealed"),
            policy: Policy::new(POLICY.to_owned(), String::new()),
        };
        let newest = Arc::new(Mutex::new(Arc::new(State::default())));
        let state = Arc::clone(&newest);
        let rate = NonZeroU32::new(1_000).expect("not zero");
        let issuer = Issuer::new(IssuerParts {
            state: Arc::new(move || Arc::clone(&state.lock().expect("nobody panics with it"))),
            freshness: Arc::new(|| Some(Duration::ZERO)),
            clock_off: Arc::new(|| None),
            policies: Policies::default(),
            keys: Keyholder::new(keks),
            clock: Clock::start(),
            stale_max: Duration::from_secs(5),
            rates: Rates {
                per_identity: rate,
                per_address: rate,
            },
            metrics: Metrics::unrecorded(),
        });
        let mut world = Self {
            machine: Machine::new(),
            newest,
            issuer,
        };
        world.apply(Command::Init(init));
        world
    }

    fn apply(&mut self, command: Command) {
        let applied = anyone::apply(&mut self.machine, UnixMillis(1_000), command);
        assert!(!matches!(applied, Applied::Refused(_)), "{applied:?}");
        let state = Arc::new(self.machine.state().clone());
        *self.newest.lock().expect("nobody panics with it") = state;
    }

    fn revision(&self) -> u64 {
        self.machine.state().view().revision.0
    }
}

fn request() -> RequestContext {
    RequestContext::new(Noted::default())
}

fn alice() -> Caller {
    Caller {
        certificate: Some(PeerCertificate {
            der: Vec::new(),
            sha256: [7; 32],
            san_uris: vec!["urn:hessra:alice".to_owned()],
            san_dns: Vec::new(),
            ends_at: u64::MAX,
            is_of_files: true,
        }),
        bearer: None,
    }
}

fn revision_in(token: &str) -> u64 {
    let facts = Token::parse(token, &Limits::default()).and_then(|token| token.facts());
    facts.expect("a token of ours").rev.expect("a revision").0
}

#[test]
fn a_context_carries_the_revision_of_its_judgement_however_late_it_is_minted() {
    let mut world = World::new();
    let judged_at = world.revision();
    let growth = world.issuer.begun_context(&request(), &alice(), None);
    let growth = growth.unwrap_or_else(|problem| panic!("{problem:?}"));
    world.apply(Command::Revoke(Revoke {
        targets: vec![Target::Subtree(
            Identity::parse("urn:hessra:alice").expect("an identity"),
        )],
        permanent: false,
        until: None,
        reason: "test".to_owned(),
        ticket: String::new(),
        message: String::new(),
    }));
    assert!(world.revision() > judged_at);
    let minted = world.issuer.grown_context(&request(), &growth, 1);
    let minted = minted.unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(
        revision_in(&minted.token),
        judged_at,
        "the revocation that came between covers it"
    );
}

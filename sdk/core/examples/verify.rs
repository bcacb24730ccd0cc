//! Time that a cold check takes: parse, signatures, structure, rules, Datalog, age.
//!
//! `cargo run -p hessra-sdk-core --example verify --release`

#![allow(
    clippy::disallowed_methods,
    reason = "it measures time, which the crate itself is given"
)]

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use rand::rngs::OsRng;

use hessra_revocation::*;
use hessra_sdk_core::*;

const ROUNDS: usize = 2_000;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

struct Key(SigningKey);

impl Signer for Key {
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = Key(SigningKey::generate(&mut OsRng));
    let view = view(&key)?;
    let token = token(&key, &Keyring::from_view(&view))?;
    let keyring = Keyring::from_view(&view);
    let freshness = Some(Freshness {
        as_of: Some(Monotonic(0)),
        fresh_for: Duration::from_secs(5),
    });
    let knowledge = Knowledge {
        keyring: &keyring,
        view: Some(&view),
        freshness,
    };
    let now = Now {
        wall: NOW,
        monotonic: Monotonic(1),
    };
    let verifier = TokenVerifier::default();
    let Verdict::Allow(verified) = verifier.verify(&token, &Request::bearer(), &knowledge, now)
    else {
        return Err("the token of this example must verify".into());
    };
    report("cold verify", || {
        verifier
            .verify(&token, &Request::bearer(), &knowledge, now)
            .is_allow()
    });
    report("recheck", || {
        verifier
            .recheck(&verified, &knowledge, now)
            .is_some_and(|verdict| verdict.is_allow())
    });
    Ok(())
}

fn view(key: &Key) -> Result<View, ViewError> {
    let mut view = View::new(FeedId([1; 16]), Epoch(1), FeedSalt([2; 16]));
    let record = PublicKeyRecord {
        id: 1,
        purpose: KeyPurpose::Token,
        state: KeyState::Active,
        public_key: key.public_key(),
    };
    view.apply(&FeedEntry {
        revision: Revision(1),
        at: NOW,
        change: Change::Key(record),
    })?;
    Ok(view)
}

/// Token that was delegated three times.
fn token(key: &Key, keyring: &Keyring) -> Result<String, Box<dyn std::error::Error>> {
    let expires_at = UnixSeconds(NOW.0 + 3600);
    let parameters = IdentityParameters {
        subject: Identity::parse("urn:hessra:alice")?,
        delegatable: true,
        expires_at,
        issued_at: NOW,
        rev: Revision(1),
        parents: Vec::new(),
        cert: None,
        refreshed: None,
        refreshable_until: None,
    };
    let mut token = mint_identity(key, &parameters, &mut OsRng)?.token;
    for child in [
        "urn:hessra:alice:a",
        "urn:hessra:alice:a:b",
        "urn:hessra:alice:a:b:c",
    ] {
        let delegation = Delegation {
            child: Identity::parse(child)?,
            expires_at,
            checks: None,
        };
        token = delegate(&token, keyring, &delegation, NOW, &mut OsRng)?.token;
    }
    Ok(token)
}

fn report(what: &str, check: impl Fn() -> bool) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            assert!(check());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "{what}: p50 {:?}, p99 {:?}",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100]
    );
}

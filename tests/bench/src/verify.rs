//! `bench verify`: one whole check of a delegated identity token, beside biscuit-auth alone and the signatures alone.
//!
//! *biscuit-auth alone* is what published verifiers do: parse, verify the signatures, run the checks against the time
//! and the claimed actor. It knows nothing of revocations. *Signatures alone* is the floor of any verifier: as many
//! Ed25519 verifications as the token has signatures. No network, one thread.
//!
//! *Its siblings verified before*: a verifier that remembers has met other children of the same parent, and meets this one for
//! the first time. *Verified before*: it has met this one.
//!
//! A table more is about the *most expensive token* that a node accepts, made of a plain capability with everything that its
//! holders may add, beside the plain one and one with as many blocks that say nothing: the most that a stranger's token costs.

#[path = "../../../sdk/core/tests/tokens/most_expensive.rs"]
#[allow(dead_code, reason = "the tests of the SDK use all of it")]
mod most_expensive;

use std::hash::RandomState;
use std::hint::black_box;
use std::time::Instant;

use biscuit_auth::macros::authorizer;
use biscuit_auth::{Algorithm, AuthorizerLimits, Biscuit, PublicKey};
use hdrhistogram::Histogram;
use hessra_revocation::{
    Cutoff, Epoch, FeedId, FeedSalt, Freshness, Identity, KeyPurpose, KeyState, Monotonic,
    PublicKeyRecord, Revision, Rule, Target, UnixSeconds, View,
};
use hessra_sdk_core::{
    AuthorizationParameters, Delegation, Evidence, IdentityParameters, Keyring, Knowledge,
    MemorySize, Now, PolicyChecks, RememberingVerifier, Request, Signer, SignerError, TokenShape,
    TokenVerifier, Verdict, Verified, VerifierConfig, delegate, mint_authorization, mint_identity,
    verify_ed25519,
};
use rand::rngs::OsRng;

use crate::failure::BenchError;
use crate::load::histogram;
use crate::machine;
use crate::process::own_usage;
use crate::ratios::{Better, Ratios};
use crate::report::{Spread, Table, mebibytes};

/// Instant of every check. Any does: no clock is read.
const NOW: Now = Now {
    wall: UnixSeconds(1_800_000_000),
    monotonic: Monotonic(1_000_000),
};
const TOKEN_LIFE_SECONDS: u64 = 3600;
const KEY_ID: u32 = 1;
/// Rules in the view: as many as a large cluster has; none of them is about the token.
const RULES: u64 = 100_000;

/// Options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Checks of every kind, in every round.
    pub checks: usize,
    /// Rounds; the kinds take turns within each.
    pub rounds: usize,
    /// Numbers of delegations, each a table.
    pub delegations: Vec<usize>,
}

/// Kind of check that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signatures,
    Biscuit,
    Hessra,
    HessraManyRules,
    HessraSibling,
    HessraAgain,
}

const KINDS: [Kind; 6] = [
    Kind::Signatures,
    Kind::Biscuit,
    Kind::Hessra,
    Kind::HessraManyRules,
    Kind::HessraSibling,
    Kind::HessraAgain,
];

/// A token and everything that a check of it needs.
struct Bench {
    token: String,
    actor: Identity,
    request: Request,
    key: PublicKey,
    signatures: usize,
    signed: ([u8; 32], Vec<u8>, [u8; 64]),
    verifier: TokenVerifier,
    keyring: Keyring,
    /// Has met the token, and of each sibling nothing but the parent.
    remembering: RememberingVerifier,
    siblings: Vec<(String, Identity)>,
    no_rules: View,
    many_rules: View,
}

struct Key(ed25519_dalek::SigningKey);

impl Signer for Key {
    fn key_id(&self) -> u32 {
        KEY_ID
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        use ed25519_dalek::Signer as _;
        Ok(self.0.sign(payload).to_bytes())
    }
}

/// Runs the benchmark and prints its tables.
///
/// # Errors
/// A token cannot be made, or a check says no.
pub(crate) fn run(options: &Options) -> Result<Ratios, BenchError> {
    println!(
        "# One check, beside biscuit-auth alone\n\n{}",
        machine::description(std::path::Path::new("."))
    );
    println!("load average before: {}", machine::load_average());
    let (before, began) = (own_usage(), Instant::now());
    let mut ratios = Ratios::default();
    for delegations in &options.delegations {
        let siblings = options.checks + options.checks / 10;
        let mut bench = Bench::new(*delegations, siblings)?;
        bench.print(options, *delegations, &mut ratios)?;
    }
    Strangers::new()?.print(options)?;
    let used = own_usage().since(before);
    let busy = 100.0 * used.cpu() / began.elapsed().as_secs_f64();
    println!(
        "\nthis process: {busy:.0} % of one core, {}",
        mebibytes(used.resident)
    );
    println!("load average after: {}", machine::load_average());
    Ok(ratios)
}

impl Bench {
    fn new(delegations: usize, siblings: usize) -> Result<Self, BenchError> {
        let key = Key(ed25519_dalek::SigningKey::generate(&mut OsRng));
        let public = key.public_key();
        let record = PublicKeyRecord {
            id: KEY_ID,
            purpose: KeyPurpose::Token,
            state: KeyState::Active,
            public_key: public,
        };
        let keyring = Keyring::from_records([&record]);
        let family = family(&key, &keyring, delegations, siblings)?;
        let (token, actor) = family.token;
        let verifier = TokenVerifier::new(VerifierConfig::default());
        let (no_rules, many_rules) = (view(record, 0)?, view(record, RULES)?);
        let remembering = remembering(&verifier);
        let message = token.clone().into_bytes();
        let signature = key
            .sign(&message)
            .map_err(|error| BenchError::Token(error.to_string()))?;
        let key = PublicKey::from_bytes(&public, Algorithm::Ed25519)
            .map_err(|error| BenchError::Token(error.to_string()))?;
        Ok(Self {
            request: Request::identity(actor.clone()),
            token,
            actor,
            key,
            // Every block has one, and every delegation another one of its throw-away key.
            signatures: 1 + 2 * delegations,
            signed: (public, message, signature),
            verifier,
            keyring,
            remembering,
            siblings: family.siblings,
            no_rules,
            many_rules,
        })
    }

    fn print(
        &mut self,
        options: &Options,
        delegations: usize,
        ratios: &mut Ratios,
    ) -> Result<(), BenchError> {
        let mut all: Vec<Vec<Histogram<u64>>> = KINDS.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for position in 0..KINDS.len() {
                let position = (position + round) % KINDS.len();
                all[position].push(self.round(KINDS[position], options.checks)?);
                // The next round meets strangers again.
                self.remembering = remembering(&self.verifier);
            }
        }
        let mut table = Table::new(&["check", "p50 µs", "p99 µs", "max µs", "p50 / biscuit-auth"]);
        for (kind, rounds) in KINDS.iter().zip(&all) {
            let quantile = |quantile: f64| {
                Spread::of(
                    rounds
                        .iter()
                        .map(|it| it.value_at_quantile(quantile) as f64 / 1e3),
                )
            };
            let max = rounds.iter().map(Histogram::max).max().unwrap_or_default();
            let pairs = rounds.iter().zip(&all[1]);
            let ratio = Spread::of(pairs.map(|(ours, theirs)| {
                ours.value_at_quantile(0.5) as f64 / theirs.value_at_quantile(0.5) as f64
            }));
            if *kind != Kind::Biscuit {
                let name = format!("verify: {delegations} delegations, {}", self.name(*kind));
                ratios.add(name, ratio, Better::Lower);
            }
            table.row([
                self.name(*kind),
                format!("{:.1}", quantile(0.5)),
                format!("{:.1}", quantile(0.99)),
                format!("{:.0}", max as f64 / 1e3),
                format!("{ratio:.3}"),
            ]);
        }
        table.print(&format!(
            "{delegations} delegations, {} bytes",
            self.token.len()
        ));
        Ok(())
    }

    fn name(&self, kind: Kind) -> String {
        match kind {
            Kind::Signatures => format!("signatures alone ({})", self.signatures),
            Kind::Biscuit => "biscuit-auth alone".to_owned(),
            Kind::Hessra => "hessra, no rules".to_owned(),
            Kind::HessraManyRules => format!("hessra, {RULES} rules"),
            Kind::HessraSibling => format!("hessra, {RULES} rules, its siblings verified before"),
            Kind::HessraAgain => format!("hessra, {RULES} rules, verified before"),
        }
    }

    /// Latencies in nanoseconds, after a tenth of them unmeasured.
    fn round(&self, kind: Kind, checks: usize) -> Result<Histogram<u64>, BenchError> {
        let unmeasured = checks / 10;
        for number in 0..unmeasured {
            self.once(kind, number)?;
        }
        let mut latencies = histogram();
        for number in unmeasured..unmeasured + checks {
            let began = Instant::now();
            self.once(kind, number)?;
            latencies
                .saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(latencies)
    }

    /// The check of that number in its round.
    fn once(&self, kind: Kind, number: usize) -> Result<(), BenchError> {
        let check = |view: &View| {
            let knowledge = knowledge(&self.keyring, view);
            let verdict =
                self.verifier
                    .verify(black_box(&self.token), &self.request, &knowledge, NOW);
            allowed(verdict).map(|_| ())
        };
        let remembering = |token: &str, request: &Request| {
            let knowledge = knowledge(&self.keyring, &self.many_rules);
            let verdict = self
                .remembering
                .verify(black_box(token), request, &knowledge, NOW);
            allowed(verdict).map(|_| ())
        };
        match kind {
            Kind::Signatures => self.verify_signatures(),
            Kind::Biscuit => self.verify_published(),
            Kind::Hessra => check(&self.no_rules),
            Kind::HessraManyRules => check(&self.many_rules),
            Kind::HessraSibling => {
                let (token, actor) = self
                    .siblings
                    .get(number)
                    .ok_or_else(|| BenchError::Token("too few siblings were made".to_owned()))?;
                remembering(token, &Request::identity(actor.clone()))
            }
            Kind::HessraAgain => remembering(&self.token, &self.request),
        }
    }

    fn verify_signatures(&self) -> Result<(), BenchError> {
        let (key, message, signature) = &self.signed;
        let verify = |_| verify_ed25519(black_box(key), black_box(message), black_box(signature));
        let all = (0..self.signatures).all(verify);
        all.then_some(())
            .ok_or_else(|| BenchError::Token("a signature is not verified".to_owned()))
    }

    fn verify_published(&self) -> Result<(), BenchError> {
        let failed = |error: biscuit_auth::error::Token| BenchError::Token(error.to_string());
        let biscuit = Biscuit::from_base64(black_box(&self.token), self.key).map_err(failed)?;
        let now = i64::try_from(NOW.wall.0).unwrap_or(i64::MAX);
        // Published verifiers allow 1 ms or 50 ms; with 1 ms, a busy machine refuses valid tokens.
        let limits = AuthorizerLimits {
            max_time: std::time::Duration::from_millis(100),
            ..AuthorizerLimits::default()
        };
        let authorizer = authorizer!(
            "time({now}); actor({actor}); allow if true;",
            now = now,
            actor = self.actor.as_str(),
        );
        let mut authorizer = authorizer
            .set_limits(limits)
            .build(&biscuit)
            .map_err(failed)?;
        authorizer.authorize().map(|_| ()).map_err(failed)
    }
}

/// Capabilities that differ in what their holders added, and the question about them.
struct Strangers {
    verifier: TokenVerifier,
    keyring: Keyring,
    view: View,
    request: Request,
    tokens: [(&'static str, String); 3],
}

impl Strangers {
    fn new() -> Result<Self, BenchError> {
        let key = Key(ed25519_dalek::SigningKey::generate(&mut OsRng));
        let root = key.public_key();
        let record = PublicKeyRecord {
            id: KEY_ID,
            purpose: KeyPurpose::Token,
            state: KeyState::Active,
            public_key: root,
        };
        let plain = capability(&key)?;
        let empty = (1..16).fold(plain.clone(), |token, _| {
            most_expensive::appended(&token, &root, biscuit_auth::BlockBuilder::new())
        });
        let most = most_expensive::most_expensive(&plain, &root);
        // As many as a node takes of one request.
        let designations = (0..64).map(|number| (format!("label-{number}"), "value"));
        let evidence = designations.fold(Evidence::default(), |evidence, (label, value)| {
            evidence.designation(label, value)
        });
        let config = VerifierConfig {
            policy_checks: PolicyChecks::Evaluate,
            ..VerifierConfig::default()
        };
        Ok(Self {
            verifier: TokenVerifier::new(config),
            keyring: Keyring::from_records([&record]),
            view: view(record, RULES)?,
            request: Request::capability("ledger", "read").with(evidence),
            tokens: [
                ("plain", plain),
                ("fifteen empty blocks of P-256", empty),
                ("the most expensive", most),
            ],
        })
    }

    fn once(&self, token: &str) -> Result<(), BenchError> {
        let knowledge = knowledge(&self.keyring, &self.view);
        let verdict = self
            .verifier
            .verify(black_box(token), &self.request, &knowledge, NOW);
        allowed(verdict).map(|_| ())
    }

    fn print(&self, options: &Options) -> Result<(), BenchError> {
        let mut table = Table::new(&["token", "bytes", "p50 µs", "p99 µs", "p50 / plain"]);
        let mut plain = None;
        for (name, token) in &self.tokens {
            let mut latencies = histogram();
            for _ in 0..options.checks.min(1_000) {
                let began = Instant::now();
                self.once(token)?;
                let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                latencies.saturating_record(took);
            }
            let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
            let plain = *plain.get_or_insert(micros(0.5));
            table.row([
                (*name).to_owned(),
                token.len().to_string(),
                format!("{:.1}", micros(0.5)),
                format!("{:.1}", micros(0.99)),
                format!("{:.1}", micros(0.5) / plain),
            ]);
        }
        table.print("what holders may add to a capability");
        Ok(())
    }
}

fn capability(key: &Key) -> Result<String, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Token(error.to_string());
    let parameters = AuthorizationParameters {
        subject: Identity::parse("urn:hessra:alice").map_err(|error| failed(&error))?,
        resource: "ledger".to_owned(),
        operation: "read".to_owned(),
        expires_at: UnixSeconds(NOW.wall.0 + TOKEN_LIFE_SECONDS),
        issued_at: NOW.wall,
        rev: Revision(0),
        parents: Vec::new(),
        cert: None,
        shape: TokenShape::Universal,
    };
    let minted = mint_authorization(key, &parameters, &mut OsRng);
    minted
        .map(|minted| minted.token)
        .map_err(|error| failed(&error))
}

/// A token with its actor, and others that were delegated from the same parent.
struct Family {
    token: (String, Identity),
    siblings: Vec<(String, Identity)>,
}

/// A token that was delegated so many times, and siblings. Without a delegation every sibling is a child of the token.
fn family(
    key: &Key,
    keyring: &Keyring,
    delegations: usize,
    siblings: usize,
) -> Result<Family, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Token(error.to_string());
    let subject = Identity::parse("urn:hessra:alice").map_err(|error| failed(&error))?;
    let expires_at = UnixSeconds(NOW.wall.0 + TOKEN_LIFE_SECONDS);
    let parameters = IdentityParameters {
        subject: subject.clone(),
        delegatable: true,
        expires_at,
        issued_at: NOW.wall,
        rev: Revision(0),
        parents: Vec::new(),
        cert: None,
        refreshed: None,
        refreshable_until: None,
    };
    let minted = mint_identity(key, &parameters, &mut OsRng).map_err(|error| failed(&error))?;
    let child_of = |(token, actor): &(String, Identity), name: &str| {
        let child = Identity::parse(&format!("{actor}:{name}")).map_err(|error| failed(&error))?;
        let delegation = Delegation {
            child: child.clone(),
            expires_at,
            checks: None,
        };
        let delegated = delegate(token, keyring, &delegation, NOW.wall, &mut OsRng);
        Ok((delegated.map_err(|error| failed(&error))?.token, child))
    };
    let mut token = (minted.token, subject);
    let mut parent = token.clone();
    for depth in 1..=delegations {
        let child = child_of(&token, &format!("agent-{depth}"))?;
        parent = std::mem::replace(&mut token, child);
    }
    let siblings = (0..siblings).map(|number| child_of(&parent, &format!("sibling-{number}")));
    Ok(Family {
        token,
        siblings: siblings.collect::<Result<_, BenchError>>()?,
    })
}

fn remembering(verifier: &TokenVerifier) -> RememberingVerifier {
    RememberingVerifier::new(verifier.clone(), MemorySize::default(), RandomState::new())
}

/// View with rules for subtrees of another root, at every depth that the token's own path has.
fn view(key: PublicKeyRecord, rules: u64) -> Result<View, BenchError> {
    let salt = FeedSalt([7; 16]);
    let mut view = View::new(FeedId([1; 16]), Epoch(1), salt);
    view.keys.insert(key.id, key);
    for number in 0..rules {
        let depth = usize::try_from(number % 3).unwrap_or_default();
        let path = format!(
            "urn:hessra:other:service{}:agent-{number}",
            ":team".repeat(depth)
        );
        let identity =
            Identity::parse(&path).map_err(|error| BenchError::Token(error.to_string()))?;
        view.set.put(Rule::new(
            &salt,
            &Target::Subtree(identity),
            Cutoff::Permanent,
            None,
        ));
    }
    Ok(view)
}

fn knowledge<'a>(keyring: &'a Keyring, view: &'a View) -> Knowledge<'a> {
    let freshness = Freshness {
        as_of: Some(NOW.monotonic),
        fresh_for: std::time::Duration::from_secs(5),
    };
    Knowledge {
        keyring,
        view: Some(view),
        freshness: Some(freshness),
    }
}

fn allowed(verdict: Verdict) -> Result<Verified, BenchError> {
    match verdict {
        Verdict::Allow(verified) => Ok(verified),
        Verdict::Deny(reason) => Err(BenchError::Token(format!("the check says no: {reason}"))),
        Verdict::Unknown(reason) => Err(BenchError::Token(format!(
            "the check cannot tell: {reason}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_check_accepts_the_token_that_it_measures() {
        let bench = Bench::new(2, 1).expect("a token");
        for kind in KINDS {
            bench.once(kind, 0).expect("accepted");
        }
    }

    #[test]
    fn every_token_of_a_stranger_that_is_measured_is_accepted() {
        let strangers = Strangers::new().expect("tokens");
        for (name, token) in &strangers.tokens {
            strangers
                .once(token)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_token_below_a_revoked_subtree_is_not_measured_as_allowed() {
        let mut bench = Bench::new(1, 1).expect("a token");
        let target = Target::Subtree(bench.actor.clone());
        bench.no_rules.set.put(Rule::new(
            &FeedSalt([7; 16]),
            &target,
            Cutoff::Permanent,
            None,
        ));
        assert!(bench.once(Kind::Hessra, 0).is_err());
    }
}

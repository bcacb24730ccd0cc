//! Signing keys rotate under load, and every token is asked for again and again.
//!
//! Before each rotation and after it, tokens are minted at every node and checked by a connected verifier; a sample is
//! kept and checked until the end. Every tenth rotation revokes a key whose tokens are kept; from the moment at which the
//! verifier holds that revision they must be denied. Feed keys and audit keys rotate now and then, too. Keys are prepared
//! far ahead, so that a rotation need not wait for the time that a key must have been published.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hessra_sdk_rust::revocation::{Identity, Revision};
use hessra_sdk_rust::token::token::{Limits, Token};
use hessra_sdk_rust::{
    Authority, Connection, Credentials, IdentityClient, Request, Servers, StalenessPolicy, Trust,
    Verdict, Verifier,
};

use crate::Cluster;

const ACTOR: &str = "urn:hessra:gateway";
/// Keys that lie prepared: below the limit of the state.
const AHEAD: usize = 12;
/// Tokens kept for checking until the end.
const KEPT_MAX: usize = 400;
/// Time for which a verifier may be behind a node.
const PATIENCE: Duration = Duration::from_secs(10);

/// Report of a run of rotations.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Token keys that were replaced.
    pub rotations: usize,
    /// Feed keys and audit keys that were replaced.
    pub others: usize,
    /// Keys that were revoked.
    pub revoked: usize,
    /// Tokens that were minted.
    pub minted: u64,
    /// Checks of tokens.
    pub checks: u64,
    /// Tokens that should verify and were refused, and why.
    pub refused: Vec<String>,
    /// Tokens that should not verify and did.
    pub accepted: Vec<String>,
    /// Time that the run took.
    pub took: Duration,
}

/// Keys whose revocation was asked for: a token that was minted before may be checked after it.
#[derive(Clone, Default)]
struct Revoked(Arc<Mutex<BTreeSet<u32>>>);

impl Revoked {
    fn insert(&self, key: u32) {
        self.0.lock().expect("nobody panics with it").insert(key);
    }

    fn contains(&self, key: u32) -> bool {
        self.0.lock().expect("nobody panics with it").contains(&key)
    }
}

/// One token and the key that signed it.
struct Kept {
    token: String,
    key: u32,
}

struct World {
    authority: Authority,
    minters: Vec<IdentityClient>,
    verifier: Verifier,
    request: Request,
    report: Report,
    kept: Vec<Kept>,
    prepared: VecDeque<u32>,
    revoked: Revoked,
}

/// Rotates `count` times. `cluster` must have a `feed.fresh_for` of a few seconds.
pub async fn rotate(cluster: &Cluster, count: usize) -> Report {
    let began = Instant::now();
    let mut world = World::new(cluster);
    world.verifier.ready().await;
    let load = Load::start(cluster, &world);
    for number in 0..count {
        world.rotate_once(number).await;
    }
    world.check_kept().await;
    let mut report = world.report;
    load.end(&mut report).await;
    report.took = began.elapsed();
    report
}

fn connection(cluster: &Cluster, person: &str, nodes: &[u64]) -> Connection {
    let directory = cluster.directory();
    let client = |kind: &str| directory.join(format!("clients/{person}.{kind}"));
    let servers = nodes.iter().map(|id| cluster.node(*id).public.clone());
    let servers = Servers::parse(servers, 443).expect("addresses");
    let trust = Trust::file(directory.join("ca.crt")).expect("a CA");
    let credentials = Credentials::files(client("crt"), client("key")).expect("a certificate");
    Connection::new(servers, trust).credentials(credentials)
}

impl World {
    fn new(cluster: &Cluster) -> Self {
        let nodes = cluster.running();
        let operator = connection(cluster, "operator", &nodes);
        let minter = |id: &u64| {
            IdentityClient::new(connection(cluster, "gateway", &[*id])).expect("a client")
        };
        let verifier = Verifier::builder()
            .connection(connection(cluster, "verifier", &nodes))
            .id("orders-rotations")
            .map(|builder| builder.staleness(StalenessPolicy::Strict { max: PATIENCE }))
            .and_then(|builder| builder.connect())
            .expect("a verifier");
        let actor = Identity::parse(ACTOR).expect("an identity");
        Self {
            authority: Authority::new(operator),
            minters: nodes.iter().map(minter).collect(),
            verifier,
            request: Request::identity(actor),
            report: Report::default(),
            kept: Vec::new(),
            prepared: VecDeque::new(),
            revoked: Revoked::default(),
        }
    }

    async fn rotate_once(&mut self, number: usize) {
        while self.prepared.len() < AHEAD {
            let key = self.authority.prepare_key("token").await.expect("prepared");
            self.prepared.push_back(key.id);
        }
        self.mint_everywhere(number).await;
        let next = self.prepared.pop_front().expect("some are prepared");
        self.activate(next).await;
        self.report.rotations += 1;
        self.mint_everywhere(number).await;
        if number % 25 == 10 {
            self.rotate_other("feed").await;
        }
        if number % 50 == 30 {
            self.rotate_other("audit").await;
        }
        if number % 10 == 9 {
            self.revoke_one(number).await;
        }
        if number % 20 == 19 {
            self.check_kept().await;
        }
    }

    /// Activates a key once the cluster lets it: until then the answer says that it has not been published for long
    /// enough.
    async fn activate(&self, id: u32) {
        let begun = Instant::now();
        loop {
            match self.authority.activate_key(id, false).await {
                Ok(_) => return,
                Err(error) if begun.elapsed() < Duration::from_secs(60) => {
                    assert!(
                        error.to_string().contains("has been published for") || error.retryable,
                        "key {id}: {error}"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("key {id} was not activated: {error}"),
            }
        }
    }

    async fn rotate_other(&mut self, purpose: &str) {
        let key = self.authority.prepare_key(purpose).await.expect("prepared");
        self.activate(key.id).await;
        self.report.others += 1;
    }

    async fn mint_everywhere(&mut self, number: usize) {
        for minter in &self.minters {
            let issued = minter.request_identity_token(None).await.expect("a token");
            let token = issued.token;
            self.report.minted += 1;
            self.report.checks += 1;
            let verdict = self
                .verifier
                .check_within(&token, &self.request, PATIENCE)
                .await;
            if !matches!(verdict, Verdict::Allow(_)) {
                self.report
                    .refused
                    .push(format!("rotation {number}, new: {verdict:?}"));
            }
            let key = key_of(&token);
            if self.kept.len() < KEPT_MAX || number.is_multiple_of(7) {
                self.kept.push(Kept { token, key });
            }
        }
        let over = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..over);
    }

    /// Revokes the key of a token that is kept, and waits until the verifier holds that.
    async fn revoke_one(&mut self, number: usize) {
        let active = self.active().await;
        let keys: BTreeMap<u32, ()> = self.kept.iter().map(|kept| (kept.key, ())).collect();
        let candidates: Vec<u32> = keys
            .into_keys()
            .filter(|key| !self.revoked.contains(*key) && !active.contains(key))
            .collect();
        let Some(key) = candidates.get(number % candidates.len().max(1)) else {
            return;
        };
        self.revoked.insert(*key);
        let answer = self.authority.revoke_key(*key).await.expect("revoked");
        assert!(answer.pending.is_none(), "this cluster needs one person");
        self.report.revoked += 1;
        self.holds(Revision(answer.revision)).await;
        self.check_kept().await;
    }

    async fn active(&self) -> BTreeSet<u32> {
        let keys = self.authority.list_keys().await.expect("keys").keys;
        let active = keys.iter().filter(|key| key.state == "active");
        active.map(|key| key.id).collect()
    }

    async fn holds(&self, revision: Revision) {
        let mut status = self.verifier.subscribe();
        let reached = status.wait_for(|status| status.revision >= revision);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(
            matches!(reached, Ok(Ok(_))),
            "the verifier reaches revision {revision}"
        );
    }

    /// Checks every kept token: denied when its key is revoked, else allowed.
    async fn check_kept(&mut self) {
        for kept in &self.kept {
            let verdict = self
                .verifier
                .check_within(&kept.token, &self.request, PATIENCE)
                .await;
            self.report.checks += 1;
            match (self.revoked.contains(kept.key), verdict) {
                (true, Verdict::Allow(_)) => {
                    self.report
                        .accepted
                        .push(format!("a token of revoked key {}", kept.key));
                }
                (false, Verdict::Allow(_)) | (true, _) => {}
                (false, other) => {
                    self.report
                        .refused
                        .push(format!("a token of key {}: {other:?}", kept.key));
                }
            }
        }
    }
}

fn key_of(token: &str) -> u32 {
    let token = Token::parse(token, &Limits::default()).expect("our own token");
    token.root_key_id().expect("our tokens name their key")
}

/// Clients that mint and check without pause.
struct Load {
    ended: Arc<AtomicBool>,
    minted: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(cluster: &Cluster, world: &World) -> Self {
        let (ended, minted) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let client = |id: u64| {
            let minter = IdentityClient::new(connection(cluster, "gateway", &[id]));
            let minter = minter.expect("a client");
            let (verifier, request) = (world.verifier.clone(), world.request.clone());
            let revoked = world.revoked.clone();
            let (ended, minted) = (Arc::clone(&ended), Arc::clone(&minted));
            tokio::spawn(async move {
                let mut refused = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    // A node that sheds load says so; that is no refusal of a token.
                    let Ok(issued) = minter.request_identity_token(None).await else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    minted.fetch_add(1, Ordering::Relaxed);
                    let verdict = verifier
                        .check_within(&issued.token, &request, PATIENCE)
                        .await;
                    let allowed = matches!(verdict, Verdict::Allow(_));
                    if !allowed && !revoked.contains(key_of(&issued.token)) {
                        refused.push(format!("under load: {verdict:?}"));
                    }
                }
                refused
            })
        };
        let tasks = cluster.running().into_iter().map(client).collect();
        Self {
            ended,
            minted,
            tasks,
        }
    }

    async fn end(self, report: &mut Report) {
        self.ended.store(true, Ordering::Relaxed);
        for task in self.tasks {
            report
                .refused
                .extend(task.await.expect("the load does not panic"));
        }
        let minted = self.minted.load(Ordering::Relaxed);
        report.minted += minted;
        report.checks += minted;
    }
}

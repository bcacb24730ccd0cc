//! Verifiers of the SDK, and tokens of the identities that will be revoked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hessra_revocation::{Identity, Query};
use hessra_sdk_rust::token::{Delegation, Keyring, delegate};
use hessra_sdk_rust::{
    Connection, Credentials, IdentityClient, News, Request, Servers, StalenessPolicy, Trust,
    Verdict, Verifier, clock,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

use super::seen::{Denied, Seen};
use crate::cluster::Cluster;
use crate::failure::BenchError;
use crate::load::Numbers;

/// Lifetime of the tokens: longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(8 * 3600);
/// Time until the last of some thousand verifiers is fresh, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The writes to come, in order: the first verifier holds a token for each of them.
#[derive(Default)]
pub(super) struct Tokens {
    numbers: VecDeque<u64>,
}

impl Tokens {
    /// Number of the next write.
    pub(super) fn next(&mut self) -> Option<u64> {
        self.numbers.pop_front()
    }
}

/// One write to come.
struct Expected {
    number: u64,
    identity: Identity,
    token: String,
}

/// Connects `count` verifiers, each following one member, one after the other; waits until all are fresh.
///
/// # Errors
/// No token can be had, or a verifier does not become fresh.
pub(super) async fn connect(
    cluster: &Cluster,
    count: usize,
    writes: usize,
    numbers: &Numbers,
    seen: &mpsc::UnboundedSender<Seen>,
    tasks: &mut JoinSet<()>,
) -> Result<Tokens, BenchError> {
    let expected: Arc<Vec<Expected>> = Arc::new(tokens(cluster, writes, numbers).await?);
    let mut ready = Vec::with_capacity(count);
    for position in 0..count {
        let server = &cluster.members[position % cluster.members.len()].public;
        let verifier = verifier(cluster, position, server)?;
        let (is_ready, until_ready) = oneshot::channel();
        let follower = Subscriber {
            checks: position == 0,
            verifier,
            expected: Arc::clone(&expected),
            seen: seen.clone(),
        };
        tasks.spawn(follower.run(is_ready));
        ready.push(until_ready);
    }
    let all = futures::future::join_all(ready);
    let not_ready = |_| BenchError::Service {
        side: "hessra",
        reason: "verifiers do not become fresh".to_owned(),
    };
    tokio::time::timeout(READY_TIMEOUT, all)
        .await
        .map_err(not_ready)?;
    Ok(Tokens {
        numbers: expected.iter().map(|expected| expected.number).collect(),
    })
}

fn verifier(cluster: &Cluster, position: usize, server: &str) -> Result<Verifier, BenchError> {
    let refused = |error: hessra_sdk_rust::ClientError| BenchError::Service {
        side: "hessra",
        reason: error.to_string(),
    };
    Verifier::builder()
        .servers([server])
        .and_then(|builder| builder.id(&format!("bench-{position}")))
        .map_err(refused)?
        .trust(Trust::pem(cluster.tls.authority.clone()).map_err(refused)?)
        .credentials(
            Credentials::files(
                cluster.directory.join("clients/verifier.crt"),
                cluster.directory.join("clients/verifier.key"),
            )
            .map_err(refused)?,
        )
        .staleness(StalenessPolicy::Strict {
            max: Duration::from_secs(5),
        })
        .connect()
        .map_err(refused)
}

/// Tokens for the writes to come: an identity token of alice, delegated once for every one.
async fn tokens(
    cluster: &Cluster,
    writes: usize,
    numbers: &Numbers,
) -> Result<Vec<Expected>, BenchError> {
    let failed = |error: hessra_sdk_rust::ClientError| BenchError::Token(error.to_string());
    let file = |name: &str| cluster.directory.join(name);
    let servers: Servers = cluster.members[0].public.parse().map_err(failed)?;
    let trust = Trust::pem(cluster.tls.authority.clone()).map_err(failed)?;
    let alice =
        Credentials::files(file("clients/alice.crt"), file("clients/alice.key")).map_err(failed)?;
    let client =
        IdentityClient::new(Connection::new(servers, trust).credentials(alice)).map_err(failed)?;
    let key = client.public_key().await.map_err(failed)?;
    let keyring = Keyring::from_pem(&key).map_err(|error| BenchError::Token(error.to_string()))?;
    let token = client
        .request_identity_token(Some(TOKEN_LIFE))
        .await
        .map_err(failed)?
        .token;
    (0..writes)
        .map(|_| expected(&token, &keyring, numbers))
        .collect()
}

fn expected(token: &str, keyring: &Keyring, numbers: &Numbers) -> Result<Expected, BenchError> {
    let number = numbers.next();
    let name = numbers.names().identity(number);
    let identity = Identity::parse(&name).map_err(|error| BenchError::Token(error.to_string()))?;
    let now = clock::wall();
    let expires_at = hessra_revocation::UnixSeconds(now.0 + TOKEN_LIFE.as_secs());
    let delegation = Delegation {
        child: identity.clone(),
        expires_at,
        checks: None,
    };
    let delegated = delegate(token, keyring, &delegation, now, &mut rand::rngs::OsRng);
    let delegated = delegated.map_err(|error| BenchError::Token(error.to_string()))?;
    Ok(Expected {
        number,
        identity,
        token: delegated.token,
    })
}

struct Subscriber {
    /// True when it also checks a token of every revoked identity, whole.
    checks: bool,
    verifier: Verifier,
    expected: Arc<Vec<Expected>>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Subscriber {
    /// Reports every expected write, in order, as soon as its rules deny it.
    async fn run(self, is_ready: oneshot::Sender<()>) {
        let mut news = self.verifier.news();
        self.verifier.ready().await;
        let _ = is_ready.send(());
        let mut next = 0;
        loop {
            match news.recv().await {
                Ok(News::Entries(_) | News::Snapshot(_))
                | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            }
            while self
                .expected
                .get(next)
                .is_some_and(|expected| self.denies(expected))
            {
                let expected = &self.expected[next];
                let at = Instant::now();
                let denied = self.checks.then(|| self.check(expected));
                // The receiver is gone when the turn is over.
                let _ = self.seen.send(Seen {
                    number: expected.number,
                    at,
                    denied,
                });
                next += 1;
            }
        }
    }

    fn denies(&self, expected: &Expected) -> bool {
        let identities = std::slice::from_ref(&expected.identity);
        let query = Query {
            identities,
            actor: identities.first(),
            now: clock::wall(),
            ..Query::default()
        };
        self.verifier
            .view()
            .is_some_and(|view| view.set.check(&query).is_some())
    }

    fn check(&self, expected: &Expected) -> Denied {
        let verdict = self.verifier.check(
            &expected.token,
            &Request::identity(expected.identity.clone()),
        );
        Denied {
            denied: matches!(verdict, Verdict::Deny(_)),
            at: Instant::now(),
        }
    }
}

//! The endpoints of one node, over connections that stay open.

use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::options::Options;
use super::signatures::Signatures;
use crate::cluster::{Cluster, Member};
use crate::failure::BenchError;
use crate::load::{histogram, microseconds};
use crate::process::Usage;

/// Time limit of a request: a longer one is a failure.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One kind of request.
pub(super) struct Kind {
    /// Name of the kind, as the table says it.
    pub(super) name: &'static str,
    /// Signatures that the request cannot be answered without.
    pub(super) signatures: Signatures,
    path: &'static str,
    /// Name of the client whose certificate is shown.
    shows: Option<&'static str>,
    bearer: Option<String>,
    body: Value,
}

/// Result of one turn.
pub(super) struct Turn {
    pub(super) latencies: Histogram<u64>,
    pub(super) failed: u64,
    /// Message of the first failure.
    pub(super) failure: Option<String>,
    seconds: f64,
    usage: Usage,
}

impl Turn {
    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// CPU seconds of the node for one answer.
    pub(super) fn cpu(&self) -> f64 {
        self.usage.cpu() / self.latencies.len().max(1) as f64
    }
}

/// One node of a cluster, and the kinds of requests that it is asked.
pub(super) struct Outside<'c> {
    node: &'c Member,
    directory: &'c Path,
    kinds: Vec<Kind>,
}

impl<'c> Outside<'c> {
    /// Opens the node: asks for one of everything.
    pub(super) async fn open(
        cluster: &'c Cluster,
        directory: &'c Path,
    ) -> Result<Self, BenchError> {
        let node = &cluster.members[cluster.leader()];
        let mut outside = Self {
            node,
            directory,
            kinds: Vec::new(),
        };
        outside.kinds = outside.all_kinds().await?;
        Ok(outside)
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Runs one turn: as many clients as asked for, each with one request under way.
    pub(super) async fn turn(&self, kind: &Kind, options: &Options) -> Result<Turn, BenchError> {
        let begin = Instant::now() + options.warm_up;
        let end = begin + options.duration;
        let client = self.client(kind.shows)?;
        let clients: Vec<_> = (0..options.clients)
            .map(|_| {
                let request = self.request(&client, kind);
                tokio::spawn(work(request, begin, end))
            })
            .collect();
        sleep_until(begin).await;
        let (before, began) = (self.node.process.usage(), Instant::now());
        sleep_until(end).await;
        let usage = self.node.process.usage().since(before);
        let mut turn = Turn {
            latencies: histogram(),
            failed: 0,
            failure: None,
            seconds: began.elapsed().as_secs_f64(),
            usage,
        };
        for client in clients {
            let one = client
                .await
                .map_err(|error| BenchError::Tool(format!("a client ended: {error}")))?;
            // Both have the same bounds.
            let _ = turn.latencies.add(&one.latencies);
            turn.failed += one.failed;
            turn.failure = turn.failure.or(one.failure);
        }
        Ok(turn)
    }

    fn client(&self, shows: Option<&str>) -> Result<reqwest::Client, BenchError> {
        let read = |name: String| {
            let path = self.directory.join(name);
            std::fs::read(&path).map_err(|error| BenchError::file(&path, &error))
        };
        let unusable = |error: reqwest::Error| BenchError::Certificate(error.to_string());
        let authority = reqwest::Certificate::from_pem(&read("ca.crt".to_owned())?);
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([authority.map_err(unusable)?])
            // One request at a time on a connection, as most clients of services do.
            .http1_only()
            .timeout(TIMEOUT);
        if let Some(name) = shows {
            let mut pem = read(format!("clients/{name}.key"))?;
            pem.extend(read(format!("clients/{name}.crt"))?);
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
        }
        builder.build().map_err(unusable)
    }

    fn request(&self, client: &reqwest::Client, kind: &Kind) -> reqwest::RequestBuilder {
        let request = client
            .post(format!("https://{}{}", self.node.public, kind.path))
            .json(&kind.body);
        match &kind.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn ask(&self, kind: &Kind) -> Result<Value, BenchError> {
        let client = self.client(kind.shows)?;
        let (_, answer) = exchange(self.request(&client, kind))
            .await
            .map_err(|error| BenchError::Token(error.to_string()))?;
        Ok(answer)
    }

    async fn all_kinds(&self) -> Result<Vec<Kind>, BenchError> {
        let kind = |name, path, shows, body| Kind {
            name,
            signatures: Signatures::default(),
            path,
            shows,
            bearer: None,
            body,
        };
        let read = json!({ "resource": "api", "operation": "read" });
        let identity_kind = kind(
            "/request_identity_token",
            "/request_identity_token",
            Some("alice"),
            json!({}),
        );
        let identity = token(&self.ask(&identity_kind).await?)?;
        let authorization_kind = kind(
            "/request_token",
            "/request_token",
            Some("alice"),
            read.clone(),
        );
        let authorization = token(&self.ask(&authorization_kind).await?)?;
        let exchange_kind = Kind {
            bearer: Some(identity.clone()),
            ..kind(
                "/request_token, identity token",
                "/request_token",
                None,
                read.clone(),
            )
        };
        let refresh = json!({ "current_token": identity });
        let claim = json!({
            "token": authorization, "subject": "urn:hessra:alice", "resource": "api", "operation": "read"
        });
        // Somebody else's key: any will do.
        let attestor = format!(
            "ed25519/{}",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let stub = json!({
            "target_identity": "urn:hessra:alice", "resource": "api", "operation": "read",
            "prefix_attenuator_key": attestor
        });
        let kinds = [
            (identity_kind, None),
            (
                kind(
                    "/refresh_identity_token",
                    "/refresh_identity_token",
                    None,
                    refresh,
                ),
                Some(&identity),
            ),
            (
                kind(
                    "/mint_identity_token",
                    "/mint_identity_token",
                    Some("mycompany"),
                    json!({ "subject": "urn:hessra:mycompany:user1" }),
                ),
                None,
            ),
            (authorization_kind, None),
            (exchange_kind, Some(&identity)),
            (
                kind(
                    "/request_token, service chain",
                    "/request_token",
                    Some("gateway"),
                    json!({ "resource": "order_service", "operation": "create" }),
                ),
                None,
            ),
            (
                kind(
                    "/request_capability",
                    "/request_capability",
                    Some("gateway"),
                    json!({ "resource": "payments", "operation": "pay" }),
                ),
                None,
            ),
            (
                kind("/request_stub", "/request_stub", Some("gateway"), stub),
                None,
            ),
            (
                kind("/verify_token", "/verify_token", None, claim),
                Some(&authorization),
            ),
        ];
        let mut all = Vec::new();
        for (mut kind, shown) in kinds {
            let answer = self.ask(&kind).await?;
            if answer["token"].is_string() {
                kind.signatures = Signatures::made_in(&token(&answer)?)?;
            }
            if let Some(shown) = shown {
                kind.signatures = kind.signatures.and_verified_of(shown)?;
            }
            all.push(kind);
        }
        Ok(all)
    }
}

fn token(answer: &Value) -> Result<String, BenchError> {
    let token = answer["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| BenchError::Token(format!("no token in {answer}")))
}

/// Error of a request that has no answer of use.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    // With its causes, which `Display` leaves out.
    #[error("{0:?}")]
    Lost(#[from] reqwest::Error),
    #[error("{status}: {body}")]
    Refused {
        status: reqwest::StatusCode,
        body: Value,
    },
}

/// Time and body of an answer with status 200.
async fn exchange(request: reqwest::RequestBuilder) -> Result<(Duration, Value), ExchangeError> {
    let asked = Instant::now();
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status == 200 {
        Ok((asked.elapsed(), body))
    } else {
        Err(ExchangeError::Refused { status, body })
    }
}

struct Worked {
    latencies: Histogram<u64>,
    failed: u64,
    failure: Option<String>,
}

async fn work(request: reqwest::RequestBuilder, begin: Instant, end: Instant) -> Worked {
    /// Pause after a failure: a server that refuses at once must not be asked a million times a second.
    const PAUSE: Duration = Duration::from_millis(10);
    let mut worked = Worked {
        latencies: histogram(),
        failed: 0,
        failure: None,
    };
    while Instant::now() < end {
        let Some(request) = request.try_clone() else {
            break;
        };
        match exchange(request).await {
            Ok((took, _)) => {
                let now = Instant::now();
                if begin <= now && now < end {
                    worked.latencies.saturating_record(microseconds(took));
                }
            }
            Err(failure) => {
                worked.failed += 1;
                worked.failure.get_or_insert_with(|| failure.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    worked
}

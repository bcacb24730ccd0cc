//! The attacks, one function each. Each has a bounded count and time, holds what it was let in with until it is dropped, and
//! says what it tried and what was let in.

use std::any::Any;
use std::time::Duration;

use biscuit_auth::UnverifiedBiscuit;
use biscuit_auth::builder::BlockBuilder;
use futures::StreamExt as _;
use futures::stream::iter;
use prost::bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};

use hessra_tests::link::{Attacker, Link, head};

use crate::target::Target;

/// Attempts under way at once, of one attack.
const AT_ONCE: usize = 32;
/// Most that one body declares: the largest message of an operator.
const BODY_BYTES: usize = 8 * 1024 * 1024;

/// Size of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    Short,
}

impl Scale {
    fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Short => full.div_ceil(10),
        }
    }

    /// Time for which an attack goes on.
    fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Full => 10,
            Self::Short => 2,
        })
    }
}

/// Connections and streams that an attack holds, and how far it came.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) tried: usize,
    pub(crate) let_in: usize,
    /// Closed when dropped.
    _open: Vec<Box<dyn Any + Send>>,
}

impl Held {
    fn of<T: Send + 'static>(tried: usize, open: Vec<T>) -> Self {
        let let_in = open.len();
        Self {
            tried,
            let_in,
            _open: vec![Box::new(open)],
        }
    }
}

macro_rules! attacks {
    ($($(#[doc = $doc:literal])+ $name:ident = $function:ident;)+) => {
        /// An attack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
        pub(crate) enum Attack { $($(#[doc = $doc])+ $name,)+ }

        impl Attack {
            const ALL: &[Self] = &[$(Self::$name,)+];

            /// Attacks a node. Returns when it has done what it can.
            pub(crate) async fn run(self, target: &Target, scale: Scale) -> Held {
                match self { $(Self::$name => $function(target, scale).await,)+ }
            }
        }
    };
}

attacks! {
    /// Verifiers without a certificate that read everything and acknowledge nothing
    Ghosts = ghosts;
    /// 10,000 streams of the feed on 40 connections, without a certificate
    AnonymousStreams = anonymous_streams;
    /// Streams of the feed with a client's certificate that nobody reads
    UnreadStreams = unread_streams;
    /// 400 bodies of 8 MiB without a certificate, of which the last byte never comes
    UnfinishedBodies = unfinished_bodies;
    /// The same with the certificate of a client that is no operator
    UnfinishedBodiesOfClients = unfinished_bodies_of_clients;
    /// 2,000 connections that carry nothing and answer pings
    IdleConnections = idle_connections;
    /// Handshakes that are not finished, and whole ones that are thrown away
    HandshakeFlood = handshake_flood;
    /// Streams that are reset as soon as they are opened (CVE-2023-44487)
    RapidReset = rapid_reset;
    /// Bodies that come a byte at a time
    SlowBodies = slow_bodies;
    /// Answers of which nobody takes a byte
    SlowReads = slow_reads;
    /// 60,000 requests to operators' services without a certificate
    RefusedRequests = refused_requests;
    /// Tokens whose holder's checks are as costly as 13 kB allow
    CostlyChecks = costly_checks;
}

impl Attack {
    /// These attacks, or all.
    pub(crate) fn all(only: &[Self]) -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|attack| only.is_empty() || only.contains(attack))
            .collect()
    }

    /// Name on the command line.
    pub(crate) fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

fn stranger(target: &Target) -> Attacker {
    Attacker::stranger(target.address(), &target.file("ca.crt"))
}

fn client(target: &Target) -> Attacker {
    let name = target.file("clients/alice");
    Attacker::with_certificate(target.address(), &target.file("ca.crt"), &name)
}

/// Bytes of an answer that a client takes before it must say that it wants more: HTTP/2's default.
const WINDOW: u32 = 65_535;

/// Runs something many times, some at once; what came of it.
async fn many<T, F: Future<Output = Option<T>>>(
    count: usize,
    attempt: impl Fn(usize) -> F,
) -> Vec<T> {
    let attempts = iter(0..count).map(attempt).buffer_unordered(AT_ONCE);
    attempts.filter_map(std::future::ready).collect().await
}

/// Opens streams on a connection until the node refuses one.
async fn streams(
    attacker: &Attacker,
    name: String,
    count: usize,
    window: u32,
) -> Vec<Box<dyn Any + Send>> {
    let Some(mut link) = attacker.link(window).await else {
        return Vec::new();
    };
    let mut open: Vec<Box<dyn Any + Send>> = Vec::new();
    for number in 0..count {
        match link.follow(&format!("{name}-{number}")).await {
            Some(stream) => open.push(Box::new(stream)),
            None => break,
        }
    }
    open.push(Box::new(link));
    open
}

async fn follow(
    attacker: &Attacker,
    name: &str,
    (links, each): (usize, usize),
    window: u32,
) -> Held {
    let open = many(links, |number| async move {
        Some(streams(attacker, format!("{name}-{number}"), each, window).await)
    });
    let open: Vec<_> = open.await.into_iter().flatten().collect();
    Held {
        // Each connection is held beside its streams.
        let_in: open.len().saturating_sub(links),
        ..Held::of(links * each, open)
    }
}

async fn anonymous_streams(target: &Target, scale: Scale) -> Held {
    let links = scale.of(40);
    follow(&stranger(target), "anonymous", (links, 250), WINDOW).await
}

async fn unread_streams(target: &Target, scale: Scale) -> Held {
    let links = scale.of(10);
    follow(&client(target), "unread", (links, 250), 0).await
}

async fn ghosts(target: &Target, scale: Scale) -> Held {
    // Their windows are never opened again: a megabyte lasts for the attack.
    follow(&stranger(target), "ghost", (scale.of(10), 10), 1024 * 1024).await
}

/// Declares 8 MiB and sends as much as the node takes, but for the last byte.
async fn unfinished_body(mut link: Link, streams: usize) -> Vec<Box<dyn Any + Send>> {
    let mut open: Vec<Box<dyn Any + Send>> = Vec::new();
    for _ in 0..streams {
        let Some(mut opened) = link.open("/hessra.v1.Authority/Revoke").await else {
            break;
        };
        let part = Bytes::from_static(&[0x0a; 64 * 1024]);
        let is_begun = opened
            .upload
            .send_data(Bytes::copy_from_slice(&head(BODY_BYTES)), false);
        if is_begun.is_err() {
            continue;
        }
        // Queued here, sent when the node opens its window.
        let parts = (1..BODY_BYTES / part.len()).map(|_| part.clone());
        for part in parts {
            if opened.upload.send_data(part, false).is_err() {
                break;
            }
        }
        open.push(Box::new(opened));
    }
    open.push(Box::new(link));
    open
}

async fn unfinished(attacker: Attacker, scale: Scale) -> Held {
    let (links, each) = (scale.of(10), 40);
    let attacker = &attacker;
    let open = many(links, |_| async move {
        let link = attacker.link(WINDOW).await?;
        Some(unfinished_body(link, each).await)
    });
    let open: Vec<_> = open.await.into_iter().flatten().collect();
    sleep(scale.time()).await;
    Held {
        let_in: open.len().saturating_sub(links),
        ..Held::of(links * each, open)
    }
}

async fn unfinished_bodies(target: &Target, scale: Scale) -> Held {
    unfinished(stranger(target), scale).await
}

async fn unfinished_bodies_of_clients(target: &Target, scale: Scale) -> Held {
    unfinished(client(target), scale).await
}

async fn idle_connections(target: &Target, scale: Scale) -> Held {
    // More than the seats of one address, however short.
    let (attacker, count) = (stranger(target), scale.of(2_000).max(700));
    let attacker = &attacker;
    let mut open = many(count, |_| attacker.link(WINDOW)).await;
    // Some were too many for their second: tried again in another one, all seats of an address are taken.
    for _ in 0..2 {
        sleep(Duration::from_secs(1)).await;
        open.extend(many(count - open.len(), |_| attacker.link(WINDOW)).await);
    }
    for link in &mut open {
        link.is_open().await;
    }
    Held::of(count, open)
}

async fn handshake_flood(target: &Target, scale: Scale) -> Held {
    let (attacker, until) = (stranger(target), Instant::now() + scale.time());
    let attacker = &attacker;
    let silent = many(scale.of(2_000), |number| async move {
        let mut stream = attacker.tcp().await?;
        if number % 2 == 0 {
            // The beginning of a ClientHello.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.ok()?;
        }
        Some(stream)
    });
    let silent = silent.await;
    let mut thrown_away = 0;
    while Instant::now() < until {
        thrown_away += many(AT_ONCE, |_| attacker.tls()).await.len();
    }
    let tried = silent.len() + thrown_away;
    Held {
        let_in: thrown_away,
        ..Held::of(tried, silent)
    }
}

async fn rapid_reset(target: &Target, scale: Scale) -> Held {
    let (attacker, until) = (stranger(target), Instant::now() + scale.time());
    let mut sent = 0;
    let mut links = 0;
    while Instant::now() < until && sent < scale.of(200_000) {
        let Some(mut link) = attacker.link(WINDOW).await else {
            continue;
        };
        links += 1;
        while let Some(mut opened) = link.open("/hessra.v1.feed.Feed/Follow").await {
            opened.upload.send_reset(h2::Reason::CANCEL);
            sent += 1;
            if sent % 1_000 == 0 {
                tokio::task::yield_now().await;
            }
            if Instant::now() > until {
                break;
            }
        }
    }
    Held {
        tried: sent,
        let_in: links,
        ..Held::default()
    }
}

async fn slow_bodies(target: &Target, scale: Scale) -> Held {
    let attackers = [stranger(target), client(target)];
    let until = Instant::now() + scale.time().max(Duration::from_secs(3));
    let count = scale.of(200).max(40);
    let attackers = &attackers;
    let open = many(count, |number| async move {
        let mut link = attackers[number % 2].link(WINDOW).await?;
        let path = ["/request_token", "/verify_token"][number / 2 % 2];
        let mut opened = link.https("POST", path, Some("x")).await?;
        while Instant::now() < until {
            let byte = Bytes::from_static(b" ");
            if opened.upload.send_data(byte, false).is_err() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        Some((link, opened))
    });
    Held::of(count, open.await)
}

async fn slow_reads(target: &Target, scale: Scale) -> Held {
    let attackers = [stranger(target), client(target)];
    let (links, each) = (scale.of(40), 90);
    let attackers = &attackers;
    let open = many(links, |number| async move {
        let mut link = attackers[number % 2].link(0).await?;
        let mut open = Vec::new();
        while open.len() < each {
            let Some(opened) = link.https("GET", "/openapi.json", None).await else {
                break;
            };
            open.push(opened);
        }
        Some((link, open))
    });
    let open = open.await;
    let let_in = open.iter().map(|(_, open)| open.len()).sum();
    if scale == Scale::Full {
        // What the node gives a reader that takes nothing, and its time to see it.
        sleep(Duration::from_secs(40)).await;
    }
    Held {
        let_in,
        ..Held::of(links * each, open)
    }
}

async fn refused_requests(target: &Target, scale: Scale) -> Held {
    let attacker = stranger(target);
    let (links, each) = (AT_ONCE, scale.of(60_000) / AT_ONCE);
    let attacker = &attacker;
    let asked = many(links, |_| async move {
        let mut link = attacker.link(WINDOW).await?;
        let mut refused = 0;
        for _ in 0..each {
            // 16: UNAUTHENTICATED; 8: RESOURCE_EXHAUSTED.
            match link.ask("/hessra.v1.Authority/Status").await {
                Some(16 | 8) => refused += 1,
                Some(_) => {}
                None => link = attacker.link(WINDOW).await?,
            }
        }
        Some(refused)
    });
    let refused: usize = asked.await.into_iter().sum();
    Held {
        tried: links * each,
        let_in: (links * each).saturating_sub(refused),
        ..Held::default()
    }
}

/// A token of about 13 kB whose checks ask a regular expression that is costly to build, each another one.
fn costly(token: &str) -> Option<String> {
    let mut block = BlockBuilder::new();
    for number in 0..150 {
        let check = format!(r#"check if "{number}".matches("\\w{{400}}|{number}")"#);
        block = block.code(check).ok()?;
    }
    let token = UnverifiedBiscuit::from_base64(token).ok()?;
    token.append(block).ok()?.to_base64().ok()
}

async fn costly_checks(target: &Target, scale: Scale) -> Held {
    let Some(token) = target.token().await.as_deref().and_then(costly) else {
        return Held::default();
    };
    let (attacker, until) = (stranger(target), Instant::now() + scale.time());
    let (attacker, token) = (&attacker, &token);
    let answered = many(8, |_| async move {
        let mut link = attacker.link(WINDOW).await?;
        let (mut tried, mut answered) = (0, 0);
        while Instant::now() < until {
            tried += 1;
            let opened = link.https("POST", "/request_token", Some(token)).await;
            let Some(mut opened) = opened else {
                link = attacker.link(WINDOW).await?;
                continue;
            };
            let body = Bytes::from_static(br#"{"resource":"api","operation":"read"}"#);
            let _ = opened.upload.send_data(body, true);
            let answer = timeout(Duration::from_secs(15), opened.answer).await;
            answered += usize::from(
                answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success())),
            );
        }
        Some((tried, answered))
    });
    let answered = answered.await;
    Held {
        tried: answered.iter().map(|(tried, _)| tried).sum(),
        let_in: answered.iter().map(|(_, answered)| answered).sum(),
        ..Held::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hessra_tests::link::framed;

    #[test]
    fn a_message_has_its_length_in_its_head() {
        assert_eq!(framed(b"abc")[..], [0, 0, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(head(BODY_BYTES), [0, 0, 0x80, 0, 0]);
    }
}

//! Verifier for a service: follows the feed in the background, answers without waiting.
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), hessra_sdk_rust::ClientError> {
//! use std::time::Duration;
//! use hessra_sdk_rust::revocation::Identity;
//! use hessra_sdk_rust::{Request, StalenessPolicy, Verdict, Verifier};
//!
//! let verifier = Verifier::builder()
//!     .servers(["node1:7443", "node2:7443"])?
//!     .ca_file("ca.crt")?
//!     .id("orders-1")?
//!     .state_dir("/var/lib/orders/hessra")
//!     .staleness(StalenessPolicy::Strict { max: Duration::from_secs(5) })
//!     .connect()?;
//! verifier.ready().await;
//! let alice = Identity::parse("urn:hessra:alice")?;
//! match verifier.check(token, &Request::authorization(alice, "orders", "read")) {
//!     Verdict::Allow(verified) => println!("{}", verified.actor()),
//!     Verdict::Deny(reason) => println!("no: {reason}"),
//!     Verdict::Unknown(why) => println!("cannot tell: {why}"),
//! }
//! verifier.shutdown().await;
//! # Ok(()) }
//! ```

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hessra_revocation::{Freshness, View};
use hessra_sdk_core as core;
use tokio::sync::{broadcast, watch};

use crate::knowledge::{FeedStatus, Knowledge, News, Readiness};
use crate::{Request, Verdict, clock};

mod background;
mod builder;

pub use builder::VerifierBuilder;

use background::Background;

/// Verifier of tokens, by what the feed has said. Cheap to clone; clones share one stream.
#[derive(Clone, Debug)]
pub struct Verifier {
    core: Arc<core::RememberingVerifier>,
    published: Arc<Knowledge>,
    background: Arc<Background>,
}

impl Verifier {
    /// Checks a token now, with what is known now. No network, no waiting.
    ///
    /// A token that passed the same request before is not verified anew: its rules, its end and the age of the knowledge are
    /// asked. See [`VerifierBuilder::memory`].
    pub fn check(&self, token: &str, request: &Request) -> Verdict {
        let known = self.published.known();
        let now = core::Now {
            wall: clock::wall(),
            monotonic: clock::monotonic(),
        };
        match &known.held {
            Some(held) => {
                let knowledge = core::Knowledge {
                    keyring: &held.keyring,
                    view: Some(&held.view),
                    freshness: Some(known.freshness),
                };
                self.core.verify(token, request, &knowledge, now)
            }
            None => Verdict::Unknown(core::UnknownReason::NeverSynced),
        }
    }

    /// Checks as [`Self::check`] does, but waits for news when they could turn *unknown* into an answer, at most for
    /// `patience`.
    ///
    /// A token that was issued after the last revision this verifier knows proves that it is behind, usually by
    /// milliseconds.
    pub async fn check_within(
        &self,
        token: &str,
        request: &Request,
        patience: Duration,
    ) -> Verdict {
        let mut status = self.subscribe();
        let end = tokio::time::Instant::now() + patience;
        loop {
            let verdict = self.check(token, request);
            let waits = match &verdict {
                Verdict::Unknown(why) => !matches!(why, core::UnknownReason::LimitExceeded),
                Verdict::Allow(_) | Verdict::Deny(_) => false,
            };
            // The sender lives as long as `self`, so an error here is time that ran out.
            if !waits
                || tokio::time::timeout_at(end, status.changed())
                    .await
                    .is_err()
            {
                return verdict;
            }
        }
    }

    /// Waits until the verifier can permit: until its knowledge is fresh.
    pub async fn ready(&self) {
        let mut status = self.subscribe();
        // The sender lives as long as `self`.
        let _ = status
            .wait_for(|status| status.readiness == Readiness::Fresh)
            .await;
    }

    /// Status of the verifier, and every change of it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<FeedStatus> {
        self.published.status()
    }

    /// News of the feed from now on: entries, checkpoints, alarms.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.published.news()
    }

    /// Freshness of its knowledge: the instant as of which it is complete, by [`clock::monotonic`].
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.published.known().freshness
    }

    /// Age of its knowledge; `None` = not confirmed in this process.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.freshness().age(clock::monotonic())
    }

    /// View of the feed that it holds; `None` before the first snapshot.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.published
            .known()
            .held
            .as_ref()
            .map(|held| held.view.clone())
    }

    /// Closes the stream and writes what is known to disk. Checks go on with what is known.
    pub async fn shutdown(&self) {
        self.background.stop.send_replace(true);
        let tasks = std::mem::take(
            &mut *self
                .background
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for task in tasks {
            // A task that panicked has nothing left to do.
            let _ = task.await;
        }
    }
}

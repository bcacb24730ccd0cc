//! The network between nodes, and from verifiers, clients and operators to them: delay, loss, links cut one way or both.
//!
//! A request travels in one message and is answered in one ([`Network::cross`]): lost, it is never answered, and the
//! sender's own time-out tells it so. A stream resends what is lost ([`Network::deliver`]), as TCP does. What a target
//! does for a request belongs to the target's process: the sender may give up or crash, and the work goes on, or ends.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use tokio::sync::oneshot;

use crate::runtime::{Process, random};

/// Address of a sender or a receiver: nodes are 1, 2, 3…; verifiers, clients and operators have numbers from 1000 on
/// and are never cut.
pub type Address = u64;

/// TCP's shortest time-out before it sends again.
const RESEND: Duration = Duration::from_millis(200);

/// All links.
#[derive(Default)]
pub struct Network {
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    cut: BTreeSet<(Address, Address)>,
    long: BTreeSet<(Address, Address)>,
    loss: f64,
    slow: bool,
}

impl Network {
    /// Cuts the link in one direction.
    pub fn cut(&self, from: Address, to: Address) {
        self.links
            .lock()
            .expect("one thread")
            .cut
            .insert((from, to));
    }

    /// Makes the link long in one direction: messages arrive late, independently of the other links.
    pub fn lengthen(&self, from: Address, to: Address) {
        self.links
            .lock()
            .expect("one thread")
            .long
            .insert((from, to));
    }

    /// Sets the share of messages that are lost, and whether delays are long.
    pub fn disturb(&self, loss: f64, slow: bool) {
        let mut links = self.links.lock().expect("one thread");
        links.loss = loss;
        links.slow = slow;
    }

    /// Makes every link whole again.
    pub fn heal(&self) {
        *self.links.lock().expect("one thread") = Links::default();
    }

    /// Carries a message: returns when it arrives, never when it does not.
    pub async fn cross(&self, from: Address, to: Address) {
        let (arrives, delay) = self.fate(from, to);
        tokio::time::sleep(delay).await;
        // A link that was cut while the message was under way does not deliver it.
        if !arrives || self.is_cut(from, to) {
            std::future::pending::<()>().await;
        }
    }

    /// Carries a message of a stream: sends it again until it arrives.
    pub async fn deliver(&self, from: Address, to: Address) {
        loop {
            let (arrives, delay) = self.fate(from, to);
            tokio::time::sleep(delay).await;
            if arrives && !self.is_cut(from, to) {
                return;
            }
            tokio::time::sleep(RESEND).await;
        }
    }

    /// Asks a target: there, the work of `process`, and back. `None`: the process has ended before it answered, or the
    /// sender was never answered and gives up by itself.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        from: Address,
        to: Address,
        process: Process,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (mut answer, answered) = oneshot::channel();
        // A sender that gives up tells its target, which may stop working or never hear of it.
        let cancels = random().gen_bool(0.5);
        let network = Arc::clone(self);
        process.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = work => outcome,
                () = answer.closed(), if cancels => return,
            };
            network.cross(to, from).await;
            let _ = answer.send(outcome);
        });
        answered.await.ok()
    }

    fn fate(&self, from: Address, to: Address) -> (bool, Duration) {
        let links = self.links.lock().expect("one thread");
        let lost = links.loss > 0.0 && random().gen_bool(links.loss);
        let millis = match links.slow {
            _ if links.long.contains(&(from, to)) => random().gen_range(60..300),
            true => random().gen_range(5..150),
            false => random().gen_range(1..8),
        };
        (
            !lost && !links.cut.contains(&(from, to)),
            Duration::from_millis(millis),
        )
    }

    fn is_cut(&self, from: Address, to: Address) -> bool {
        self.links
            .lock()
            .expect("one thread")
            .cut
            .contains(&(from, to))
    }
}

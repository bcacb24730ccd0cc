//! An impostor: a caller that follows the feed under names that are not its own, and acknowledges what it does not hold. It
//! must be counted nowhere, and nothing that it says may raise an alarm.

use std::sync::Arc;
use std::time::Duration;

use hessra_proto::{Acknowledgement, Greeting, VerifierId, VerifierMessage};
use hessra_revocation::publisher::{Hello, Nonce};
use hessra_revocation::{Epoch, Event, Revision};
use rand::Rng;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::node::{Stream, encoded, event};
use crate::people::{Shown, VERIFIER, VERIFIERS};
use crate::runtime::random;

/// Time for which an impostor keeps a stream.
const STREAM_MAX: Duration = Duration::from_millis(1_500);
/// Identity of impostors, which the policy names nowhere.
const STRANGER: &str = "urn:hessra:stranger";

/// Impostor that follows nodes at random.
pub struct Impostor {
    id: u64,
    cluster: Arc<Cluster>,
}

impl Impostor {
    /// An impostor at this address.
    pub fn new(id: u64, cluster: Arc<Cluster>) -> Self {
        Self { id, cluster }
    }

    /// Works until the world stops it.
    pub async fn work(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(random().gen_range(300..2_000))).await;
            let identity = [None, Some(STRANGER), Some(VERIFIER)][random().gen_range(0..3)];
            let name = match random().gen_range(0..2) {
                0 => format!("v{}", 1_000 + random().gen_range(0..VERIFIERS)),
                _ => format!("ghost-{}", random().gen_range(0..3)),
            };
            let _ = timeout(STREAM_MAX, self.follow(identity, &name)).await;
        }
    }

    async fn follow(&self, identity: Option<&'static str>, name: &str) {
        let node = self.cluster.any_node();
        let Some(life) = node.life() else { return };
        let Stream { said, mut taken } = life.subscribe(self.id, Shown(identity));
        let _ = said
            .send(encoded(VerifierMessage::Hello(greeting(name))))
            .await;
        let is_its_own = identity == Some(VERIFIER) && !name.starts_with("ghost");
        let mut head = Revision(0);
        while let Some(Ok(bytes)) = taken.recv().await {
            if let Ok(Event::Welcome(signed)) = event(&bytes) {
                head = signed.welcome.head;
                self.cluster
                    .oracle()
                    .expect(signed.welcome.counted == is_its_own, || {
                        format!("V1: node {} counts {identity:?} as `{name}`", node.id)
                    });
            }
            let ack = VerifierMessage::Ack(lie(head, is_its_own));
            let _ = said.send(encoded(ack)).await;
        }
    }
}

/// An acknowledgement that is not true. An impostor with a verifier's own identity would raise an alarm by another root, and
/// by right: it claims what was never published.
fn lie(head: Revision, is_its_own: bool) -> Acknowledgement {
    let revision = match random().gen_range(0..3) {
        0 if !is_its_own => head,
        1 => Revision(head.0 + random().gen_range(50_000..60_000)),
        _ => Revision(1_000_000_000),
    };
    Acknowledgement {
        revision,
        state_root: random().r#gen(),
    }
}

fn greeting(name: &str) -> Greeting {
    Greeting {
        hello: Hello {
            nonce: Nonce(random().r#gen()),
            feed_id: None,
            epoch: Epoch(0),
            from: Revision(0),
            log_root: [0; 32],
            bucket_roots: Vec::new(),
            feed_keys: Vec::new(),
        },
        verifier_id: VerifierId::parse(name).expect("letters, digits and a hyphen"),
        capabilities: Vec::new(),
        client: "impostor".to_owned(),
    }
}

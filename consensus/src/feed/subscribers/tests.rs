use hessra_revocation::Epoch;
use hessra_revocation::publisher::{Hello, Nonce};

use super::super::claim::Admits;
use super::super::claim::tests::Shown;
use super::super::seats::Seats;
use super::enrolled::percentile;
use super::*;
use crate::neighbours::Neighbour;
use crate::world::lonely::Lonely;

const OWNER: &str = "urn:hessra:orders";
const POLICY: &str = "[[verifiers]]\nidentity = \"urn:hessra:orders\"\nids = [\"orders*\"]\n";

struct Table {
    subscribers: Subscribers<Lonely>,
    seats: Seats,
    policy: PolicyView,
}

impl Table {
    fn new() -> Self {
        let settings = FeedSettings::default();
        Self {
            subscribers: Subscribers::new(Lonely::new(), &settings),
            seats: Seats::new(&settings),
            policy: PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error:?}")),
        }
    }

    fn connect(&self, id: &str, who: Option<&'static str>) -> Arc<Connection> {
        let greeting = greeting(id);
        let claim: Arc<dyn Claim> = Arc::new(Shown(who));
        let standing = standing(&claim, &greeting, &self.policy, Admits::Anyone).unwrap();
        let seat = self.seats.take(claim.as_ref(), false).unwrap();
        self.subscribers.connect(greeting, (claim, standing), seat)
    }

    fn applied(&self, revision: u64) -> usize {
        let nobody = BTreeMap::new();
        let progress = self
            .subscribers
            .progress(Revision(revision), 1, &nobody, &self.policy);
        progress.applied
    }

    fn enrolled(&self, neighbours: &BTreeMap<u64, Neighbour>) -> Vec<VerifierStatus> {
        self.subscribers.enrolled(1, neighbours, &self.policy)
    }

    fn sweep(&self) {
        let unread = Unread::new(&FeedSettings::default());
        self.subscribers.sweep(&self.policy, &unread);
    }
}

fn greeting(id: &str) -> Greeting {
    Greeting {
        hello: Hello {
            nonce: Nonce([0; 32]),
            feed_id: None,
            epoch: Epoch(0),
            from: Revision(0),
            log_root: [0; 32],
            bucket_roots: Vec::new(),
            feed_keys: Vec::new(),
        },
        verifier_id: VerifierId::parse(id).unwrap(),
        capabilities: Vec::new(),
        client: String::new(),
    }
}

fn ack(revision: u64, root: u8) -> Acknowledgement {
    Acknowledgement {
        revision: Revision(revision),
        state_root: [root; 32],
    }
}

/// Published with the root of sevens, long after every verifier came.
const PUBLISHED: Published = Published::Root([7; 32], Monotonic(u64::MAX));

fn remote(status: VerifierStatus, heard: Monotonic) -> BTreeMap<u64, Neighbour> {
    let neighbour = Neighbour {
        status: hessra_proto::v1::NodeStatus::default(),
        verifiers: Arc::new(vec![status]),
        members: [1, 2].into(),
        membership_index: 0,
        guests: 0,
        heard,
    };
    [(2, neighbour)].into()
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_of_a_verifier_replaces_the_first() {
    let table = Table::new();
    let first = table.connect("orders", Some(OWNER));
    let second = table.connect("orders", Some(OWNER));
    assert_eq!(first.eviction(), Some(Eviction::Replaced));
    assert!(!second.evicted().is_cancelled());
    table.subscribers.disconnect(&first);
    assert_eq!(
        table.subscribers.connected(),
        1,
        "the end of the first does not end the second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_neither_counted_nor_waited_for_nor_believed() {
    let table = Table::new();
    let guest = table.connect("ghost", None);
    assert_eq!(table.subscribers.guests(), 1);
    let believed = table.subscribers.acknowledge(&guest, &ack(5, 8), PUBLISHED);
    assert_eq!(believed, Acknowledged::Fine, "no alarm");
    assert!(!table.subscribers.alarm_is_due(&guest));
    table.subscribers.acknowledge(&guest, &ack(5, 7), PUBLISHED);
    assert_eq!(
        (table.enrolled(&BTreeMap::new()).len(), table.applied(5)),
        (0, 0)
    );
    table.subscribers.disconnect(&guest);
    assert_eq!(table.subscribers.guests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_with_another_root_does_not_count_as_having_applied() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    let told = |root| {
        table
            .subscribers
            .acknowledge(&connection, &ack(5, root), PUBLISHED)
    };
    assert_eq!(told(8), Acknowledged::Differs { alarm: true });
    assert_eq!(told(8), Acknowledged::Differs { alarm: false }, "said once");
    assert_eq!(table.applied(5), 0);
    assert_eq!(told(7), Acknowledged::Fine);
    assert_eq!((table.applied(5), table.applied(6)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_published_cannot_be_acknowledged() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    let told = |revision, published| {
        table
            .subscribers
            .acknowledge(&connection, &ack(revision, 7), published)
    };
    assert_eq!(
        told(1_000_000_000, Published::Never),
        Acknowledged::NeverPublished
    );
    assert_eq!(table.applied(1), 0);
    assert_eq!(told(4, Published::Forgotten), Acknowledged::Fine);
    assert_eq!(table.applied(1), 0, "nothing was compared");
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_gone_is_waited_for_until_it_is_forgotten() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    table.subscribers.disconnect(&connection);
    tokio::time::advance(Duration::from_secs(599)).await;
    table.sweep();
    let gone = table.enrolled(&BTreeMap::new());
    assert_eq!(
        (gone.len(), gone[0].connected, gone[0].fails_closed_in_ms),
        (1, false, 0)
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    table.sweep();
    assert!(table.enrolled(&BTreeMap::new()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_loses_its_seat() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    connection.given(table.subscribers.world.monotonic(), None);
    tokio::time::advance(Duration::from_secs(31)).await;
    table.sweep();
    assert_eq!(connection.eviction(), Some(Eviction::Slow));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_policy_gives_its_id_to_another_identity() {
    let mut table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    table
        .subscribers
        .ask_again(&table.policy, UnixSeconds(0), true);
    assert_eq!(connection.eviction(), None);
    let other = POLICY.replace("urn:hessra:orders", "urn:hessra:other");
    table.policy = PolicyView::parse(&other, "").unwrap_or_else(|error| panic!("{error:?}"));
    table
        .subscribers
        .ask_again(&table.policy, UnixSeconds(0), true);
    assert!(matches!(connection.eviction(), Some(Eviction::Silenced(_))));
    assert!(
        table.enrolled(&BTreeMap::new()).is_empty(),
        "counted no more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_moved_is_counted_once_and_one_of_a_silent_node_is_gone() {
    let table = Table::new();
    let now = table.subscribers.world.monotonic();
    let there = VerifierStatus {
        id: "orders".into(),
        identity: OWNER.into(),
        node: 2,
        connected: true,
        applied: 9,
        ..Default::default()
    };
    assert_eq!(table.enrolled(&remote(there.clone(), now))[0].node, 2);
    let strange = VerifierStatus {
        identity: "urn:hessra:stranger".into(),
        ..there.clone()
    };
    assert!(table.enrolled(&remote(strange, now)).is_empty());
    tokio::time::advance(Duration::from_secs(6)).await;
    let silent = table.enrolled(&remote(there.clone(), now));
    assert_eq!(
        (silent[0].connected, silent[0].fails_closed_in_ms),
        (false, 0)
    );
    let _here = table.connect("orders", Some(OWNER));
    let moved = table.enrolled(&remote(there, now));
    assert_eq!((moved.len(), moved[0].node), (1, 1));
}

#[test]
fn percentiles_are_by_nearest_rank() {
    assert_eq!(percentile(&[], 50), 0.0);
    assert_eq!(percentile(&[4.0], 99), 4.0);
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(
        (percentile(&hundred, 50), percentile(&hundred, 99)),
        (50.0, 99.0)
    );
}

use hessra_proto::convert::process_capability;
use hessra_proto::v1::unheard::Reason;
use hessra_revocation::Epoch;
use hessra_revocation::publisher::{Hello, Nonce};

use super::super::claim::Admits;
use super::super::claim::tests::Shown;
use super::super::seats::Seats;
use super::enrolled::percentile;
use super::outlook::{Progress, Wanted};
use super::*;
use crate::askers::{LastAsked, Lately};
use crate::neighbours::{Departed, Listed, Neighbour, Others};
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
        self.connect_as(greeting(id), who)
    }

    /// A process that says which one it is.
    fn process(&self, id: &str, process: u8) -> Arc<Connection> {
        let capabilities = vec![process_capability([process; 16])];
        let greeting = Greeting {
            capabilities,
            ..greeting(id)
        };
        self.connect_as(greeting, Some(OWNER))
    }

    fn connect_as(&self, greeting: Greeting, who: Option<&'static str>) -> Arc<Connection> {
        let claim: Arc<dyn Claim> = Arc::new(Shown(who));
        let standing = standing(&claim, &greeting, &self.policy, Admits::Anyone).unwrap();
        let seat = self.seats.take(claim.as_ref(), false).unwrap();
        self.subscribers.connect(greeting, (claim, standing), seat)
    }

    fn now(&self) -> Monotonic {
        self.subscribers.world.monotonic()
    }

    fn applied(&self, revision: u64) -> usize {
        self.progress(revision, self.now(), &alone()).applied
    }

    /// Progress of a revision that this node had applied at an instant.
    fn progress(&self, revision: u64, reached: Monotonic, others: &Others) -> Progress {
        self.subscribers.progress(&Wanted {
            revision: Revision(revision),
            reached: Some(reached),
            node: 1,
            others,
            policy: &self.policy,
        })
    }

    fn enrolled(&self, others: &Others) -> Vec<VerifierStatus> {
        self.subscribers.enrolled(1, others, &self.policy)
    }

    fn acknowledges(&self, connection: &Connection, revision: u64) {
        let told = self
            .subscribers
            .acknowledge(connection, &ack(revision, 7), PUBLISHED);
        assert_eq!(told, Acknowledged::Fine);
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

/// A cluster of this node alone, which has run for long.
fn alone() -> Others {
    Others {
        up: Duration::from_secs(3_600),
        ..Others::default()
    }
}

/// A report of another node that has run for long and had applied this revision.
fn report(revision: u64, verifiers: Vec<VerifierStatus>, heard: Monotonic) -> Neighbour {
    let listed = Listed {
        verifiers: Arc::new(verifiers),
        revision,
        up: Duration::from_secs(3_600),
        heard,
        start: None,
    };
    Neighbour {
        status: hessra_proto::v1::NodeStatus::default(),
        members: [1, 2].into(),
        membership_index: 0,
        guests: 0,
        heard,
        listed: Some(listed),
        former: None,
    }
}

/// The members of a cluster of two, the other of which gave this report.
fn beside(report: Option<Neighbour>) -> Others {
    Others {
        members: [(2, report)].into(),
        ..alone()
    }
}

fn remote(status: VerifierStatus, heard: Monotonic) -> Others {
    beside(Some(report(9, vec![status], heard)))
}

/// A verifier at node 2 that is connected and was just given something.
fn there(process: u8, applied: u64) -> VerifierStatus {
    VerifierStatus {
        id: "orders".into(),
        identity: OWNER.into(),
        node: 2,
        connected: true,
        applied,
        may_permit_for_ms: PERMITS_FOR_MS,
        process: vec![process; 16],
        ..Default::default()
    }
}

const PERMITS_FOR_MS: i64 = 5_260;

async fn pass(milliseconds: i64) {
    tokio::time::advance(Duration::from_millis(milliseconds.unsigned_abs())).await;
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
    assert_eq!((table.enrolled(&alone()).len(), table.applied(5)), (0, 0));
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
    let gone = table.enrolled(&alone());
    assert_eq!(
        (gone.len(), gone[0].connected, gone[0].fails_closed_in_ms),
        (1, false, 0)
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    table.sweep();
    assert!(table.enrolled(&alone()).is_empty());
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
    assert!(table.enrolled(&alone()).is_empty(), "counted no more");
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

#[tokio::test(start_paused = true)]
async fn one_that_vanished_is_waited_for_until_it_must_have_failed_closed_and_no_longer() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    connection.confirmed(Some(table.now()));
    table.subscribers.disconnect(&connection);
    let reached = table.now();
    pass(PERMITS_FOR_MS - 1).await;
    let open = table.progress(5, reached, &alone());
    let wall = table.subscribers.world.wall().0;
    assert_eq!((open.laggards.len(), open.failed_closed), (1, 0));
    assert_eq!(open.laggards[0].may_permit_until_ms, wall + 1);
    pass(1).await;
    let closed = table.progress(5, reached, &alone());
    assert!(closed.is_contained());
    assert_eq!(
        (closed.enrolled, closed.applied, closed.failed_closed),
        (1, 0, 1)
    );
    assert_eq!(closed.closed[0].may_permit_until_ms, wall + 1, "since when");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_frozen_is_waited_for_until_what_it_was_given_before_the_revision_is_too_old() {
    let table = Table::new();
    let frozen = table.connect("orders", Some(OWNER));
    let reached = table.now();
    for _ in 0..53 {
        assert_eq!(table.progress(5, reached, &alone()).laggards.len(), 1);
        pass(100).await;
        // Its connection takes more and more, and behind the revision.
        frozen.confirmed(Some(table.now()));
    }
    let closed = table.progress(5, reached, &alone());
    assert!(
        closed.is_contained() && closed.closed[0].connected,
        "{closed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_has_said_nothing_for_longer_than_a_verifier_is_remembered_counts_while_it_is_connected()
 {
    let mut table = Table::new();
    table.subscribers.settings.forget_after = Duration::from_secs(10);
    let silent_for = Duration::from_secs(3_600);
    let silent = VerifierStatus {
        age_ms: millis(silent_for),
        ..there(1, 4)
    };
    let reached = table.now();
    let others = remote(silent, reached);
    let open = table.progress(5, reached, &others);
    assert_eq!((open.enrolled, open.laggards.len()), (1, 1));
    assert_eq!(table.enrolled(&others).len(), 1, "and it is shown");
    let here = table.connect("orders", Some(OWNER));
    pass(3_600_000).await;
    table.sweep();
    let reached = table.now();
    assert_eq!(table.progress(5, reached, &alone()).laggards.len(), 1);
    drop(here);
}

#[tokio::test(start_paused = true)]
async fn the_verifiers_of_a_member_that_is_removed_count_until_they_must_have_failed_closed() {
    let table = Table::new();
    let removed = table.now();
    let departed = Departed {
        since: removed,
        last: Some(report(4, vec![there(1, 4)], removed)),
    };
    let others = Others {
        departed: [(2, departed)].into(),
        ..alone()
    };
    let at_once = table.progress(5, removed, &others);
    assert!(!at_once.is_contained());
    assert_eq!(at_once.laggards[0].id, "orders");
    assert!(at_once.laggards[0].node_removed && !at_once.laggards[0].connected);
    assert_eq!(
        at_once.unheard[0].reason(),
        Reason::Removed,
        "it may have more"
    );
    pass(PERMITS_FOR_MS).await;
    let later = table.progress(5, removed, &others);
    assert!(later.is_contained());
    assert_eq!((later.enrolled, later.failed_closed), (1, 1));
    // A revision that is made long after its removal waits for nobody.
    assert!(table.progress(6, table.now(), &others).is_contained());
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_counts_for_as_long_as_what_the_leader_confirmed_it_last() {
    let table = Table::new();
    let asked_last = table.now();
    let report = report(4, vec![there(1, 4)], asked_last);
    pass(PERMITS_FOR_MS - 1_000).await;
    let reached = table.now();
    let leader_says = |confirmed: Monotonic, ago: u64| {
        let lately = Lately {
            leads_for: Duration::from_secs(3_600),
            asked: [(2, Duration::from_millis(ago))].into(),
        };
        Others {
            asked: Some(LastAsked::new(confirmed, &lately, table.now())),
            ..beside(Some(report.clone()))
        }
    };
    let ago = || table.now().since(asked_last).as_millis() as u64;
    let open = table.progress(5, reached, &leader_says(reached, ago()));
    assert_eq!(open.laggards[0].may_permit_for_ms, 1_000);
    assert_eq!(open.unheard[0].node, 2);
    pass(1_000).await;
    assert!(
        table
            .progress(5, reached, &leader_says(reached, ago()))
            .is_contained()
    );
    // One that was proved before the revision says nothing of what was confirmed since.
    let before = Monotonic(reached.0 - 1);
    assert!(
        !table
            .progress(5, reached, &leader_says(before, ago()))
            .is_contained()
    );
    // It asks again, and is given what it asks for.
    assert!(
        !table
            .progress(5, reached, &leader_says(reached, 10))
            .is_contained()
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_the_only_one_before_every_node_has_said_who_follows_it() {
    let table = Table::new();
    let reached = table.now();
    let reason = |others: &Others| {
        let progress = table.progress(5, reached, others);
        assert_eq!(
            (progress.enrolled, progress.is_contained()),
            (0, progress.unheard.is_empty())
        );
        progress
            .unheard
            .first()
            .map(|unheard| (unheard.node, unheard.reason()))
    };
    assert_eq!(reason(&beside(None)), Some((2, Reason::Silent)));
    let behind = report(4, Vec::new(), reached);
    assert_eq!(reason(&beside(Some(behind))), Some((2, Reason::Behind)));
    let whole = report(5, Vec::new(), reached);
    assert_eq!(reason(&beside(Some(whole.clone()))), None);
    let mut started = whole.clone();
    started.listed.as_mut().unwrap().up = Duration::from_secs(1);
    assert_eq!(
        reason(&beside(Some(started.clone()))),
        Some((2, Reason::Started))
    );
    started.former = whole.listed.clone();
    assert_eq!(
        reason(&beside(Some(started))),
        None,
        "its process before had said it"
    );
    let own = Others {
        up: Duration::from_secs(1),
        ..beside(Some(whole))
    };
    assert_eq!(reason(&own), Some((1, Reason::Started)));
    pass(PERMITS_FOR_MS).await;
    assert_eq!(
        reason(&beside(None)),
        None,
        "nobody may permit without it any more"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_with_one_id_the_worse_one_counts() {
    let table = Table::new();
    let here = table.process("orders", 1);
    table.acknowledges(&here, 5);
    let reached = table.now();
    let others = remote(there(2, 4), reached);
    let two = table.progress(5, reached, &others);
    assert_eq!((two.enrolled, two.applied), (1, 0));
    assert_eq!((two.laggards[0].node, two.laggards[0].processes), (2, 2));
    assert_eq!(table.enrolled(&others)[0].node, 2, "the worse one is shown");
    pass(PERMITS_FOR_MS).await;
    let others = remote(there(2, 4), table.now());
    let closed = table.progress(5, reached, &others);
    assert_eq!((closed.applied, closed.failed_closed), (1, 0));
    assert_eq!(closed.closed[0].node, 2, "the one that is frozen is named");
}

#[tokio::test(start_paused = true)]
async fn one_process_that_moved_is_not_two() {
    let table = Table::new();
    let here = table.process("orders", 1);
    table.acknowledges(&here, 5);
    let moved = remote(there(1, 4), table.now());
    let progress = table.progress(5, table.now(), &moved);
    assert_eq!((progress.applied, progress.is_contained()), (1, true));
    let again = table.process("orders", 1);
    assert_eq!(table.applied(5), 1, "what it has acknowledged it holds");
    table.acknowledges(&again, 6);
    assert_eq!(table.applied(6), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_stream_was_replaced_by_another_one_counts_until_it_must_have_failed_closed()
 {
    let table = Table::new();
    let first = table.process("orders", 1);
    first.confirmed(Some(table.now()));
    let second = table.process("orders", 2);
    assert_eq!(first.eviction(), Some(Eviction::Replaced));
    table.acknowledges(&second, 5);
    let reached = table.now();
    table.sweep();
    assert_eq!(table.progress(5, reached, &alone()).laggards.len(), 1);
    pass(PERMITS_FOR_MS).await;
    assert!(table.progress(5, reached, &alone()).is_contained());
    pass(1).await;
    table.sweep();
    assert_eq!(table.subscribers.local(1).len(), 1, "and is forgotten then");
}

#[tokio::test(start_paused = true)]
async fn streams_without_end_under_one_id_cost_little_and_the_worst_of_them_counts() {
    let table = Table::new();
    for process in 0..100 {
        let connection = table.process("orders", process);
        table.acknowledges(&connection, if process == 0 { 4 } else { 5 });
    }
    assert_eq!(table.subscribers.local(1).len(), PROCESSES_MAX + 1);
    let progress = table.progress(5, table.now(), &alone());
    assert_eq!(
        (progress.laggards.len(), progress.laggards[0].applied),
        (1, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_was_refused_counts_as_permitting_until_what_it_came_with_is_too_old() {
    for (reason, refused) in [
        (ResetReason::Ahead, Refused::Ahead),
        (ResetReason::Fork, Refused::Fork),
    ] {
        let table = Table::new();
        let came = table.now();
        let connection = table.process("orders", 1);
        table.subscribers.refuse(&connection, reason);
        table.subscribers.disconnect(&connection);
        let open = table.progress(5, came, &alone());
        assert_eq!(
            (open.laggards.len(), open.laggards[0].refused()),
            (1, refused)
        );
        pass(PERMITS_FOR_MS / 2).await;
        // It tries again, and has been given nothing since.
        let connection = table.process("orders", 1);
        table.subscribers.refuse(&connection, reason);
        pass(PERMITS_FOR_MS / 2).await;
        let closed = table.progress(5, came, &alone());
        assert!(closed.is_contained(), "{closed:?}");
        assert_eq!(closed.closed[0].refused(), refused);
    }
}

#[tokio::test(start_paused = true)]
async fn one_with_another_history_counts_for_as_long_as_its_node_gives_it_more() {
    let table = Table::new();
    let connection = table.process("orders", 1);
    table
        .subscribers
        .acknowledge(&connection, &ack(5, 8), PUBLISHED);
    let reached = table.now();
    pass(60_000).await;
    connection.confirmed(Some(table.now()));
    let open = table.progress(5, reached, &alone());
    assert_eq!(
        (open.applied, open.laggards.len()),
        (0, 1),
        "no revision says anything about it"
    );
    table.subscribers.disconnect(&connection);
    pass(PERMITS_FOR_MS).await;
    assert!(table.progress(5, reached, &alone()).is_contained());
}

#[tokio::test(start_paused = true)]
async fn one_that_the_policy_names_no_more_counts_only_while_it_may_permit() {
    let mut table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    let reached = table.now();
    let other = POLICY.replace("urn:hessra:orders", "urn:hessra:other");
    table.policy = PolicyView::parse(&other, "").unwrap_or_else(|error| panic!("{error:?}"));
    table.subscribers.disconnect(&connection);
    table.sweep();
    let open = table.progress(5, reached, &alone());
    assert!(open.laggards[0].not_in_policy);
    pass(PERMITS_FOR_MS).await;
    let closed = table.progress(5, reached, &alone());
    assert_eq!((closed.enrolled, closed.closed.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn of_a_revision_that_this_node_has_not_applied_nobody_is_called_closed() {
    let table = Table::new();
    let connection = table.connect("orders", Some(OWNER));
    table.subscribers.disconnect(&connection);
    pass(60_000).await;
    let progress = table.subscribers.progress(&Wanted {
        revision: Revision(5),
        reached: None,
        node: 1,
        others: &beside(None),
        policy: &table.policy,
    });
    assert_eq!(progress.laggards.len() + progress.failed_closed, 1);
    assert_eq!(
        (progress.unheard[0].node, progress.unheard[0].until_ms),
        (2, 0)
    );
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

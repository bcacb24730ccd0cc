//! Starts of members, and ids that are used once.

use hessra_state::{
    Applied, Author, Command, Duty, Incarnation, Line, MemberChange, Misfit, RefusalCode, Stamped,
    Start,
};

use crate::sample::{Checked, init, stamped};

/// A cluster, and the number of the next request.
struct Cluster {
    checked: Checked,
    request: u64,
}

impl Cluster {
    fn begun() -> Self {
        let mut cluster = Self {
            checked: Checked::default(),
            request: 0,
        };
        cluster.apply(init());
        cluster
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.request += 1;
        let stamped = stamped(self.request, self.request, command);
        self.checked.apply(&stamped)
    }

    fn start(&mut self, id: u64, start: Start) -> Applied {
        self.request += 1;
        let command = Command::Started(start);
        let duty = Duty::Presence;
        self.checked.apply(&Stamped {
            author: Author::Node { id, duty },
            ..stamped(self.request, self.request, command)
        })
    }

    fn add(&mut self, id: u64) -> Applied {
        self.apply(Command::Members(MemberChange::Add {
            id,
            peer_address: "127.0.0.1:1".to_owned(),
            public_address: "127.0.0.1:2".to_owned(),
        }))
    }
}

fn start(store: u8, count: u64, nonce: u8) -> Start {
    Start {
        incarnation: Incarnation([store; 16]),
        count,
        nonce: [nonce; 16],
        line: line(count, nonce),
        after: line(count.saturating_sub(1), nonce - 1),
        earlier: [0; 8],
    }
}

fn line(number: u64, nonce: u8) -> Line {
    Line {
        number,
        nonce: [nonce; 16],
    }
}

fn code(applied: Applied) -> RefusalCode {
    match applied {
        Applied::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_later_start_of_the_same_store_is_recorded_and_no_other() {
    let mut cluster = Cluster::begun();
    assert_eq!(cluster.start(2, start(7, 1, 1)), Applied::StartRecorded);
    assert_eq!(
        cluster.start(2, start(7, 1, 1)),
        Applied::StartRecorded,
        "again"
    );
    assert_eq!(cluster.start(2, start(7, 5, 2)), Applied::StartRecorded);
    for (shown, refused) in [
        (start(8, 6, 3), RefusalCode::OtherStore),
        (start(7, 4, 3), RefusalCode::SetBack),
        (start(7, 5, 3), RefusalCode::Doubled),
        (start(7, 0, 3), RefusalCode::Invalid),
    ] {
        assert_eq!(code(cluster.start(2, shown)), refused, "{shown:?}");
    }
    assert_eq!(cluster.start(3, start(8, 1, 1)), Applied::StartRecorded);
    let known = cluster.checked.state.starts().find(2);
    assert_eq!(known, Some(&start(7, 5, 2)));
    cluster.checked.check();
}

#[test]
fn a_copy_that_is_started_until_its_count_is_higher_does_not_follow() {
    let mut cluster = Cluster::begun();
    let first = Start::first([[7; 16], [1; 16]]);
    assert_eq!(cluster.start(2, first), Applied::StartRecorded);
    let mut copy = first;
    let second = first.next([3; 16]);
    assert_eq!(cluster.start(2, second), Applied::StartRecorded);
    let own_line = second.in_its_own_line().expect("a line of its own");
    assert_eq!(cluster.start(2, own_line), Applied::StartRecorded);
    assert_eq!(own_line.in_its_own_line(), None);
    for nonce in 4..10 {
        copy = copy.next([nonce; 16]);
        assert!(matches!(cluster.start(2, copy), Applied::Refused(_)));
    }
    // The store itself may start as often as it likes before it is heard.
    let mut own = own_line;
    for nonce in 20..30 {
        own = own.next([nonce; 16]);
    }
    assert_eq!(cluster.start(2, own), Applied::StartRecorded);
    let later = own.in_its_own_line().expect("a line of its own");
    assert_eq!(cluster.start(2, later), Applied::StartRecorded);
    // A member that is behind knows what was recorded in lines that are over.
    let latest = later.next([50; 16]);
    for known in [first, second, own_line, own, later] {
        assert_eq!(known.check(&latest), Ok(()));
    }
    for _ in 0..100 {
        copy = copy.next([99; 16]);
    }
    assert_eq!(later.check(&copy), Err(Misfit::SetBack));
    cluster.checked.check();
}

#[test]
fn a_copy_that_is_put_back_before_the_store_has_a_line_of_its_own_does_not_follow() {
    let mut cluster = Cluster::begun();
    let first = Start::first([[7; 16], [1; 16]]);
    assert_eq!(cluster.start(2, first), Applied::StartRecorded);
    let second = first.next([2; 16]);
    assert_eq!(cluster.start(2, second), Applied::StartRecorded);
    // The copy is of the time between the two. It is in the line that the store is in still.
    let mut copy = first;
    for nonce in 10..18 {
        copy = copy.next([nonce; 16]);
        assert!(matches!(cluster.start(2, copy), Applied::Refused(_)));
    }
    let unheard = second.next([3; 16]);
    assert_eq!(
        cluster.start(2, unheard.next([4; 16])),
        Applied::StartRecorded
    );
    cluster.checked.check();
}

#[test]
fn an_id_that_a_node_ever_had_is_not_given_again() {
    let mut cluster = Cluster::begun();
    assert_eq!(cluster.add(4), Applied::MembersPermitted);
    assert_eq!(
        cluster.add(4),
        Applied::MembersPermitted,
        "it never started"
    );
    cluster.start(4, start(9, 1, 1));
    cluster.apply(Command::Members(MemberChange::Remove(4)));
    assert_eq!(code(cluster.add(4)), RefusalCode::Conflict);
    assert_eq!(cluster.add(5), Applied::MembersPermitted);
    cluster.checked.check();
}

#[test]
fn the_id_of_a_node_that_was_removed_before_it_was_recorded_is_used_up() {
    let mut cluster = Cluster::begun();
    cluster.apply(Command::Members(MemberChange::Remove(3)));
    assert_eq!(code(cluster.add(3)), RefusalCode::Conflict);
    // Where the removal did not come about, its start is recorded as that of any member.
    assert_eq!(cluster.start(3, start(7, 1, 1)), Applied::StartRecorded);
    cluster.checked.check();
}

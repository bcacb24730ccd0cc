//! Starts of members, and ids that are used once.

use hessra_state::{
    Applied, Author, Command, Duty, Incarnation, MemberChange, RefusalCode, Stamped, Start,
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

//! Heads of audit chains, known to every member.

use ed25519_dalek::{Signer as _, SigningKey};
use hessra_revocation::FeedId;
use hessra_state::limits::WITNESSED_MAX;
use hessra_state::{
    Applied, ChainHead, ChainName, Command, Machine, Record, RefusalCode, Witness, Witnessed,
};

use crate::sample::{Anyone, Checked, init, stamped};

/// A node that states heads of its chain.
struct Node {
    id: u64,
    key: SigningKey,
    chain: [u8; 16],
}

impl Node {
    fn new(id: u64) -> Self {
        Self {
            id,
            key: SigningKey::from_bytes(&[id as u8; 32]),
            chain: [id as u8; 16],
        }
    }

    fn name(&self) -> ChainName {
        ChainName {
            node: self.id,
            chain: "changes".to_owned(),
        }
    }

    fn head(&self, seq: u64, hash: u8) -> ChainHead {
        ChainHead {
            id: self.chain,
            seq,
            hash: [hash; 32],
        }
    }

    fn witness(&self, cluster: FeedId, seq: u64, hash: u8) -> Witness {
        let head = self.head(seq, hash);
        let statement = Witness::statement(&cluster, &self.name(), &head);
        Witness {
            name: self.name(),
            head,
            key: self.key.verifying_key().to_bytes(),
            signature: self.key.sign(&statement).to_bytes(),
        }
    }
}

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
        self.checked
            .apply(&stamped(self.request, self.request, command))
    }

    fn id(&self) -> FeedId {
        self.machine().view().feed_id
    }

    fn machine(&self) -> &Machine {
        &self.checked.state
    }

    fn state(&mut self, node: &Node, seq: u64, hash: u8) -> Applied {
        let witness = node.witness(self.id(), seq, hash);
        self.apply(Command::Witness(witness))
    }

    fn known(&self, node: &Node) -> Option<&Witnessed> {
        self.machine().witnessed().find(&node.name())
    }
}

fn code(applied: Applied) -> RefusalCode {
    match applied {
        Applied::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_newest_head_of_each_chain_is_known() {
    let (mut cluster, two, three) = (Cluster::begun(), Node::new(2), Node::new(3));
    assert_eq!(cluster.state(&two, 5, 1), Applied::Witnessed);
    assert_eq!(cluster.state(&three, 7, 2), Applied::Witnessed);
    assert_eq!(cluster.state(&two, 9, 3), Applied::Witnessed);
    assert_eq!(cluster.known(&two).unwrap().head, two.head(9, 3));
    assert_eq!(cluster.known(&three).unwrap().head, three.head(7, 2));
    cluster.checked.check();
}

#[test]
fn a_head_that_went_back_or_was_rewritten_is_refused_and_changes_nothing() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    cluster.state(&two, 9, 3);
    assert_eq!(code(cluster.state(&two, 8, 1)), RefusalCode::Contradicted);
    assert_eq!(code(cluster.state(&two, 9, 4)), RefusalCode::Contradicted);
    assert_eq!(
        cluster.state(&two, 9, 3),
        Applied::Witnessed,
        "the same again"
    );
    assert_eq!(cluster.known(&two).unwrap().head, two.head(9, 3));
    cluster.checked.check();
}

#[test]
fn the_first_key_of_a_node_is_its_key_for_ever() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    cluster.state(&two, 9, 3);
    let other = Node {
        key: SigningKey::from_bytes(&[77; 32]),
        ..Node::new(2)
    };
    assert_eq!(
        code(cluster.state(&other, 10, 4)),
        RefusalCode::Contradicted
    );
    cluster.checked.check();
}

#[test]
fn nobody_states_a_head_for_another_node_or_another_cluster() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    let mut forged = two.witness(cluster.id(), 9, 3);
    forged.signature = Node::new(3).witness(cluster.id(), 9, 3).signature;
    let refused = cluster.apply(Command::Witness(forged));
    assert_eq!(code(refused), RefusalCode::Invalid);
    let elsewhere = two.witness(FeedId([99; 16]), 9, 3);
    let refused = cluster.apply(Command::Witness(elsewhere));
    assert_eq!(code(refused), RefusalCode::Invalid);
    let mut moved = two.witness(cluster.id(), 9, 3);
    moved.name.chain = "refusals".to_owned();
    let refused = cluster.apply(Command::Witness(moved));
    assert_eq!(code(refused), RefusalCode::Invalid);
    assert!(cluster.machine().witnessed().is_empty());
}

#[test]
fn a_chain_begins_anew_only_after_its_loss_was_accepted_and_the_former_head_stays_known() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    let accept = |node| Command::AcceptAuditLoss {
        node,
        ticket: String::new(),
    };
    assert_eq!(code(cluster.apply(accept(2))), RefusalCode::NotFound);
    cluster.state(&two, 9, 3);
    let anew = Node {
        key: SigningKey::from_bytes(&[77; 32]),
        chain: [78; 16],
        ..Node::new(2)
    };
    assert_eq!(code(cluster.state(&anew, 1, 4)), RefusalCode::Contradicted);
    assert_eq!(code(cluster.apply(accept(3))), RefusalCode::NotFound);
    let accepted = cluster.apply(accept(2));
    assert_eq!(accepted, Applied::AuditLossAccepted { chains: 1 });
    assert_eq!(cluster.state(&anew, 1, 4), Applied::Witnessed);
    let known = cluster.known(&anew).unwrap();
    assert_eq!(
        (known.head, known.former),
        (anew.head(1, 4), Some(two.head(9, 3)))
    );
    assert!(!known.loss_accepted, "once");
    let back = cluster.state(&two, 10, 5);
    assert_eq!(code(back), RefusalCode::Contradicted);
    cluster.checked.check();
}

#[test]
fn a_chain_that_was_given_up_and_goes_on_is_no_longer_given_up() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    cluster.state(&two, 9, 3);
    cluster.apply(Command::AcceptAuditLoss {
        node: 2,
        ticket: String::new(),
    });
    assert_eq!(cluster.state(&two, 9, 3), Applied::Witnessed);
    assert!(!cluster.known(&two).unwrap().loss_accepted);
}

#[test]
fn the_chains_are_bounded() {
    let mut machine = Machine::new();
    machine.apply(&stamped(1, 1, init()), &Anyone);
    let cluster = machine.view().feed_id;
    let mut number = 0_u64;
    let mut state = |machine: &mut Machine, node: &Node| {
        number += 1;
        let witness = Command::Witness(node.witness(cluster, 1, 1));
        machine.apply(&stamped(2, number + 1, witness), &Anyone)
    };
    for id in 0..WITNESSED_MAX as u64 {
        assert_eq!(state(&mut machine, &Node::new(id)), Applied::Witnessed);
    }
    let refused = state(&mut machine, &Node::new(100_000));
    assert_eq!(code(refused), RefusalCode::Limit);
}

#[test]
fn a_snapshot_that_lost_a_chain_is_refused() {
    let (mut cluster, two) = (Cluster::begun(), Node::new(2));
    cluster.state(&two, 9, 3);
    let records = cluster.machine().records();
    let without = records.filter(|record| !matches!(record, Record::Witnessed(_)));
    assert!(Machine::from_records(without).is_err());
}

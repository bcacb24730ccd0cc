//! Chains that were damaged, and what the walk says of them.

use ed25519_dalek::{Signer as _, SigningKey};
use hessra_audit::checkpoint::field;
use hessra_audit::marks::field as mark;
use hessra_audit::{
    BadLine, Chain, ChainId, CheckpointKey, Event, Fault, Head, Known, Marks, Outcome, Record,
    Statement, Walk, Walked, Wrong, open, seal,
};

use super::{NEW_YEAR, lines, record};

fn walk(lines: &[String], known: Option<Head>) -> Result<Walked, Fault> {
    let known = Known {
        heads: known.into_iter().collect(),
        ..Known::default()
    };
    walk_with(lines, known)
}

fn walk_with(lines: &[String], known: Known) -> Result<Walked, Fault> {
    let mut walk = Walk::new(known);
    for line in lines {
        walk.line(line)?;
    }
    walk.finish()
}

fn head_of(line: &str) -> Head {
    open(line).expect("a right line").head
}

#[test]
fn a_chain_that_nobody_touched_is_right_from_its_first_record_to_its_last() {
    let lines = lines(Head::START, 20);
    let walked = walk(&lines, Some(head_of(&lines[19]))).unwrap();
    assert_eq!((walked.records, walked.first, walked.last), (20, 1, 20));
    assert_eq!(walked.hash, head_of(&lines[19]).hex());
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let lines = lines(Head::START, 3);
    for at in 0..lines[1].len() {
        let mut bytes = lines[1].clone().into_bytes();
        bytes[at] ^= 1;
        let mut damaged = lines.clone();
        damaged[1] = String::from_utf8_lossy(&bytes).into_owned();
        let fault = walk(&damaged, None).unwrap_err();
        assert_eq!(fault.seq, 2, "byte {at}: {fault}");
    }
}

#[test]
fn a_removed_an_added_and_a_moved_line_are_named() {
    let whole = lines(Head::START, 5);
    let mut removed = whole.clone();
    removed.remove(2);
    let fault = walk(&removed, None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (3, Wrong::Sequence { found: 4 }));
    let mut twice = whole.clone();
    twice.insert(2, whole[1].clone());
    let fault = walk(&twice, None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (3, Wrong::Sequence { found: 2 }));
    let mut moved = whole.clone();
    moved.swap(1, 2);
    let fault = walk(&moved, None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (2, Wrong::Sequence { found: 3 }));
}

#[test]
fn a_record_that_was_replaced_with_a_right_hash_breaks_the_chain_at_the_next() {
    let mut lines = lines(Head::START, 4);
    let mut other = record(2);
    other.outcome = Outcome::Success;
    lines[1] = seal(&mut other, &head_of(&lines[0])).0;
    let fault = walk(&lines, None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (3, Wrong::Prev));
}

#[test]
fn a_cut_last_line_and_a_missing_end_are_named() {
    let whole = lines(Head::START, 4);
    let mut cut = whole.clone();
    cut[3].truncate(100);
    let fault = walk(&cut, None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::Line(BadLine::NoHash)));
    let fault = walk(&whole[..3], Some(head_of(&whole[3]))).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::Missing));
}

#[test]
fn a_chain_that_was_rewritten_does_not_have_the_head_that_is_known_of_it() {
    let lines = lines(Head::START, 4);
    let known = Head {
        seq: 3,
        hash: [7; 32],
    };
    let fault = walk(&lines, Some(known)).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (3, Wrong::Known));
}

#[test]
fn a_missing_beginning_needs_a_record_of_retention_that_names_it() {
    let whole = lines(Head::START, 6);
    let fault = walk(&whole[2..], None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (2, Wrong::Beginning));
    let deleted = head_of(&whole[1]);
    let says = |through: u64| {
        let record = Record::new(Event::AuditPruned, Outcome::Success, NEW_YEAR)
            .with(mark::THROUGH, through)
            .with(mark::HASH, deleted.hex());
        let mut record = record;
        record.node = 7;
        record.chain = Chain::Refusals;
        let mut lines = whole[2..].to_vec();
        lines.push(seal(&mut record, &head_of(&whole[5])).0);
        lines
    };
    assert!(walk(&says(2), None).is_ok());
    let fault = walk(&says(1), None).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (2, Wrong::Beginning));
}

/// The id of the chain that checkpoints sign here.
const CHAIN: ChainId = ChainId([5; 16]);

/// Keys of a checkpoint: the cluster's and the node's.
struct Keys {
    cluster: SigningKey,
    node: SigningKey,
}

impl Keys {
    fn new() -> Self {
        Self {
            cluster: SigningKey::from_bytes(&[1; 32]),
            node: SigningKey::from_bytes(&[2; 32]),
        }
    }

    fn known(&self) -> Known {
        Known {
            keys: vec![CheckpointKey {
                id: 3,
                public_key: self.cluster.verifying_key().to_bytes(),
            }],
            node_key: Some(self.node.verifying_key().to_bytes()),
            ..Known::default()
        }
    }

    /// A checkpoint after `head` that says that the chain is at `signs`.
    fn checkpoint(&self, head: &Head, signs: &Head) -> (String, Head) {
        let record = Record::new(Event::AuditCheckpoint, Outcome::Success, NEW_YEAR);
        let statement = Statement {
            cluster: "00ff",
            node: 7,
            chain: Chain::Refusals,
            chain_id: CHAIN,
            head: signs,
            ts: &record.ts,
        };
        let statement = statement.bytes();
        let sign =
            |key: &SigningKey| data_encoding::HEXLOWER.encode(&key.sign(&statement).to_bytes());
        let node = self.node.verifying_key().to_bytes();
        let marks = Marks {
            chain_id: Some(CHAIN),
            ..Marks::default()
        };
        let mut record = marks
            .write(record)
            .with(field::CLUSTER, "00ff")
            .with(field::KEY, 3)
            .with(field::SIGNATURE, sign(&self.cluster))
            .with(field::NODE_KEY, data_encoding::HEXLOWER.encode(&node))
            .with(field::NODE_SIGNATURE, sign(&self.node));
        record.node = 7;
        record.chain = Chain::Refusals;
        record.actor.auth = "node".to_owned();
        seal(&mut record, head)
    }
}

/// Three records and a checkpoint of them.
fn with_checkpoint(keys: &Keys) -> Vec<String> {
    let mut lines = lines(Head::START, 3);
    let head = head_of(&lines[2]);
    lines.push(keys.checkpoint(&head, &head).0);
    lines
}

#[test]
fn a_checkpoint_is_believed_when_the_known_keys_signed_this_chain() {
    let keys = Keys::new();
    let lines = with_checkpoint(&keys);
    let walked = walk_with(&lines, keys.known()).unwrap();
    assert_eq!((walked.signed, walked.signed_through), (1, 3));
    assert_eq!(walked.attested_through, 3);
    let walked = walk_with(&lines, Known::default()).unwrap();
    assert_eq!((walked.signed, walked.unknown_keys), (0, vec![3]));
}

#[test]
fn a_checkpoint_that_signs_another_chain_is_a_fault() {
    let keys = Keys::new();
    let mut lines = lines(Head::START, 3);
    let head = head_of(&lines[2]);
    let other = Head {
        hash: [9; 32],
        ..head
    };
    lines.push(keys.checkpoint(&head, &other).0);
    let fault = walk_with(&lines, keys.known()).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::NodeSignature));
    let known = Known {
        node_key: None,
        ..keys.known()
    };
    let fault = walk_with(&lines, known).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::Signature { key: 3 }));
}

#[test]
fn a_chain_that_was_signed_anew_with_another_key_is_a_fault() {
    let theirs = Keys {
        node: SigningKey::from_bytes(&[9; 32]),
        ..Keys::new()
    };
    let lines = with_checkpoint(&theirs);
    assert!(walk_with(&lines, Known::default()).is_ok());
    let fault = walk_with(&lines, Keys::new().known()).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::NodeSignature));
}

#[test]
fn one_chain_has_one_key_from_its_first_checkpoint_on() {
    let mut lines = with_checkpoint(&Keys::new());
    let theirs = Keys {
        node: SigningKey::from_bytes(&[9; 32]),
        ..Keys::new()
    };
    let head = head_of(&lines[3]);
    lines.push(theirs.checkpoint(&head, &head).0);
    let fault = walk_with(&lines, Known::default()).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (5, Wrong::NodeSignature));
}

#[test]
fn a_chain_that_began_anew_is_not_the_one_that_is_known() {
    let keys = Keys::new();
    let known = Known {
        chain_id: Some(ChainId([6; 16])),
        ..keys.known()
    };
    let fault = walk_with(&with_checkpoint(&keys), known).unwrap_err();
    assert_eq!((fault.seq, fault.wrong), (4, Wrong::ChainId));
}

#[test]
fn a_record_of_the_other_chain_is_a_fault() {
    let mut lines = lines(Head::START, 2);
    let mut other = record(3);
    other.chain = Chain::Changes;
    lines.push(seal(&mut other, &head_of(&lines[1])).0);
    let fault = walk(&lines, None).unwrap_err();
    let (expected, found) = (Chain::Refusals, Chain::Changes);
    assert_eq!(
        (fault.seq, fault.wrong),
        (3, Wrong::Chain { expected, found })
    );
}

#[test]
fn what_was_deleted_and_never_exported_is_named() {
    let whole = lines(Head::START, 6);
    let says = |exported: u64| {
        let marks = Marks {
            chain_id: Some(CHAIN),
            exported,
            pruned: 2,
        };
        let record = Record::new(Event::AuditPruned, Outcome::Success, NEW_YEAR)
            .with(mark::THROUGH, 2)
            .with(mark::HASH, head_of(&whole[1]).hex());
        let mut record = marks.write(record);
        record.node = 7;
        record.chain = Chain::Refusals;
        let mut lines = whole[2..].to_vec();
        lines.push(seal(&mut record, &head_of(&whole[5])).0);
        walk(&lines, None).unwrap()
    };
    assert_eq!(says(2).lost, None);
    assert_eq!(says(1).lost, Some((2, 2)));
    assert_eq!((says(0).lost, says(0).pruned_through), (Some((1, 2)), 2));
}

#[test]
fn the_hash_of_a_line_is_fixed_for_ever() {
    let (line, head) = seal(&mut record(1), &Head::START);
    assert_eq!(open(&line).unwrap().record.message, "request 1");
    assert_eq!(
        line,
        format!(
            "{{\"v\":1,\"seq\":1,\"id\":\"n7-1\",\"ts\":\"2026-01-01T00:00:00.001Z\",\"node\":7,\"chain\":\"refusals\",\"revision\":0,\
             \"event\":\"authz.denied\",\"outcome\":\"denied\",\"reason\":\"not_permitted\",\
             \"actor\":{{\"subject\":\"urn:hessra:alice\",\"auth\":\"bearer\"}},\"action\":\"\",\
             \"target\":{{\"type\":\"\",\"resource\":\"api\",\"operation\":\"write\",\"token_ids\":[\"{}\"]}},\
             \"message\":\"request 1\",\"prev\":\"{}\",\"hash\":\"{}\"}}",
            "ab".repeat(64),
            "0".repeat(64),
            head.hex()
        )
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_caller_writes_is_one_line_that_reads_back(text in "\\PC*|[\\x00-\\x1f\"\\\\]*", count in 1_u64..5) {
            let mut record = record(count);
            record.message.clone_from(&text);
            record.target.resource.clone_from(&text);
            record.actor.subject = text;
            let (line, head) = seal(&mut record, &Head::START);
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert_eq!(open(&line).unwrap().head, head);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*") {
            let _ = open(&text);
        }
    }
}

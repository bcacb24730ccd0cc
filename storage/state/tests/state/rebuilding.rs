//! Records that do not belong together are refused with what is wrong, never repaired.

use hessra_revocation::{
    Cutoff, Epoch, KeyPurpose, KeyState, Revision, Target, UnixMillis, UnixSeconds,
};
use hessra_state::{
    Command, InvalidRecords, KeyCommand, Lift, Machine, PendingAction, Record, Revoke,
};

use crate::sample::{Checked, identity, init, key, policy, revoke, stamped, subtree, token};

/// A state with something of everything.
fn records() -> Vec<Record> {
    let mut checked = Checked::default();
    let permanent = Revoke {
        permanent: true,
        ..revoke(vec![subtree("urn:h:b"), subtree("urn:h:c")])
    };
    let lock = Revoke {
        until: Some(UnixSeconds(100)),
        ..revoke(vec![Target::Lock(identity("urn:h:d"))])
    };
    let commands = [
        init(),
        Command::Revoke(revoke(vec![subtree("urn:h:a"), token(1)])),
        Command::Revoke(permanent),
        Command::Revoke(lock),
        Command::Lift(Lift {
            of: None,
            revision: Revision(6),
            restore: false,
            reason: String::new(),
        }),
        Command::Key(KeyCommand::Prepare(key(
            3,
            KeyPurpose::Token,
            KeyState::Prepared,
        ))),
        Command::Ask(PendingAction::RevokeKey(3)),
        Command::Ask(PendingAction::Lift(Lift {
            of: None,
            revision: Revision(3),
            restore: true,
            reason: String::new(),
        })),
    ];
    for (request, command) in (1..).zip(commands) {
        checked.apply(&stamped(request, request, command));
    }
    checked.check();
    checked.state.records().collect()
}

/// Error about the records after `edit`.
fn fault(edit: impl Fn(&mut Record)) -> String {
    let mut records = records();
    records.iter_mut().for_each(edit);
    refused(records)
}

fn without(unwanted: impl Fn(&Record) -> bool) -> String {
    refused(
        records()
            .into_iter()
            .filter(|record| !unwanted(record))
            .collect(),
    )
}

fn refused(records: Vec<Record>) -> String {
    match Machine::from_records(records) {
        Ok(_) => panic!("records that contradict each other made a state"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_missing_record_is_noticed_whatever_it_was() {
    let all = records();
    for missing in 0..all.len() {
        // The oldest first answer is the next to be forgotten, and nothing else knows of it.
        if matches!(all[missing], Record::Request { sequence: 0, .. }) {
            continue;
        }
        let mut some = all.clone();
        let lost = some.remove(missing);
        assert!(Machine::from_records(some).is_err(), "{lost:?} is missing");
    }
}

/// The newest answer is never forgotten: without any, every retry would be applied a second time.
#[test]
fn answers_that_are_all_missing_are_noticed_and_so_is_one_from_the_future() {
    let is_answer = |record: &Record| matches!(record, Record::Request { .. });
    let mut some = records();
    some.retain(|record| !is_answer(record));
    assert!(refused(some).contains("no answer"));
    let mut all = records();
    let newest = all.iter_mut().rfind(|record| is_answer(record));
    let Some(Record::Request { sequence, .. }) = newest else {
        panic!("there are answers");
    };
    *sequence = u64::MAX;
    assert!(refused(all).contains("is from the future"));
}

#[test]
fn a_second_record_of_the_same_key_is_noticed_whatever_it_was() {
    let all = records();
    for record in &all {
        let twice = all.iter().chain([record]).cloned();
        assert!(
            refused(twice.collect()).contains("is there twice"),
            "{record:?}"
        );
    }
}

#[test]
fn no_record_at_all_is_not_an_empty_state() {
    assert!(refused(Vec::new()).contains("its meta record is missing"));
    assert!(
        without(|record| matches!(record, Record::Policy(_))).contains("its policy is missing")
    );
}

#[test]
fn a_newer_version_asks_for_an_upgrade() {
    let mut records = records();
    for record in &mut records {
        if let Record::Meta(meta) = record {
            meta.version = 2;
        }
    }
    assert_eq!(
        Machine::from_records(records).unwrap_err(),
        InvalidRecords::Upgrade { found: 2 }
    );
}

#[test]
fn a_changed_field_of_the_meta_record_is_noticed() {
    let edits: [fn(&mut hessra_state::Meta); 16] = [
        |meta| meta.next_key_id = 3,
        |meta| meta.next_pending = 0,
        |meta| meta.pending += 1,
        |meta| meta.next_sequence = u64::MAX,
        |meta| meta.revision = meta.revision.next(),
        |meta| meta.floor = Revision(1),
        |meta| meta.floor_frontier = vec![[1; 32]],
        |meta| meta.epoch = Epoch(2),
        |meta| meta.keyset_version = 1,
        |meta| meta.policy_digest = [1; 32],
        |meta| meta.policy_revision = Revision(2),
        |meta| meta.policy_versions = 9,
        |meta| meta.witnessed += 1,
        |meta| meta.next_sequence = 2,
        |meta| meta.clock = UnixMillis(5),
        |meta| meta.salt.0[0] ^= 1,
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let said = fault(|record| {
            if let Record::Meta(meta) = record {
                edit(meta);
            }
        });
        assert!(
            said.starts_with("the stored state contradicts itself"),
            "edit {number}: {said}"
        );
    }
}

#[test]
fn a_rule_that_is_weaker_than_its_revocations_is_noticed() {
    let said = fault(|record| {
        if let Record::Rule(rule) = record {
            rule.cutoff = Cutoff::Before(Revision(1));
        }
    });
    assert!(said.contains("is not what its revocations imply"), "{said}");
}

#[test]
fn a_revocation_of_the_future_and_one_of_another_target_are_noticed() {
    let said = fault(|record| {
        if let Record::Revocation(revocation) = record {
            revocation.revision = Revision(1000 + revocation.revision.0);
        }
    });
    assert!(said.contains("is from the future"), "{said}");
    let said = fault(|record| {
        if let Record::Revocation(revocation) = record {
            revocation.target = subtree(&format!("urn:h:other:n{}", revocation.revision));
        }
    });
    assert!(said.contains("is not what its revocations imply"), "{said}");
}

#[test]
fn keys_that_contradict_the_feed_or_themselves_are_noticed() {
    type Edit = fn(&mut hessra_state::SealedKey);
    let edits: [(Edit, &str); 6] = [
        (|key| key.state = KeyState::Active, "keys are active"),
        (
            |key| {
                key.state = KeyState::Retired;
                if !key.needs_private_half() {
                    key.sealed.clear();
                }
            },
            "does not stand",
        ),
        (
            |key| key.published = UnixMillis(u64::MAX),
            "was published after",
        ),
        (|key| key.public_key[31] ^= 1, "does not stand"),
        (
            |key| key.sealed.clear(),
            "has its private half exactly when it must not",
        ),
        (|key| key.changed_at = Revision(0), "changed at revision 0"),
    ];
    for (edit, expected) in edits {
        let said = fault(|record| {
            if let Record::Key(key) = record {
                edit(key);
            }
        });
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn another_policy_under_the_same_revision_is_noticed() {
    let said = fault(|record| {
        if let Record::Policy(version) = record {
            version.policy = policy("second");
        }
    });
    assert!(said.contains("another digest"), "{said}");
    let said = fault(|record| {
        if let Record::Policy(version) = record {
            version.policy.clients_toml.push(' ');
        }
    });
    assert!(said.contains("another digest"), "{said}");
}

#[test]
fn a_flipped_bit_in_a_feed_entry_is_noticed_where_it_says_something_else() {
    // Entry 6 is not the last about its rule: only a store's checksum can tell that it is not what it was.
    for revision in (1..=10).filter(|revision| *revision != 6) {
        let said = fault(|record| {
            if let Record::FeedEntry {
                revision: Revision(found),
                bytes,
            } = record
                && *found == revision
            {
                *bytes.last_mut().unwrap() ^= 1;
            }
        });
        assert!(
            said.starts_with("the stored state contradicts itself"),
            "{revision}: {said}"
        );
    }
}

//! Memberships that follow from what operators have permitted: asked before an entry with one is acknowledged.
//!
//! openraft makes a change of the voters in two entries, the joint configuration and the final one (Raft §6); each step is
//! explained by itself. The first membership of a log is that of the founders, and follows from nothing.

use std::collections::{BTreeMap, BTreeSet};

use hessra_sled::{Member, Membership};
use hessra_state::MemberChange;

/// True when `after` follows from `before` by the change that was permitted, or completes a joint configuration.
pub(crate) fn is_explained(
    before: &Membership,
    after: &Membership,
    permitted: Option<&MemberChange>,
) -> bool {
    before.get_joint_config().is_empty()
        || before == after
        || completes(before, after)
        || permitted.is_some_and(|change| follows(before, after, change))
}

/// The newer half of a joint configuration, with all nodes or without those that no longer vote.
fn completes(before: &Membership, after: &Membership) -> bool {
    let [older, newer] = before.get_joint_config().as_slice() else {
        return false;
    };
    let leaving: BTreeSet<u64> = older.difference(newer).copied().collect();
    let stays = |id: &u64| !leaving.contains(id);
    after.get_joint_config().as_slice() == [newer.clone()]
        && (nodes(after) == nodes(before)
            || nodes(after)
                == nodes(before)
                    .into_iter()
                    .filter(|(id, _)| stays(id))
                    .collect())
}

fn follows(before: &Membership, after: &Membership, change: &MemberChange) -> bool {
    let [voters] = before.get_joint_config().as_slice() else {
        return false;
    };
    let configs = after.get_joint_config().as_slice();
    let same_voters = configs == [voters.clone()];
    let becomes =
        |newer: BTreeSet<u64>| nodes(after) == nodes(before) && configs == [voters.clone(), newer];
    match change {
        MemberChange::Add {
            id,
            peer_address,
            public_address,
        } => {
            let member = Member {
                peer_address: peer_address.clone(),
                public_address: public_address.clone(),
                incarnation: None,
            };
            let mut expected = nodes(before);
            expected.insert(*id, member);
            same_voters && nodes(after) == expected
        }
        MemberChange::Promote(id) => {
            let newer = voters.iter().copied().chain([*id]).collect();
            becomes(newer) || same_voters && names_store(before, after, *id)
        }
        MemberChange::Remove(id) if voters.contains(id) => {
            becomes(voters.iter().copied().filter(|voter| voter != id).collect())
        }
        MemberChange::Remove(id) => {
            let mut expected = nodes(before);
            expected.remove(id);
            same_voters && nodes(after) == expected
        }
        MemberChange::TransferTo(_) => false,
    }
}

/// The store of a learner is named, before it gets its vote; nothing else.
fn names_store(before: &Membership, after: &Membership, id: u64) -> bool {
    let (mut expected, found) = (nodes(before), nodes(after));
    let named = found.get(&id).and_then(|member| member.incarnation);
    match expected.get_mut(&id) {
        Some(member) if member.incarnation.is_none() => member.incarnation = named,
        _ => return false,
    }
    named.is_some() && found == expected
}

/// Nodes in the order of their ids.
fn nodes(membership: &Membership) -> BTreeMap<u64, Member> {
    let nodes = membership.nodes();
    nodes.map(|(id, member)| (*id, member.clone())).collect()
}

#[cfg(test)]
mod tests {
    use hessra_state::Incarnation;

    use super::*;

    fn member(id: u64) -> Member {
        Member {
            peer_address: format!("node-{id}:1"),
            public_address: format!("node-{id}:2"),
            incarnation: None,
        }
    }

    fn membership(configs: &[&[u64]], ids: &[u64]) -> Membership {
        let nodes: BTreeMap<u64, Member> = ids.iter().map(|id| (*id, member(*id))).collect();
        let configs = configs.iter().map(|ids| ids.iter().copied().collect());
        Membership::new(configs.collect(), nodes)
    }

    fn add(id: u64) -> MemberChange {
        let Member {
            peer_address,
            public_address,
            ..
        } = member(id);
        MemberChange::Add {
            id,
            peer_address,
            public_address,
        }
    }

    #[test]
    fn each_step_of_a_permitted_change_is_explained_and_no_step_of_another() {
        let three = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        let learner = membership(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        let joint = membership(&[&[1, 2, 3], &[1, 2, 3, 4]], &[1, 2, 3, 4]);
        let four = membership(&[&[1, 2, 3, 4]], &[1, 2, 3, 4]);
        let leaving = membership(&[&[1, 2, 3, 4], &[1, 2, 4]], &[1, 2, 3, 4]);
        let without = membership(&[&[1, 2, 4]], &[1, 2, 4]);
        let steps = [
            (&three, &learner, Some(add(4))),
            (&learner, &joint, Some(MemberChange::Promote(4))),
            (&joint, &four, None),
            (&four, &leaving, Some(MemberChange::Remove(3))),
            (&leaving, &without, None),
            (&learner, &three, Some(MemberChange::Remove(4))),
        ];
        for (before, after, permitted) in &steps {
            assert!(is_explained(before, after, permitted.as_ref()), "{after:?}");
        }
        for (before, after, permitted) in &steps[..2] {
            assert!(!is_explained(before, after, None), "{after:?}");
            let other = Some(add(9));
            assert!(permitted.is_some() && !is_explained(before, after, other.as_ref()));
        }
        assert!(!is_explained(&joint, &three, None), "back is not forward");
        assert!(!is_explained(
            &three,
            &four,
            Some(&MemberChange::Promote(4))
        ));
        let elsewhere = Membership::new(
            vec![[1, 2, 3].into()],
            BTreeMap::from([(1, member(1)), (2, member(9)), (3, member(3))]),
        );
        assert!(!is_explained(
            &three,
            &elsewhere,
            Some(&MemberChange::Promote(2))
        ));
    }

    #[test]
    fn a_store_is_named_once_by_the_promotion_that_was_permitted() {
        let learner = membership(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        let with_store = |store: u8| {
            let mut named = nodes(&learner);
            named.get_mut(&4).unwrap().incarnation = Some(Incarnation([store; 16]));
            Membership::new(vec![[1, 2, 3].into()], named)
        };
        let promotion = Some(&MemberChange::Promote(4));
        assert!(is_explained(&learner, &with_store(7), promotion));
        assert!(!is_explained(&learner, &with_store(7), None));
        assert!(!is_explained(
            &learner,
            &with_store(7),
            Some(&MemberChange::Promote(3))
        ));
        assert!(
            !is_explained(&with_store(7), &with_store(8), promotion),
            "never another"
        );
    }

    #[test]
    fn the_founders_follow_from_nothing() {
        let founders = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        assert!(is_explained(&Membership::default(), &founders, None));
    }
}

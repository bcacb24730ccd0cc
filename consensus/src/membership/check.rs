//! Check of a change of the members before it begins. Pure: the situation is an argument.

use hessra_sled::Member;

use super::{Change, ChangeError};
use crate::status::Members;

/// Facts of a running cluster that [`check`] must know.
pub struct Situation<'a> {
    /// The members as of now.
    pub members: &'a Members,
    /// True when the member answers, as it was asked just now.
    pub answers: &'a dyn Fn(u64) -> bool,
}

/// Checks that this change may begin.
///
/// # Errors
/// A sentence that names the member, and ends with what to do.
pub fn check(situation: &Situation<'_>, change: &Change) -> Result<(), ChangeError> {
    if situation.members.is_changing() {
        return Err(ChangeError::Conflict(
            "another change of the members is under way. Wait until `hessra cluster members` shows it done".to_owned(),
        ));
    }
    match change {
        Change::AddLearner { id, member } => check_add(situation.members, *id, member),
        Change::Promote(id) => check_promote(situation, *id),
        Change::Remove(id) => check_remove(situation, *id),
        Change::TransferTo(id) => check_transfer(situation, *id),
    }
}

fn check_add(members: &Members, id: u64, member: &Member) -> Result<(), ChangeError> {
    if id == 0 {
        return Err(ChangeError::Invalid(
            "a node id is 1 or more. Choose a number that no node ever had".to_owned(),
        ));
    }
    for address in [&member.peer_address, &member.public_address] {
        if address
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Err(ChangeError::Invalid(format!(
                "`{address}` is not an address. Write it as HOST:PORT"
            )));
        }
    }
    if members.nodes.contains_key(&id) {
        return Err(ChangeError::Conflict(format!(
            "node id {id} is taken by a member. Choose a number that no node ever had, or remove that member first"
        )));
    }
    let same = |other: &&Member| {
        other.peer_address == member.peer_address || other.public_address == member.public_address
    };
    match members.nodes.iter().find(|(_, other)| same(other)) {
        Some((other, _)) => Err(ChangeError::Conflict(format!(
            "node {other} has the address `{}` or `{}`. Remove it first, or give the new node addresses of its own",
            member.peer_address, member.public_address
        ))),
        None => Ok(()),
    }
}

fn known(members: &Members, id: u64) -> Result<(), ChangeError> {
    if members.nodes.contains_key(&id) {
        return Ok(());
    }
    Err(ChangeError::NotFound(format!(
        "no member has node id {id}. See `hessra cluster members`"
    )))
}

fn check_promote(situation: &Situation<'_>, id: u64) -> Result<(), ChangeError> {
    known(situation.members, id)?;
    if situation.members.is_voter(id) {
        return Ok(());
    }
    if !(situation.answers)(id) {
        let address = &situation.members.nodes[&id].peer_address;
        return Err(ChangeError::Conflict(format!(
            "node {id} does not answer at `{address}`, so it cannot vote. Start it, then promote it"
        )));
    }
    let mut after = situation.members.clone();
    after.voters.iter_mut().for_each(|set| _ = set.insert(id));
    keeps_quorum(situation, &after, || {
        format!("promoting node {id} would leave the cluster without a quorum")
    })
}

fn check_remove(situation: &Situation<'_>, id: u64) -> Result<(), ChangeError> {
    known(situation.members, id)?;
    if !situation.members.is_voter(id) {
        return Ok(());
    }
    let rest = Members {
        voters: situation
            .members
            .voters
            .iter()
            .map(|set| set.iter().copied().filter(|voter| *voter != id).collect())
            .collect(),
        ..Members::default()
    };
    keeps_quorum(situation, &rest, || {
        format!("removing node {id} would leave the cluster without a quorum")
    })
}

/// Checks that the members that answer now are a quorum of the configuration that a change leads to.
fn keeps_quorum(
    situation: &Situation<'_>,
    after: &Members,
    without: impl Fn() -> String,
) -> Result<(), ChangeError> {
    if after.has_quorum(situation.answers) {
        return Ok(());
    }
    let silent: Vec<String> = after
        .voters
        .iter()
        .flatten()
        .filter(|voter| !(situation.answers)(**voter))
        .map(ToString::to_string)
        .collect();
    let because = match silent.is_empty() {
        true => "it is the last voter".to_owned(),
        false => format!(
            "too few of its voters would answer; silent: {}",
            silent.join(", ")
        ),
    };
    Err(ChangeError::QuorumLost(format!(
        "{}: {because}. Start them, or add a voter, first",
        without()
    )))
}

fn check_transfer(situation: &Situation<'_>, id: u64) -> Result<(), ChangeError> {
    known(situation.members, id)?;
    if !situation.members.is_voter(id) {
        return Err(ChangeError::Conflict(format!(
            "node {id} does not vote, so it cannot lead. Promote it first"
        )));
    }
    if !(situation.answers)(id) {
        return Err(ChangeError::Conflict(format!(
            "node {id} does not answer, so it cannot lead. Restart it first"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn member(number: u64) -> Member {
        Member {
            peer_address: format!("10.0.0.{number}:7411"),
            public_address: format!("10.0.0.{number}:7401"),
            incarnation: None,
        }
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let nodes: BTreeMap<u64, Member> = voters
            .iter()
            .chain(learners)
            .map(|id| (*id, member(*id)))
            .collect();
        Members {
            voters: vec![voters.iter().copied().collect()],
            nodes,
            log_index: 7,
        }
    }

    fn verdict(members: &Members, alive: &[u64], change: &Change) -> Result<(), ChangeError> {
        check(
            &Situation {
                members,
                answers: &|id| alive.contains(&id),
            },
            change,
        )
    }

    #[test]
    fn a_second_node_with_the_same_id_or_address_is_refused() {
        let three = members(&[1, 2, 3], &[]);
        let add = |id, member| verdict(&three, &[1, 2, 3], &Change::AddLearner { id, member });
        assert!(matches!(add(2, member(4)), Err(ChangeError::Conflict(_))));
        assert!(matches!(add(4, member(2)), Err(ChangeError::Conflict(_))));
        assert!(matches!(add(0, member(4)), Err(ChangeError::Invalid(_))));
        let nowhere = Member {
            peer_address: "somewhere".into(),
            public_address: "x:1".into(),
            incarnation: None,
        };
        assert!(matches!(add(4, nowhere), Err(ChangeError::Invalid(_))));
        assert_eq!(add(4, member(4)), Ok(()));
    }

    #[test]
    fn a_member_is_not_removed_when_the_rest_would_have_no_quorum() {
        let three = members(&[1, 2, 3], &[]);
        assert_eq!(verdict(&three, &[1, 2], &Change::Remove(3)), Ok(()));
        assert!(matches!(
            verdict(&three, &[1, 3], &Change::Remove(3)),
            Err(ChangeError::QuorumLost(_))
        ));
        assert!(matches!(
            verdict(&members(&[1], &[]), &[1], &Change::Remove(1)),
            Err(ChangeError::QuorumLost(_))
        ));
        assert!(matches!(
            verdict(&three, &[1, 2], &Change::Remove(8)),
            Err(ChangeError::NotFound(_))
        ));
        assert_eq!(
            verdict(&members(&[1, 2, 3], &[4]), &[1], &Change::Remove(4)),
            Ok(())
        );
    }

    #[test]
    fn a_learner_that_does_not_answer_is_not_promoted() {
        let learning = members(&[1, 2, 3], &[4]);
        let promote = Change::Promote(4);
        assert_eq!(verdict(&learning, &[1, 2, 3, 4], &promote), Ok(()));
        assert_eq!(verdict(&learning, &[1, 2, 4], &promote), Ok(()));
        assert!(matches!(
            verdict(&learning, &[1, 2, 3], &promote),
            Err(ChangeError::Conflict(_))
        ));
    }

    #[test]
    fn a_promotion_needs_a_quorum_of_the_voters_that_it_makes() {
        let learning = members(&[1, 2, 3, 4, 5], &[6]);
        let promote = Change::Promote(6);
        let lost = verdict(&learning, &[1, 2, 6], &promote);
        assert!(matches!(lost, Err(ChangeError::QuorumLost(_))), "{lost:?}");
        assert_eq!(verdict(&learning, &[1, 2, 3, 6], &promote), Ok(()));
    }

    #[test]
    fn leadership_goes_only_to_a_voter_that_answers() {
        let learning = members(&[1, 2, 3], &[4]);
        assert_eq!(verdict(&learning, &[2], &Change::TransferTo(2)), Ok(()));
        assert!(matches!(
            verdict(&learning, &[2], &Change::TransferTo(3)),
            Err(ChangeError::Conflict(_))
        ));
        assert!(matches!(
            verdict(&learning, &[4], &Change::TransferTo(4)),
            Err(ChangeError::Conflict(_))
        ));
    }

    #[test]
    fn only_one_change_is_under_way_at_a_time() {
        let mut joint = members(&[1, 2, 3], &[4]);
        joint.voters.push([1, 2, 4].into());
        assert!(matches!(
            verdict(&joint, &[1, 2, 3, 4], &Change::Promote(4)),
            Err(ChangeError::Conflict(_))
        ));
    }
}

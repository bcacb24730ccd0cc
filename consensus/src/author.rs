//! Author of one command: whether it is proved.

use hessra_proof::{Checker, Proof, Unproved};
use hessra_revocation::FeedId;
use hessra_sled::codec;
use hessra_state::{Author, Stamped, State};

use crate::plant::{Plant, is_planted};

/// Id of the cluster, once the state has begun.
pub(crate) fn cluster_of(state: &State) -> Option<FeedId> {
    state.is_initialized().then(|| state.view().feed_id)
}

/// Checks who made a command, as of its stamp. `cluster`: this one's id; `None` on a node that does not know it yet.
///
/// # Errors
/// Why the author is not proved.
pub(crate) fn check(
    operators: &Checker,
    cluster: Option<FeedId>,
    stamped: &Stamped,
) -> Result<(), Unproved> {
    match to_check(cluster, stamped)? {
        Some(proof) => operators.check(proof, stamped.at.seconds().0),
        None => Ok(()),
    }
}

/// Checks who made each of many commands, as [`check`] does, for an alarm: see [`Checker::check_for_alarm`].
pub(crate) fn check_for_alarm(
    operators: &Checker,
    commands: &[(Option<FeedId>, &Stamped)],
) -> Vec<Result<(), Unproved>> {
    let stated: Vec<_> = commands
        .iter()
        .map(|(cluster, stamped)| to_check(*cluster, stamped))
        .collect();
    let proofs = stated.iter().zip(commands);
    let proofs = proofs.filter_map(|(stated, (_, stamped))| {
        let proof = stated.as_ref().ok().copied().flatten()?;
        Some((proof, stamped.at.seconds().0))
    });
    let proofs: Vec<_> = proofs.collect();
    let mut checked = operators.check_for_alarm(&proofs).into_iter();
    stated
        .into_iter()
        .map(|stated| match stated? {
            Some(_) => checked.next().expect("one outcome for each proof"),
            None => Ok(()),
        })
        .collect()
}

/// Proof that a command is to be believed by, whose statement is the command's; `None`: it needs none.
fn to_check(cluster: Option<FeedId>, stamped: &Stamped) -> Result<Option<&Proof>, Unproved> {
    if is_planted(Plant::AuthorsBelieved) {
        return Ok(None);
    }
    if !stamped.author.makes(&stamped.command) {
        return Err(Unproved::OtherAuthor(stamped.author.to_string()));
    }
    let Author::Operator(proof) = &stamped.author else {
        return Ok(None);
    };
    let statement = proof.statement();
    if cluster.is_some_and(|cluster| cluster.0 != statement.cluster) {
        return Err(Unproved::OtherCluster);
    }
    let signed = Some(statement.command);
    if statement.request != stamped.request.0 || codec::statement_digest(&stamped.command) != signed
    {
        return Err(Unproved::OtherCommand);
    }
    Ok(Some(proof))
}

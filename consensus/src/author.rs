//! Author of one command: whether it is proved.

use hessra_proof::{Checker, Unproved};
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
    if is_planted(Plant::AuthorsBelieved) {
        return Ok(());
    }
    if !stamped.author.makes(&stamped.command) {
        return Err(Unproved::OtherAuthor(stamped.author.to_string()));
    }
    let Author::Operator(proof) = &stamped.author else {
        return Ok(());
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
    operators.check(proof, stamped.at.seconds().0)
}

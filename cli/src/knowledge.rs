//! Knowledge of this command about revocations: a verifier like any other, kept under the home directory.
//!
//! The verifier lives for one command. Its knowledge stays on disk, so that the next one starts from there and no
//! denial is forgotten; when another command holds the folder, this one goes without it.

use hessra_sdk_rust::token::PolicyChecks;
use hessra_sdk_rust::{Connection, LocalCause, Verifier, VerifierBuilder};

use crate::context::Context;
use crate::failure::Outcome;

/// Verifier that follows the feed for a check. It is gone before it could enforce anything, so it does not enrol.
///
/// # Errors
/// Usage: no server or authority is named; or a folder that cannot be used.
pub(crate) fn checker(context: &Context) -> Outcome<Verifier> {
    follow(context, "check")
}

/// Verifier that follows the feed for as long as it is watched.
///
/// # Errors
/// As for [`checker`].
pub(crate) fn watcher(context: &Context) -> Outcome<Verifier> {
    follow(context, "watch")
}

fn follow(context: &Context, purpose: &str) -> Outcome<Verifier> {
    let connection = context.connection()?;
    let folder = context.feed_folder().join(purpose);
    match builder(&connection).state_dir(folder).connect() {
        Err(error) if error.local == Some(LocalCause::StateDirectoryInUse) => {
            Ok(builder(&connection).connect()?)
        }
        other => Ok(other?),
    }
}

/// Builder of both. Checks that a holder added are evaluated: they can only restrict, and `delegate --check` makes
/// them.
fn builder(connection: &Connection) -> VerifierBuilder {
    Verifier::builder()
        .connection(connection.clone())
        .observer()
        .policy_checks(PolicyChecks::Evaluate)
}

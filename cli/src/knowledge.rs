//! Knowledge of this command about revocations: a verifier like any other, kept under the home directory.
//!
//! The verifier lives for one command. Its knowledge stays on disk, so that the next one starts from there and no
//! denial is forgotten; when another command holds the folder, this one goes without it.

use std::time::Duration;

use hessra_sdk_rust::cache::stored_view;
use hessra_sdk_rust::revocation::{KeyPurpose, View};
use hessra_sdk_rust::token::PolicyChecks;
use hessra_sdk_rust::{Connection, LocalCause, Verifier, VerifierBuilder};

use crate::context::Context;
use crate::failure::Outcome;
use crate::files;

/// Folder of the verifier for checks.
const CHECK: &str = "check";
/// Time for learning what was just revoked: several round trips of any network.
const LEARN_MAX: Duration = Duration::from_secs(2);

/// Verifier that follows the feed for a check. It is gone before it could enforce anything, so it does not enrol.
///
/// # Errors
/// Usage: no server or authority is named; or a folder that cannot be used.
pub(crate) fn checker(context: &Context) -> Outcome<Verifier> {
    follow(context, CHECK)
}

/// Verifier that follows the feed for as long as it is watched.
///
/// # Errors
/// As for [`checker`].
pub(crate) fn watcher(context: &Context) -> Outcome<Verifier> {
    follow(context, "watch")
}

/// Teaches this computer what a command has just revoked, when it is one that verifies: until a view `has` it, or a moment has
/// passed. What fails here is no failure of the command.
pub(crate) async fn learn(context: &Context, has: impl Fn(&View) -> bool) {
    if !context.feed_folder().join(CHECK).exists() {
        return;
    }
    let Ok(verifier) = checker(context) else {
        return;
    };
    let learnt = async {
        let mut status = verifier.subscribe();
        // The sender lives as long as the verifier.
        while verifier.view().is_none_or(|view| !has(&view)) && status.changed().await.is_ok() {}
    };
    // Whether it came in time or not, what came is kept.
    let _ = tokio::time::timeout(LEARN_MAX, learnt).await;
    verifier.shutdown().await;
}

/// Views that earlier commands left of the cluster which has this token key. Asks nobody.
///
/// Names of one cluster may be names of another too: a view counts when it is of the server that is named, or knows the key.
pub(crate) fn stored(context: &Context, token_key: &[u8; 32]) -> Vec<View> {
    let own = context.feed_folder();
    let mut views = Vec::new();
    for cluster in files::folders_in(&context.feeds_folder()) {
        let is_of_the_cluster = |view: &View| {
            let mut keys = view.keys.values();
            let knows =
                keys.any(|key| key.purpose == KeyPurpose::Token && key.public_key == *token_key);
            knows || cluster == own
        };
        let stored = files::folders_in(&cluster);
        let stored = stored.iter().filter_map(|folder| stored_view(folder));
        views.extend(stored.filter(is_of_the_cluster));
    }
    views
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

//! `hessra audit accept-loss`: lets a node begin a new audit.

use hessra_sdk_rust::Authority;
use serde_json::json;

use crate::args::AcceptAuditLoss;
use crate::commands::confirm::{self, Decided};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;

/// Accepts the loss, once it is confirmed.
pub(super) async fn run(
    context: &Context,
    console: Console,
    arguments: &AcceptAuditLoss,
) -> Outcome {
    let id = arguments.id;
    console.note(&format!(
        "Accepts that the audit of node {id} is lost. It may begin a new one, and every member records that you accepted it."
    ));
    if arguments.confirmation.dry_run {
        return console.answer(&json!({"dry_run": true, "id": id}), String::new);
    }
    let word = id.to_string();
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "accept it")?;
    }
    let authority = Authority::new(context.authenticated_connection()?);
    let authority = authority.under(arguments.retry.id());
    let answer = authority.accept_audit_loss(id, &arguments.ticket).await?;
    console.success(&format!("Node {id} may begin a new audit"));
    let done = format!("the loss of the audit of node {id} is accepted");
    console.committed(&done, &json!({"id": id, "chains": answer.chains}), || {
        "Move its folder `audit` away, keep it, and start the node if it does not run.\n".to_owned()
    })
}

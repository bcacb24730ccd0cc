//! `hessra approvals …`: actions that wait for a second person.

use hessra_sdk_rust::v1::ApprovalInfo;
use hessra_sdk_rust::{Authority, Reason, RequestId};
use serde_json::{Value, json};

use super::action;
use super::confirm::{self, Decided};
use super::revocations::warn_of_others;
use crate::args::{ApprovalsCommand, Approve};
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, Table, timestamp};

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: ApprovalsCommand) -> Outcome {
    let authority = Authority::new(context.authenticated_connection()?);
    match command {
        ApprovalsCommand::List => list(&authority, console).await,
        ApprovalsCommand::Show { id } => {
            let info = authority.show_approval(&id).await?;
            let text = described(&authority, &info).await?;
            console.answer(&to_json(&info), || text)
        }
        ApprovalsCommand::Approve(arguments) => approve(&authority, console, &arguments).await,
        ApprovalsCommand::Cancel { id, retry } => {
            let cancelled = authority.under(retry.id()).cancel_approval(&id).await?;
            let done = format!("{} will not be done", cancelled.id);
            console.success(&done);
            let value = json!({"id": cancelled.id, "cancelled": true});
            console.committed(&done, &value, String::new)
        }
    }
}

async fn list(authority: &Authority, console: Console) -> Outcome {
    let approvals = authority.list_approvals().await?.approvals;
    let items: Vec<Value> = approvals.iter().map(to_json).collect();
    console.answer_list(&json!({"approvals": items}), &items, || {
        if approvals.is_empty() {
            return "Nothing waits for a second person.\n".to_owned();
        }
        let mut table = Table::new(&["id", "what", "asked by", "until", "you may"]);
        for info in &approvals {
            table.row([
                info.id.clone(),
                info.what.clone(),
                info.by.clone(),
                timestamp(info.until_ms),
                if info.may_approve { "approve" } else { "" }.to_owned(),
            ]);
        }
        table.text()
    })
}

async fn approve(authority: &Authority, console: Console, arguments: &Approve) -> Outcome {
    let shown = authority.show_approval(&arguments.id).await;
    let info = shown.map_err(|error| match arguments.retry.request_id {
        Some(request) if error.reason == Reason::NotFound => waits_no_more(&arguments.id, request),
        _ => error.into(),
    })?;
    let text = described(authority, &info).await?;
    if arguments.confirmation.dry_run {
        return console.answer(
            &json!({"dry_run": true, "approval": to_json(&info)}),
            || text,
        );
    }
    let id = &info.id;
    console.note(&text);
    if confirm::decided(console, &arguments.confirmation, id)? == Decided::Ask {
        confirm::ask(id, "do it")?;
    }
    let authority = authority.under(arguments.retry.id());
    let done = authority.approve(&info).await?;
    let value = json!({
        "id": done.id,
        "what": done.what,
        "revision": done.revision,
        "revocations": done.revocations,
        "still_denied_by": done.still_denied_by,
    });
    warn_of_others(console, &done.still_denied_by);
    let sentence = format!("{} at revision {}: {}", done.id, done.revision, done.what);
    console.committed(&sentence, &value, || format!("✓ {sentence}\n"))
}

/// What is approved under an id that was used before, and waits no more: what became of it is in the audit.
fn waits_no_more(id: &str, request: RequestId) -> CommandError {
    CommandError::not_found(format!(
        "{id} does not wait any more: it was done, taken back, or has ended"
    ))
    .hint(format!(
        "`hessra audit search request.id={request}` shows whether this request did it."
    ))
}

/// Details, and the difference that a policy would make. Its texts are compared with what the approval signs.
async fn described(authority: &Authority, info: &ApprovalInfo) -> Outcome<String> {
    let Some(proposed) = &info.policy else {
        return Ok(details(info));
    };
    if !action::is_of_texts(
        &info.statement,
        &proposed.clients_toml,
        &proposed.resources_toml,
    ) {
        return Err(CommandError::no(
            "other_policy",
            format!("the server shows another policy than {} is about", info.id),
        )
        .hint("Do not approve it; ask another node with --server."));
    }
    let difference = super::policy::difference_of(authority, proposed).await?;
    Ok(format!("{}\n{difference}", details(info)))
}

fn details(info: &ApprovalInfo) -> String {
    let until = timestamp(info.until_ms);
    let lines = [
        ("Id", info.id.clone()),
        ("What", info.what.clone()),
        ("Action", action::sentence(&info.statement)),
        ("Targets", info.targets.join("\n           ")),
        ("Asked by", info.by.clone()),
        ("Asked at", timestamp(info.at_ms)),
        ("Until", until),
        (
            "Needs",
            format!("the right `{}`, of somebody else", info.right),
        ),
        ("Reason", info.reason.clone()),
        ("Ticket", info.ticket.clone()),
        ("Message", info.message.clone()),
    ];
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| format!("{name:<10} {value}\n"))
        .collect()
}

fn to_json(info: &ApprovalInfo) -> Value {
    json!({
        "id": info.id,
        "kind": info.kind,
        "what": info.what,
        "action": action::sentence(&info.statement),
        "targets": info.targets,
        "right": info.right,
        "by": info.by,
        "at": timestamp(info.at_ms),
        "until": timestamp(info.until_ms),
        "reason": info.reason,
        "ticket": info.ticket,
        "message": info.message,
        "may_approve": info.may_approve,
    })
}

//! `hessra cluster …`: the members, and changes of them one step at a time.

use std::time::Duration;

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{AddMemberRequest, MemberInfo, MembershipResponse, NodeStatus};
use hessra_settings::duration;
use serde_json::{Value, json};

use super::confirm::{self, Decided};
use super::waiting::waits;
use crate::args::{AddMember, ClusterCommand, RemoveMember};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, Table};

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: ClusterCommand) -> Outcome {
    let authority = Authority::new(context.authenticated_connection()?);
    match command {
        ClusterCommand::Members => members(&authority, console).await,
        ClusterCommand::Add(arguments) => add(&authority, console, arguments).await,
        ClusterCommand::Promote(arguments) => {
            let (id, authority) = (arguments.member.id, authority.under(arguments.retry.id()));
            let answer = authority.promote_member(id).await?;
            changed(console, &answer, &format!("Node {id} has a vote"))
        }
        ClusterCommand::Remove(arguments) => remove(&authority, console, &arguments).await,
        ClusterCommand::Transfer(arguments) => {
            let authority = authority.under(arguments.retry.id());
            let answer = authority.transfer_leadership(arguments.to).await?;
            changed(console, &answer, &format!("Node {} leads", arguments.to))
        }
        ClusterCommand::SetClockBack(arguments) => {
            let authority = authority.under(arguments.retry.id());
            let number = match arguments.number {
                Some(number) => number,
                None => authority.status().await?.clock_set_backs + 1,
            };
            let answer = authority.set_clock_back(number, &arguments.ticket).await;
            let again = format!("--number {number}");
            let answer = answer.map_err(|error| CommandError::from(error).again_with(&again))?;
            let by = duration::rounded(Duration::from_millis(answer.by_ms));
            let done = format!("The time of the cluster is {by} back");
            console.success(&done);
            console.committed(&done, &json!({"by_ms": answer.by_ms}), String::new)
        }
    }
}

async fn members(authority: &Authority, console: Console) -> Outcome {
    let status = authority.status().await?;
    let items: Vec<Value> = status.nodes.iter().map(member_status_json).collect();
    let whole = json!({"cluster_id": status.cluster_id, "members": items});
    console.answer_list(&whole, &items, || {
        let mut table = Table::new(&["node", "role", "state", "public", "peer"]);
        for node in &status.nodes {
            let words = [
                &node.id.to_string(),
                &node.role,
                &node.state,
                &node.public_address,
                &node.peer_address,
            ];
            table.row(words.into_iter().cloned());
        }
        table.text()
    })
}

async fn add(authority: &Authority, console: Console, arguments: AddMember) -> Outcome {
    let id = arguments.id;
    let request = AddMemberRequest {
        request_id: Vec::new(),
        id,
        peer_address: arguments.peer,
        public_address: arguments.public,
    };
    let authority = authority.under(arguments.retry.id());
    let answer = authority.add_member(request).await?;
    if answer.pending.is_some() {
        return changed(console, &answer, "");
    }
    changed(
        console,
        &answer,
        &format!("Node {id} is a member without a vote"),
    )?;
    console.note(&format!(
        "  When `hessra status` shows no lag: hessra cluster promote {id}"
    ));
    Ok(())
}

async fn remove(authority: &Authority, console: Console, arguments: &RemoveMember) -> Outcome {
    let id = arguments.member.id;
    let node = match find(authority, id).await {
        // It may be removed by what is asked for again.
        Err(failure) if failure.exit == Exit::NotFound && arguments.retry.is_again() => None,
        node => Some(node?),
    };
    if let Some(node) = &node {
        console.note(&format!(
            "Removes node {id} ({}, {}) for ever.",
            node.role, node.public_address
        ));
    }
    if arguments.confirmation.dry_run {
        return console.answer(
            &json!({"dry_run": true, "id": id, "role": node.map(|node| node.role)}),
            String::new,
        );
    }
    let word = id.to_string();
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "remove it")?;
    }
    let authority = authority.under(arguments.retry.id());
    let answer = authority.remove_member(id).await?;
    changed(
        console,
        &answer,
        &format!("Node {id} is no member any more"),
    )
}

async fn find(authority: &Authority, id: u64) -> Outcome<NodeStatus> {
    let status = authority.status().await?;
    let found = status.nodes.into_iter().find(|node| node.id == id);
    found.ok_or_else(|| {
        CommandError::not_found(format!("no member has the number {id}"))
            .hint("See `hessra cluster members`.")
    })
}

fn changed(console: Console, answer: &MembershipResponse, what: &str) -> Outcome {
    if let Some(pending) = &answer.pending {
        return waits(console, pending);
    }
    let members: Vec<Value> = answer.members.iter().map(member_json).collect();
    console.success(what);
    console.committed(
        what,
        &json!({"members": members, "log_index": answer.log_index}),
        String::new,
    )
}

fn member_json(member: &MemberInfo) -> Value {
    json!({"id": member.id, "address": member.public_address, "peer": member.peer_address, "voter": member.voter})
}

fn member_status_json(node: &NodeStatus) -> Value {
    json!({
        "id": node.id,
        "address": node.public_address,
        "peer": node.peer_address,
        "role": node.role,
        "state": node.state,
        "voter": node.role != "learner",
        "reachable": node.reachable,
    })
}

//! Records of a log entry: the same on every node, because the entry and its answers are.
//!
//! A record's id is its place in the log, so one change has one id in the chains of all nodes, and a reader of several
//! chains can tell. What only the node that was asked knows (certificate, address) it adds to its own copy. A retry has
//! no record of its own: one request has one effect.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use hessra_audit::{Actor, Event, Outcome, Position, Proof, Record, Target};
use hessra_revocation::{KeyState, Revision, Target as Revocable};
use hessra_sled::{Membership, codec};
use hessra_state::revocations::RevocationId;
use hessra_state::{
    Applied, Author, Command, KeyCommand, Lift, MemberChange, Misfit, PendingAction, Policy,
    PolicyChange, PolicyOrigin, RefusalCode, Revoke, Stamped, Start, State, Undo, Witness,
};
use prost::Message as _;

use super::recovered::{LOG_ID, members_text};

/// Bytes of a statement that a record keeps; of a larger one, a revocation of thousands, the proof has the digest. A quarter
/// of the largest record.
const STATEMENT_BYTES_MAX: usize = 48 * 1024;

/// Records of one command. `answer` = what the state machine said to it, while that is remembered.
#[must_use]
pub fn command(
    stamped: &Stamped,
    answer: Option<&Applied>,
    state: &State,
    position: Position,
    place: usize,
) -> Vec<Record> {
    let mut records = match &stamped.command {
        Command::Init(init) => vec![
            begun(stamped, Event::ClusterInitialized, "initialize", answer)
                .with("cluster", HEXLOWER.encode(&init.feed_id.0)),
        ],
        Command::Revoke(revoke) => revoked(stamped, revoke, answer, state),
        Command::Lift(lift) => vec![lifted(stamped, lift, answer, state)],
        Command::Undo(undo) => {
            let record = begun(stamped, Event::RevocationsUndone, "undo", answer);
            vec![of_undo(record, undo)]
        }
        Command::ApplyPolicy {
            based_on,
            policy,
            change,
        } => {
            let record = begun(stamped, Event::PolicyApplied, policy_action(change), answer);
            let mut record = of_policy(record, *based_on, policy, change);
            record.target.r#type = "policy".to_owned();
            vec![record]
        }
        Command::Key(key) => vec![key_changed(stamped, key, answer)],
        Command::Ask(action) => vec![asked(stamped, action, answer, state)],
        Command::Approve(approval) => {
            let mut record = begun(stamped, Event::ApprovalGiven, "approve", answer);
            record.target = named("approval", approval.id.to_string());
            vec![record]
        }
        Command::Cancel(id) => {
            let mut record = begun(stamped, Event::ApprovalCancelled, "cancel", answer);
            record.target = named("approval", id.to_string());
            vec![record]
        }
        Command::Witness(witness) => contradicted(stamped, witness, answer),
        Command::AcceptAuditLoss { node, ticket } => {
            let mut record = begun(stamped, Event::AuditLossAccepted, "accept_loss", answer);
            record.target = named("audit", format!("node {node}"));
            record.ticket.clone_from(ticket);
            vec![record]
        }
        Command::SetClockBack { ticket, .. } => {
            let mut record = begun(stamped, Event::ClockSetBack, "set_clock_back", answer);
            record.target = named("cluster", "clock".to_owned());
            record.ticket.clone_from(ticket);
            if let Some(Applied::ClockSetBack { by }) = answer {
                record = record.with("by_ms", u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
            }
            vec![record]
        }
        Command::Members(change) => vec![members_permitted(stamped, change, answer)],
        // The nodes do these themselves.
        // Uses and steps are decisions of the node that was asked: it has their record.
        Command::Spend(_)
        | Command::Context(_)
        | Command::Collect { .. }
        | Command::RaiseVersion(_) => Vec::new(),
        Command::Started(start) => disowned(stamped, start, answer),
    };
    // The first record of a command keeps its proof; the others name the same request.
    if let Some(first) = records.first_mut() {
        first.proof = proof(stamped);
    }
    for (number, record) in records.iter_mut().enumerate() {
        record.id = format!("{LOG_ID}{}-{place}-{number}", position.index);
        record.raft = Some(position);
    }
    records
}

/// Record of a head that is not of the chain that was witnessed. A head that is has no record: every minute has one.
fn contradicted(stamped: &Stamped, witness: &Witness, answer: Option<&Applied>) -> Vec<Record> {
    match answer {
        Some(Applied::Refused(refusal)) if refusal.code == RefusalCode::Contradicted => {}
        _ => return Vec::new(),
    }
    let mut record = begun(stamped, Event::AuditContradicted, "witness", answer)
        .with("chain", witness.name.chain.clone())
        .with("seq", witness.head.seq)
        .with("hash", HEXLOWER.encode(&witness.head.hash));
    record.outcome = Outcome::Failure;
    record.target = named("audit", format!("node {}", witness.name.node));
    vec![record]
}

/// Record of a start on a store that is not the one that the members know. A start that follows has no record.
fn disowned(stamped: &Stamped, start: &Start, answer: Option<&Applied>) -> Vec<Record> {
    let Some(Applied::Refused(refusal)) = answer else {
        return Vec::new();
    };
    if Misfit::of_refusal(refusal).is_none() {
        return Vec::new();
    }
    let mut record = begun(stamped, Event::MemberDisowned, "start", answer)
        .with("store", HEXLOWER.encode(&start.incarnation.0))
        .with("starts", start.count);
    record.outcome = Outcome::Failure;
    if let Author::Node { id, .. } = &stamped.author {
        record.target = named("member", format!("node {id}"));
    }
    vec![record]
}

/// Records of a change of the members: `before` and after, as id and whether it votes.
#[must_use]
pub fn members(
    before: &BTreeMap<u64, bool>,
    after: &BTreeMap<u64, bool>,
    position: Position,
    at: u64,
    by: &Actor,
) -> Vec<Record> {
    let added = after
        .iter()
        .filter(|(id, votes)| before.get(id).is_none_or(|voted| **votes && !voted))
        .map(|(id, votes)| (Event::MemberAdded, id, *votes));
    let removed = before
        .iter()
        .filter(|(id, _)| !after.contains_key(id))
        .map(|(id, votes)| (Event::MemberRemoved, id, *votes));
    let changes = added.chain(removed).enumerate();
    changes
        .map(|(number, (event, id, votes))| {
            let mut record = Record::new(event, Outcome::Success, at)
                .with("role", if votes { "voter" } else { "learner" })
                .with("members", members_text(after));
            record.id = format!("{LOG_ID}{}-m-{number}", position.index);
            record.raft = Some(position);
            record.actor = by.clone();
            record.action = if event == Event::MemberAdded {
                "add"
            } else {
                "remove"
            }
            .to_owned();
            record.target = named("member", format!("node {id}"));
            record
        })
        .collect()
}

/// Members by id, and whether each of them votes.
#[must_use]
pub fn membership(membership: &Membership) -> BTreeMap<u64, bool> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes.map(|(id, _)| (*id, voters.contains(id))).collect()
}

fn begun(stamped: &Stamped, event: Event, action: &str, answer: Option<&Applied>) -> Record {
    let outcome = match answer {
        Some(Applied::Refused(_)) => Outcome::Denied,
        _ => Outcome::Success,
    };
    let mut record = Record::new(event, outcome, stamped.at.0);
    record.actor.subject = stamped.author.to_string();
    record.actor.auth = "log".to_owned();
    if let Some(proof) = stamped.author.proof() {
        record.actor.cert_fp = HEXLOWER.encode(&proof.signer().fingerprint());
    }
    record.action = action.to_owned();
    record.request.id = HEXLOWER.encode(&stamped.request.0);
    match answer {
        Some(Applied::Refused(refusal)) => {
            record.reason = format!("{:?}", refusal.code).to_lowercase();
            record.message.clone_from(&refusal.message);
        }
        Some(applied) => record.revision = revision(applied).map_or(0, |revision| revision.0),
        None => record.reason = "answer_forgotten".to_owned(),
    }
    record
}

fn revision(applied: &Applied) -> Option<Revision> {
    match applied {
        Applied::Initialized { revision }
        | Applied::Lifted { revision, .. }
        | Applied::PolicyApplied { revision }
        | Applied::KeyChanged { revision, .. } => Some(*revision),
        Applied::Revoked(items) => items.last().map(|item| item.revision),
        _ => None,
    }
}

fn revoked(
    stamped: &Stamped,
    revoke: &Revoke,
    answer: Option<&Applied>,
    state: &State,
) -> Vec<Record> {
    let items = match answer {
        Some(Applied::Revoked(items)) => items.as_slice(),
        _ => &[],
    };
    let record = |(number, target): (usize, &Revocable)| {
        let mut record = begun(stamped, Event::RevocationCreated, "revoke", answer);
        let item = items.get(number);
        record.target = revocable(target);
        if let Some(item) = item {
            record.revision = item.revision.0;
            record.target.id = revocation_id(state, item.revision);
        }
        record.reason = match (item, record.reason.is_empty()) {
            (Some(item), _) if item.already => "already".to_owned(),
            (_, false) => record.reason,
            (_, true) => String::new(),
        };
        record.ticket.clone_from(&revoke.ticket);
        if record.message.is_empty() {
            record.message.clone_from(&revoke.message);
        }
        let mut record = record
            .with("permanent", revoke.permanent)
            .with("why", revoke.reason.clone());
        if let Some(until) = revoke.until {
            record = record.with("until", until.0);
        }
        record
    };
    // A refused command has one record: it had no effect on any target.
    let count = if items.is_empty() {
        1
    } else {
        revoke.targets.len()
    };
    let targets = revoke.targets.iter().take(count).enumerate();
    targets
        .map(record)
        .map(|record| record.with("targets", revoke.targets.len() as u64))
        .collect()
}

fn lifted(stamped: &Stamped, lift: &Lift, answer: Option<&Applied>, state: &State) -> Record {
    let mut record = begun(stamped, Event::RevocationLifted, "lift", answer);
    if let Some(revocation) = state.revocations().get(&lift.revision) {
        record.target = revocable(&revocation.target);
    }
    record.target.id = revocation_id(state, lift.revision);
    if matches!(answer, Some(Applied::Lifted { already: true, .. })) {
        record.reason = "already".to_owned();
    }
    record
        .with("restore", lift.restore)
        .with("why", lift.reason.clone())
}

/// Record with what is known of an undo.
fn of_undo(record: Record, undo: &Undo) -> Record {
    let mut record = record
        .with("since_ms", undo.since.0)
        .with("why", undo.reason.clone());
    record.target = Target {
        subject: undo.operator.clone(),
        ..named("operator", String::new())
    };
    record.ticket.clone_from(&undo.ticket);
    record
}

/// Record of an action that waits for a second person, and of the name under which it waits.
fn asked(
    stamped: &Stamped,
    action: &PendingAction,
    answer: Option<&Applied>,
    state: &State,
) -> Record {
    let mut record = begun(stamped, Event::ApprovalAsked, "ask", answer);
    let (what, target) = match action {
        PendingAction::Revoke(revoke) => {
            record.ticket.clone_from(&revoke.ticket);
            let first = revoke.targets.first().map(revocable);
            ("revoke", first.unwrap_or_default())
        }
        PendingAction::Lift(lift) => {
            let id = revocation_id(state, lift.revision);
            ("lift_restore", named("revocation", id))
        }
        PendingAction::Undo(undo) => {
            record = of_undo(record, undo);
            ("undo", record.target.clone())
        }
        PendingAction::RevokeKey(id) => ("key_revoke", named("key", id.to_string())),
        PendingAction::ApplyPolicy {
            based_on,
            policy,
            change,
        } => {
            record = of_policy(record, *based_on, policy, change);
            (policy_action(change), named("policy", String::new()))
        }
        PendingAction::Members(change) => {
            let (action, id) = member_action(change);
            (action, named("member", format!("node {id}")))
        }
    };
    record.target = target;
    if let Some(Applied::Pending { id, .. }) = answer {
        record = record.with("approval", id.to_string());
    }
    record.with("what", what)
}

/// Proof of a command, and what was signed: so that a reader can check both without the log.
fn proof(stamped: &Stamped) -> Option<Proof> {
    let proof = stamped.author.proof()?;
    let statement = codec::statement(&stamped.command)?.encode_to_vec();
    Some(Proof {
        jws: proof.text(),
        statement: match statement.len() {
            0..=STATEMENT_BYTES_MAX => BASE64.encode(&statement),
            _ => String::new(),
        },
    })
}

/// Record of a change of the members that an operator has permitted. What follows from it has records of its own.
fn members_permitted(stamped: &Stamped, change: &MemberChange, answer: Option<&Applied>) -> Record {
    let (action, id) = member_action(change);
    let mut record = begun(stamped, Event::MembersPermitted, action, answer);
    record.target = named("member", format!("node {id}"));
    record
}

fn member_action(change: &MemberChange) -> (&'static str, u64) {
    match change {
        MemberChange::Add { id, .. } => ("add", *id),
        MemberChange::Promote(id) => ("promote", *id),
        MemberChange::Remove(id) => ("remove", *id),
        MemberChange::TransferTo(id) => ("transfer", *id),
    }
}

fn policy_action(change: &PolicyChange) -> &'static str {
    match change.origin {
        PolicyOrigin::Rollback(_) => "rollback",
        PolicyOrigin::Start | PolicyOrigin::Operator | PolicyOrigin::Git(_) => "apply",
    }
}

/// Record with what is known of a policy's change.
fn of_policy(record: Record, based_on: Revision, policy: &Policy, change: &PolicyChange) -> Record {
    let record = record
        .with("digest", HEXLOWER.encode(&policy.digest))
        .with("based_on", based_on.0);
    let mut record = match &change.origin {
        PolicyOrigin::Rollback(revision) => record.with("rollback_to", revision.0),
        PolicyOrigin::Git(commit) => record.with("commit", commit.clone()),
        PolicyOrigin::Start | PolicyOrigin::Operator => record,
    };
    record.ticket.clone_from(&change.ticket);
    record.message.clone_from(&change.message);
    record
}

fn key_changed(stamped: &Stamped, command: &KeyCommand, answer: Option<&Applied>) -> Record {
    let (event, action, id) = match command {
        KeyCommand::Prepare(key) => (Event::KeyPrepared, "prepare", Some(key.id)),
        KeyCommand::Activate { id, .. } => (Event::KeyActivated, "activate", Some(*id)),
        KeyCommand::Retire(id) => (Event::KeyRetired, "retire", Some(*id)),
        KeyCommand::Revoke(id) => (Event::KeyRevoked, "revoke", Some(*id)),
        KeyCommand::Rewrap(_) => (Event::KeysRewrapped, "rewrap", None),
    };
    let mut record = begun(stamped, event, action, answer);
    record.target = named("key", id.map_or_else(String::new, |id| id.to_string()));
    if let Some(Applied::KeyChanged { state, .. }) = answer {
        record = record.with("state", key_state(*state));
    }
    match command {
        KeyCommand::Prepare(key) => record
            .with("purpose", format!("{:?}", key.purpose).to_lowercase())
            .with("public_key", HEXLOWER.encode(&key.public_key)),
        KeyCommand::Activate {
            published_for_min, ..
        } => record.with("forced", published_for_min.is_none()),
        KeyCommand::Rewrap(envelopes) => record.with("keys", envelopes.len() as u64),
        KeyCommand::Retire(_) | KeyCommand::Revoke(_) => record,
    }
}

fn key_state(state: KeyState) -> &'static str {
    match state {
        KeyState::Prepared => "prepared",
        KeyState::Active => "active",
        KeyState::Retired => "retired",
        KeyState::Revoked => "revoked",
    }
}

fn revocable(target: &Revocable) -> Target {
    let mut record = named(target.kind().as_str(), String::new());
    match target {
        Revocable::Token(id) => record.token_ids = vec![id.to_string()],
        Revocable::Key(id) => record.subject = format!("key {id}"),
        Revocable::Subtree(_)
        | Revocable::Exact(_)
        | Revocable::Lock(_)
        | Revocable::Signer(_)
        | Revocable::Certificate(_) => record.subject = target.to_string(),
    }
    record
}

fn named(kind: &str, id: String) -> Target {
    Target {
        r#type: kind.to_owned(),
        id,
        ..Target::default()
    }
}

fn revocation_id(state: &State, revision: Revision) -> String {
    RevocationId {
        epoch: state.view().epoch,
        revision,
    }
    .to_string()
}

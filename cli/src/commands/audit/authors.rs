//! Authors in the audit: each change by an operator has the proof of its author, and what was signed says the same as the
//! record.

use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use hessra_audit::{Event, Record};
use hessra_proof::{Checker, Proof, Unproved, check_signature};
use hessra_sdk_rust::Trust;
use hessra_sdk_rust::admin::{read_statement, statement_digest};
use hessra_sdk_rust::revocation::SignerKey;
use hessra_sdk_rust::v1::log::MemberChange;
use hessra_sdk_rust::v1::log::member_change::Change;
use hessra_sdk_rust::v1::log::statement::Asks;
use hessra_sdk_rust::v1::log::target::Kind;

use crate::failure::{CommandError, Outcome};

/// Next step when an audit is not what it should be.
pub(super) const KEEP: &str = "Keep a copy of the files, compare with exports and with other nodes, and look for who can write there.";
/// Records of a log entry that are not the first of their command: the first has the proof.
const FIRST: &str = "-0";

/// Authorities that certify operators.
pub(super) struct Authors {
    checker: Option<Checker>,
}

/// Fault in the author of a record.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("it is a change by an operator and has no proof of it")]
    Missing,
    #[error("its proof cannot be read")]
    Unreadable,
    #[error("{0}")]
    Unproved(#[from] Unproved),
    #[error("its proof is of `{0}`, not of its actor")]
    Actor(String),
    #[error("its proof is of another request")]
    Request,
    #[error("its proof was not valid at the time of the record")]
    Time,
    #[error("what was signed is not what its record says")]
    Content,
}

impl Authors {
    /// Authorities of a PEM file; without one, signatures are checked and certificates are not.
    ///
    /// # Errors
    /// Usage: the file holds no certificate.
    pub(super) fn read(path: Option<&Path>) -> Outcome<Self> {
        let trust = path.map(Trust::file).transpose()?;
        Ok(Self {
            checker: trust.map(|trust| Checker::new(trust.authorities())),
        })
    }

    /// True when no authority was given.
    pub(super) fn are_unknown(&self) -> bool {
        self.checker.is_none()
    }

    /// Checks the author of a record, when an operator is one.
    ///
    /// # Errors
    /// Exit 3, with the record.
    pub(super) fn check(&self, place: &str, record: &Record) -> Outcome {
        self.checked(record).map_err(|wrong| {
            let message = format!("{place}: record {}: {wrong}", record.seq);
            CommandError::no("audit_unproved", message).hint(KEEP)
        })
    }

    fn checked(&self, record: &Record) -> Result<(), Wrong> {
        let Some(kept) = &record.proof else {
            return match needs_proof(record) {
                true => Err(Wrong::Missing),
                false => Ok(()),
            };
        };
        let proof = Proof::read(&kept.jws).map_err(|_| Wrong::Unreadable)?;
        let at = hessra_audit::time::millis(&record.ts).ok_or(Wrong::Time)? / 1_000;
        match &self.checker {
            Some(checker) => checker.check_kept(&proof, at)?,
            None => check_signature(&proof)?,
        }
        says_the_same(record, &proof, at)?;
        if kept.statement.is_empty() {
            return Ok(());
        }
        let statement = BASE64.decode(kept.statement.as_bytes());
        let statement = statement.map_err(|_| Wrong::Unreadable)?;
        let is_signed = statement_digest(&statement) == proof.statement().command;
        let asks = read_statement(&statement).ok_or(Wrong::Unreadable)?;
        match is_signed && is_of(&asks, record) {
            true => Ok(()),
            false => Err(Wrong::Content),
        }
    }
}

/// Compares who, when and which request.
fn says_the_same(record: &Record, proof: &Proof, at: u64) -> Result<(), Wrong> {
    let (signer, statement) = (proof.signer(), proof.statement());
    let name = signer.name();
    let fingerprint = HEXLOWER.encode(&signer.fingerprint());
    if record.actor.subject != name || record.actor.cert_fp != fingerprint {
        return Err(Wrong::Actor(name.to_owned()));
    }
    if record.request.id != HEXLOWER.encode(&statement.request) {
        return Err(Wrong::Request);
    }
    match statement.is_current(at) {
        true => Ok(()),
        false => Err(Wrong::Time),
    }
}

/// True for the first record of a command that only an operator makes.
fn needs_proof(record: &Record) -> bool {
    let is_of_log = record.id.starts_with("log-") && record.id.ends_with(FIRST);
    let Some(event) = Event::parse(&record.event).filter(|_| is_of_log) else {
        return false;
    };
    match event {
        Event::RevocationCreated
        | Event::RevocationLifted
        | Event::RevocationsUndone
        | Event::KeyRetired
        | Event::KeyRevoked
        | Event::KeysRewrapped
        | Event::ApprovalGiven
        | Event::ApprovalCancelled
        | Event::AuditLossAccepted
        | Event::ClockSetBack
        | Event::MembersPermitted => true,
        // A node does these by its schedule, or of a repository that it follows; never an activation by force.
        Event::KeyPrepared => !is_of_node(record, "rotation"),
        Event::KeyActivated => {
            !is_of_node(record, "rotation") || record.change.get("forced") == Some(&true.into())
        }
        Event::PolicyApplied | Event::ApprovalAsked => {
            !is_of_node(record, "repository") || !record.change.contains_key("commit")
        }
        _ => false,
    }
}

/// `node 3 (rotation)`
fn is_of_node(record: &Record, duty: &str) -> bool {
    let rest = record.actor.subject.strip_prefix("node ");
    let id = rest.and_then(|rest| rest.strip_suffix(&format!(" ({duty})")));
    id.is_some_and(|id| id.parse::<u64>().is_ok())
}

/// True when a record is of what was signed.
fn is_of(asks: &Asks, record: &Record) -> bool {
    let Some(event) = Event::parse(&record.event) else {
        return true;
    };
    let change = |name: &str| record.change.get(name).cloned().unwrap_or_default();
    let asked = |what: &str| event == Event::ApprovalAsked && change("what") == what;
    let id = |id: &dyn std::fmt::Display| record.target.id == id.to_string();
    match asks {
        Asks::Revoke(revoke) => {
            let targets = &revoke.targets;
            let named = targets
                .iter()
                .any(|target| names(target.kind.as_ref(), record));
            let same = event == Event::RevocationCreated
                && change("permanent") == revoke.permanent
                && change("why") == revoke.reason.as_str();
            named && record.ticket == revoke.ticket && (same || asked("revoke"))
        }
        Asks::Lift(lift) => {
            let named = record.target.id.ends_with(&format!("_{}", lift.revision));
            let same = event == Event::RevocationLifted && change("restore") == lift.restore;
            named && (same || (lift.restore && asked("lift_restore")))
        }
        Asks::Undo(undo) => {
            (event == Event::RevocationsUndone || asked("undo"))
                && record.target.subject == undo.operator
                && change("since_ms") == undo.since_ms
                && record.ticket == undo.ticket
        }
        Asks::Policy(policy) => {
            (event == Event::PolicyApplied || asked("apply"))
                && change("based_on") == policy.based_on
                && record.ticket == policy.ticket
        }
        Asks::Rollback(rollback) => {
            (event == Event::PolicyApplied || asked("rollback"))
                && change("rollback_to") == rollback.to
        }
        Asks::PrepareKey(_) => event == Event::KeyPrepared,
        Asks::ActivateKey(activation) => {
            event == Event::KeyActivated
                && id(&activation.id)
                && change("forced") == activation.force
        }
        Asks::RetireKey(_) => matches!(event, Event::KeyActivated | Event::KeyRetired),
        Asks::RevokeKey(key) => id(key) && (event == Event::KeyRevoked || asked("key_revoke")),
        Asks::RewrapKeys(_) => event == Event::KeysRewrapped,
        Asks::Approve(approval) => {
            event == Event::ApprovalGiven && id(&format!("ap_{}", approval.id))
        }
        Asks::Cancel(name) => event == Event::ApprovalCancelled && id(&format!("ap_{}", name.id)),
        Asks::Members(change) => is_of_member(change, record, event),
        Asks::SetClockBack(set) => event == Event::ClockSetBack && record.ticket == set.ticket,
        Asks::AcceptAuditLoss(accept) => {
            event == Event::AuditLossAccepted
                && id(&format!("node {}", accept.node))
                && record.ticket == accept.ticket
        }
    }
}

/// True when a record is of this change of the members, permitted or asked for.
fn is_of_member(change: &MemberChange, record: &Record, event: Event) -> bool {
    let (action, id) = match &change.change {
        Some(Change::Add(node)) => ("add", node.id),
        Some(Change::Promote(id)) => ("promote", *id),
        Some(Change::Remove(id)) => ("remove", *id),
        Some(Change::TransferTo(id)) => ("transfer", *id),
        None => return false,
    };
    let is_named = record.target.id == format!("node {id}");
    let is_same = match event {
        Event::MembersPermitted => record.action == action,
        Event::ApprovalAsked => record.change.get("what") == Some(&action.into()),
        _ => false,
    };
    is_named && is_same
}

/// True when a record is about this target.
fn names(target: Option<&Kind>, record: &Record) -> bool {
    let subject = &record.target.subject;
    match target {
        Some(Kind::Subtree(identity) | Kind::Exact(identity) | Kind::Lock(identity)) => {
            subject == identity
        }
        Some(Kind::KeyId(id)) => *subject == format!("key {id}"),
        Some(Kind::Certificate(fingerprint)) => *subject == HEXLOWER.encode(fingerprint),
        Some(Kind::Signer(key)) => SignerKey::new(key).is_ok_and(|key| *subject == key.to_string()),
        Some(Kind::TokenId(id)) => record.target.token_ids.contains(&HEXLOWER.encode(id)),
        None => false,
    }
}

//! Commands and their answers: the body of log entries, and what followers forward to the leader.

use std::time::Duration;

use hessra_proto::v1::log;
use hessra_revocation::{FeedId, FeedSalt, Revision, Target, UnixMillis, UnixSeconds};
use hessra_state::{
    Applied, Command, ContextStep, Envelope, FacetId, Init, Judged, KeyCommand, PendingId, Refusal,
    RefusalCode, RequestId, Revoked, SessionId, Spend, Stamped,
};
use prost::Message;

use super::author::{DecodedSigner, Signers, decode_author, decode_signers};
use super::key::{decode_key, decode_key_state, encode_key, encode_key_state};
use super::members::{decode_member_change, encode_member_change};
use super::message::{CodecError, array, identity};
use super::pending::{
    decode_action, decode_approval, decode_name, encode_action, encode_approval, encode_name,
};
use super::policy::{decode_policy, decode_policy_change, encode_policy, encode_policy_change};
use super::revoke::{
    decode_lift, decode_revoke, decode_undo, encode_lift, encode_revoke, encode_undo,
};
use super::start::{decode_start, encode_start};
use super::witness::{decode_witness, encode_witness};

/// Encodes commands with their stamps; what their proofs have in common is written once.
#[must_use]
pub fn encode_batch(commands: &[Stamped]) -> log::Batch {
    let mut signers = Signers::default();
    let commands = commands
        .iter()
        .map(|stamped| encode_stamped(stamped, &mut signers))
        .collect();
    log::Batch {
        commands,
        signers: signers.encoded(),
    }
}

/// Decodes commands with their stamps.
///
/// # Errors
/// [`CodecError::Unknown`] for a command of a newer version; [`CodecError::Invalid`] for one that no version writes.
pub fn decode_batch(batch: &log::Batch) -> Result<Vec<Stamped>, CodecError> {
    let signers = decode_signers(&batch.signers)?;
    let commands = batch.commands.iter();
    commands
        .map(|stamped| decode_stamped(stamped, &signers))
        .collect()
}

fn encode_stamped(stamped: &Stamped, signers: &mut Signers) -> log::Stamped {
    log::Stamped {
        at_ms: stamped.at.0,
        author: Some(signers.encode(&stamped.author)),
        request: stamped.request.0.to_vec(),
        command: Some(encode_command(&stamped.command)),
    }
}

fn decode_stamped(
    stamped: &log::Stamped,
    signers: &[DecodedSigner],
) -> Result<Stamped, CodecError> {
    let command = stamped
        .command
        .as_ref()
        .ok_or(CodecError::Unknown("command"))?;
    let request = RequestId(array("request", &stamped.request)?);
    let command = decode_command(command)?;
    Ok(Stamped {
        at: UnixMillis(stamped.at_ms),
        author: decode_author(stamped.author.as_ref(), signers, request, &command)?,
        request,
        command,
    })
}

/// Bytes that a command takes in a batch of the log, for limits on proposals. Its signer is not counted: one entry has few
/// of them, and each at most [`hessra_proof::PROOF_BYTES_MAX`].
#[must_use]
pub fn stamped_len(stamped: &Stamped) -> usize {
    field_len(&encode_stamped(stamped, &mut Signers::default()))
}

/// Bytes that a target takes in a command of the log, for limits on proposals.
#[must_use]
pub fn target_len(target: &Target) -> usize {
    field_len(&log::Target::from(target))
}

/// Bytes of a message as a field of another one, whose number is below 16: tag, length, content.
fn field_len(message: &impl Message) -> usize {
    const TAG: usize = 1;
    let content = message.encoded_len();
    TAG + prost::length_delimiter_len(content) + content
}

fn encode_command(command: &Command) -> log::stamped::Command {
    use log::stamped::Command as Wire;
    match command {
        Command::Init(init) => Wire::Init(log::Init {
            feed_id: init.feed_id.0.to_vec(),
            salt: init.salt.0.to_vec(),
            keys: init.keys.iter().map(encode_key).collect(),
            policy: Some(encode_policy(&init.policy)),
        }),
        Command::Revoke(revoke) => Wire::Revoke(encode_revoke(revoke)),
        Command::Lift(lift) => Wire::Lift(encode_lift(lift)),
        Command::Undo(undo) => Wire::Undo(encode_undo(undo)),
        Command::Ask(action) => Wire::Ask(encode_action(action)),
        Command::Approve(approval) => Wire::Approve(encode_approval(approval)),
        Command::Cancel(id) => Wire::Cancel(encode_name(*id)),
        Command::Members(change) => Wire::Members(encode_member_change(change)),
        Command::ApplyPolicy {
            based_on,
            policy,
            change,
        } => Wire::ApplyPolicy(log::ApplyPolicy {
            based_on: based_on.0,
            policy: Some(encode_policy(policy)),
            change: Some(encode_policy_change(change)),
        }),
        Command::Key(command) => Wire::Key(log::KeyCommand {
            action: Some(encode_key_command(command)),
        }),
        Command::Collect { now } => Wire::Collect(log::Collect { now: now.0 }),
        Command::Spend(spend) => Wire::Spend(log::Spend {
            facet: spend.facet.0.to_vec(),
            expires_at: spend.expires_at.0,
            judged: Some(encode_judged(&spend.judged)),
        }),
        Command::Context(step) => Wire::Context(log::ContextStep {
            session: step.session.0.to_vec(),
            from: step.from,
            expires_at: step.expires_at.0,
            judged: Some(encode_judged(&step.judged)),
        }),
        Command::Witness(witness) => Wire::Witness(encode_witness(witness)),
        Command::Started(start) => Wire::Started(encode_start(start)),
        Command::AcceptAuditLoss { node, ticket } => Wire::AcceptAuditLoss(log::AcceptAuditLoss {
            node: *node,
            ticket: ticket.clone(),
        }),
        Command::SetClockBack { number, ticket } => Wire::SetClockBack(log::SetClockBack {
            number: *number,
            ticket: ticket.clone(),
        }),
        Command::RaiseVersion(version) => {
            Wire::RaiseVersion(log::RaiseVersion { version: *version })
        }
    }
}

fn decode_command(command: &log::stamped::Command) -> Result<Command, CodecError> {
    use log::stamped::Command as Wire;
    Ok(match command {
        Wire::Init(init) => Command::Init(Init {
            feed_id: FeedId(array("feed_id", &init.feed_id)?),
            salt: FeedSalt(array("salt", &init.salt)?),
            keys: init.keys.iter().map(decode_key).collect::<Result<_, _>>()?,
            policy: decode_policy(init.policy.as_ref())?,
        }),
        Wire::Revoke(revoke) => Command::Revoke(decode_revoke(revoke)?),
        Wire::Lift(lift) => Command::Lift(decode_lift(lift)?),
        Wire::Undo(undo) => Command::Undo(decode_undo(undo)),
        Wire::Ask(action) => Command::Ask(decode_action(action)?),
        Wire::Approve(approval) => Command::Approve(decode_approval(approval)?),
        Wire::Cancel(name) => Command::Cancel(decode_name(name)),
        Wire::Members(change) => Command::Members(decode_member_change(change)?),
        Wire::ApplyPolicy(apply) => Command::ApplyPolicy {
            based_on: Revision(apply.based_on),
            policy: decode_policy(apply.policy.as_ref())?,
            change: decode_policy_change(apply.change.as_ref())?,
        },
        Wire::Key(command) => Command::Key(decode_key_command(command)?),
        Wire::Collect(collect) => Command::Collect {
            now: UnixSeconds(collect.now),
        },
        Wire::Spend(spend) => Command::Spend(Spend {
            facet: FacetId(array("facet", &spend.facet)?),
            expires_at: UnixSeconds(spend.expires_at),
            judged: decode_judged(spend.judged.as_ref())?,
        }),
        Wire::Context(step) => Command::Context(ContextStep {
            session: SessionId(array("session", &step.session)?),
            from: step.from,
            expires_at: UnixSeconds(step.expires_at),
            judged: decode_judged(step.judged.as_ref())?,
        }),
        Wire::Witness(witness) => Command::Witness(decode_witness(witness)?),
        Wire::Started(start) => Command::Started(decode_start(start)?),
        Wire::AcceptAuditLoss(accept) => Command::AcceptAuditLoss {
            node: accept.node,
            ticket: accept.ticket.clone(),
        },
        Wire::SetClockBack(set) => Command::SetClockBack {
            number: set.number,
            ticket: set.ticket.clone(),
        },
        Wire::RaiseVersion(raise) => Command::RaiseVersion(raise.version),
    })
}

fn encode_judged(judged: &Judged) -> log::Judged {
    log::Judged {
        subject: judged.subject.as_str().to_owned(),
        rev: judged.rev.0,
    }
}

fn decode_judged(judged: Option<&log::Judged>) -> Result<Judged, CodecError> {
    let judged = judged.ok_or(CodecError::Unknown("judged"))?;
    Ok(Judged {
        subject: identity(&judged.subject)?,
        rev: Revision(judged.rev),
    })
}

fn encode_key_command(command: &KeyCommand) -> log::key_command::Action {
    use log::key_command::Action;
    match command {
        KeyCommand::Prepare(key) => Action::Prepare(encode_key(key)),
        KeyCommand::Activate {
            id,
            published_for_min,
            instead_of,
        } => Action::Activate(log::Activation {
            id: *id,
            instead_of: *instead_of,
            published_ms_min: published_for_min
                .map(|min| u64::try_from(min.as_millis()).unwrap_or(u64::MAX)),
        }),
        KeyCommand::Retire(id) => Action::Retire(*id),
        KeyCommand::Revoke(id) => Action::Revoke(*id),
        KeyCommand::Rewrap(envelopes) => Action::Rewrap(log::Rewrap {
            envelopes: envelopes
                .iter()
                .map(|envelope| log::Envelope {
                    id: envelope.id,
                    sealed: envelope.sealed.clone(),
                })
                .collect(),
        }),
    }
}

fn decode_key_command(command: &log::KeyCommand) -> Result<KeyCommand, CodecError> {
    use log::key_command::Action;
    Ok(
        match command
            .action
            .as_ref()
            .ok_or(CodecError::Unknown("key command"))?
        {
            Action::Prepare(key) => KeyCommand::Prepare(decode_key(key)?),
            Action::Activate(activation) => KeyCommand::Activate {
                id: activation.id,
                instead_of: activation.instead_of,
                published_for_min: activation.published_ms_min.map(Duration::from_millis),
            },
            Action::Retire(id) => KeyCommand::Retire(*id),
            Action::Revoke(id) => KeyCommand::Revoke(*id),
            Action::Rewrap(rewrap) => {
                let envelopes = rewrap.envelopes.iter().map(|envelope| Envelope {
                    id: envelope.id,
                    sealed: envelope.sealed.clone(),
                });
                KeyCommand::Rewrap(envelopes.collect())
            }
        },
    )
}

/// Encodes an answer of the state machine.
#[must_use]
pub fn encode_applied(applied: &Applied) -> log::Applied {
    use log::applied::Outcome;
    let outcome = match applied {
        Applied::Nothing => None,
        Applied::Initialized { revision } => Some(Outcome::Initialized(log::Initialized {
            revision: revision.0,
        })),
        Applied::Revoked(items) => {
            let items = items.iter().map(|item| log::Revoked {
                revision: item.revision.0,
                already: item.already,
            });
            Some(Outcome::Revoked(log::Revocations {
                items: items.collect(),
            }))
        }
        Applied::Lifted { revision, already } => Some(Outcome::Lifted(log::Lifted {
            revision: revision.0,
            already: *already,
        })),
        Applied::Undoing { at_most } => Some(Outcome::Undoing(log::Undone { at_most: *at_most })),
        Applied::PolicyApplied { revision } => Some(Outcome::Policy(log::PolicyApplied {
            revision: revision.0,
        })),
        Applied::KeyChanged {
            id,
            state,
            revision,
        } => Some(Outcome::Key(log::KeyChanged {
            id: *id,
            state: encode_key_state(*state).into(),
            revision: revision.0,
        })),
        Applied::Collected { removed } => {
            Some(Outcome::Collected(log::Collected { removed: *removed }))
        }
        Applied::Spent => Some(Outcome::Spent(log::Spent {})),
        Applied::ContextAt(version) => Some(Outcome::Context(log::ContextAt { version: *version })),
        Applied::Witnessed => Some(Outcome::Witnessed(log::Witnessed {})),
        Applied::StartRecorded => Some(Outcome::StartRecorded(log::Blank {})),
        Applied::AuditLossAccepted { chains } => {
            Some(Outcome::AuditLossAccepted(log::AuditLossAccepted {
                chains: *chains,
            }))
        }
        Applied::ClockSetBack { by } => Some(Outcome::ClockSetBack(log::ClockSetBack {
            by_ms: u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
        })),
        Applied::VersionRaised(version) => {
            Some(Outcome::Version(log::RaiseVersion { version: *version }))
        }
        Applied::Rewrapped { keys } => Some(Outcome::Rewrapped(log::Rewrapped { keys: *keys })),
        Applied::Pending { id, until, already } => Some(Outcome::Asked(log::Asked {
            id: id.0,
            until_ms: until.0,
            already: *already,
        })),
        Applied::Cancelled { id } => Some(Outcome::Cancelled(encode_name(*id))),
        Applied::MembersPermitted => Some(Outcome::Members(log::Blank {})),
        Applied::Refused(refusal) => Some(Outcome::Refused(log::Refusal {
            code: u32::from(refusal.code as u8),
            message: refusal.message.clone(),
        })),
    };
    log::Applied { outcome }
}

/// Decodes an answer of the state machine.
///
/// # Errors
/// [`CodecError::Unknown`] for a key state or a refusal of a newer version.
pub fn decode_applied(applied: &log::Applied) -> Result<Applied, CodecError> {
    use log::applied::Outcome;
    let Some(outcome) = &applied.outcome else {
        return Ok(Applied::Nothing);
    };
    Ok(match outcome {
        Outcome::Initialized(initialized) => Applied::Initialized {
            revision: Revision(initialized.revision),
        },
        Outcome::Revoked(revocations) => {
            let items = revocations.items.iter();
            Applied::Revoked(
                items
                    .map(|item| Revoked {
                        revision: Revision(item.revision),
                        already: item.already,
                    })
                    .collect(),
            )
        }
        Outcome::Undoing(undone) => Applied::Undoing {
            at_most: undone.at_most,
        },
        Outcome::Lifted(lifted) => Applied::Lifted {
            revision: Revision(lifted.revision),
            already: lifted.already,
        },
        Outcome::Policy(policy) => Applied::PolicyApplied {
            revision: Revision(policy.revision),
        },
        Outcome::Key(key) => Applied::KeyChanged {
            id: key.id,
            state: decode_key_state(key.state)?,
            revision: Revision(key.revision),
        },
        Outcome::Collected(collected) => Applied::Collected {
            removed: collected.removed,
        },
        Outcome::Spent(log::Spent {}) => Applied::Spent,
        Outcome::Context(context) => Applied::ContextAt(context.version),
        Outcome::Witnessed(log::Witnessed {}) => Applied::Witnessed,
        Outcome::StartRecorded(log::Blank {}) => Applied::StartRecorded,
        Outcome::ClockSetBack(set) => Applied::ClockSetBack {
            by: Duration::from_millis(set.by_ms),
        },
        Outcome::AuditLossAccepted(accepted) => Applied::AuditLossAccepted {
            chains: accepted.chains,
        },
        Outcome::Version(raised) => Applied::VersionRaised(raised.version),
        Outcome::Rewrapped(rewrapped) => Applied::Rewrapped {
            keys: rewrapped.keys,
        },
        Outcome::Asked(asked) => Applied::Pending {
            id: PendingId(asked.id),
            until: UnixMillis(asked.until_ms),
            already: asked.already,
        },
        Outcome::Cancelled(name) => Applied::Cancelled {
            id: decode_name(name),
        },
        Outcome::Members(log::Blank {}) => Applied::MembersPermitted,
        Outcome::Refused(refusal) => Applied::Refused(Refusal::new(
            decode_refusal_code(refusal.code)?,
            refusal.message.clone(),
        )),
    })
}

fn decode_refusal_code(code: u32) -> Result<RefusalCode, CodecError> {
    const KNOWN: &[RefusalCode] = &[
        RefusalCode::NotInitialized,
        RefusalCode::AlreadyInitialized,
        RefusalCode::Invalid,
        RefusalCode::NotFound,
        RefusalCode::Conflict,
        RefusalCode::NotLiftable,
        RefusalCode::KeyState,
        RefusalCode::Limit,
        RefusalCode::SecondPerson,
        RefusalCode::NotPermitted,
        RefusalCode::AlreadySpent,
        RefusalCode::ContextOutdated,
        RefusalCode::Revoked,
        RefusalCode::Contradicted,
        RefusalCode::OtherStore,
        RefusalCode::SetBack,
        RefusalCode::Doubled,
    ];
    let known = KNOWN.iter().find(|known| u32::from(**known as u8) == code);
    known.copied().ok_or(CodecError::Unknown("refusal code"))
}

//! Statements: the content of a command as its author means it, made of a request where the request is made.
//!
//! A node makes the same statement of the command that it proposes; a signature fits when the two are equal. What the node
//! adds (stamps, ids of new keys, whether it waits for a second person) is in neither.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::v1;
use crate::v1::log::{self, statement::Asks};

/// Metadata of a request that carries its author's proof.
pub const PROOF_KEY: &str = "hessra-proof";
/// Separates these digests from all others.
const DOMAIN: &[u8] = b"hessra command v1\n";

/// Digest of a statement, which a proof signs.
#[must_use]
pub fn digest(statement: &log::Statement) -> [u8; 32] {
    bytes_digest(&statement.encode_to_vec())
}

/// Digest of a statement as it was sent or kept.
#[must_use]
pub fn bytes_digest(statement: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(DOMAIN)
        .chain_update(statement)
        .finalize()
        .into()
}

/// Digest of a text of a policy.
#[must_use]
pub fn text_digest(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// Request that changes something, and that its author signs.
pub trait Stated {
    /// Content of the request.
    fn statement(&self) -> log::Statement;

    /// Id of the request, 16 bytes.
    fn request_id(&self) -> &[u8];

    /// Sets the id of the request.
    fn set_request_id(&mut self, id: Vec<u8>);
}

macro_rules! stated {
    ($($request:ident: $self:ident => $asks:expr;)+) => {
        $(impl Stated for v1::$request {
            fn statement(&self) -> log::Statement {
                let $self = self;
                log::Statement { asks: Some($asks) }
            }

            fn request_id(&self) -> &[u8] {
                &self.request_id
            }

            fn set_request_id(&mut self, id: Vec<u8>) {
                self.request_id = id;
            }
        })+
    };
}

stated! {
    RevokeRequest: request => Asks::Revoke(log::Revoke {
        targets: request.targets.iter().map(|wire| target(wire, request.until != 0)).collect(),
        permanent: request.permanent,
        until: (request.until != 0).then_some(request.until),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        message: request.message.clone(),
    });
    LiftRequest: request => Asks::Lift(log::Lift {
        revision: request.revision,
        restore: request.restore,
        reason: request.reason.clone(),
        of: request.of.clone(),
    });
    UndoRequest: request => Asks::Undo(log::Undo {
        operator: request.operator.clone(),
        since_ms: request.since_ms,
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
    });
    ApplyPolicyRequest: request => {
        let text = |text: fn(&v1::PolicyTexts) -> &str| {
            text_digest(request.texts.as_ref().map_or("", text))
        };
        Asks::Policy(log::StatedPolicy {
            based_on: request.based_on,
            clients: text(|texts| &texts.clients_toml),
            resources: text(|texts| &texts.resources_toml),
            message: request.message.clone(),
            ticket: request.ticket.clone(),
        })
    };
    RollbackPolicyRequest: request => Asks::Rollback(log::StatedRollback {
        based_on: request.based_on,
        to: request.to_revision,
        message: request.message.clone(),
        ticket: request.ticket.clone(),
    });
    PrepareKeyRequest: request => Asks::PrepareKey(purpose(&request.purpose).into());
    ActivateKeyRequest: request => Asks::ActivateKey(log::StatedActivation {
        id: request.id,
        force: request.force,
    });
    RetireKeyRequest: request => Asks::RetireKey(request.id);
    RevokeKeyRequest: request => Asks::RevokeKey(request.id);
    RewrapRequest: _request => Asks::RewrapKeys(log::Blank {});
    SetClockBackRequest: request => Asks::SetClockBack(log::SetClockBack {
        number: request.number,
        ticket: request.ticket.clone(),
    });
    AcceptAuditLossRequest: request => Asks::AcceptAuditLoss(log::AcceptAuditLoss {
        node: request.node,
        ticket: request.ticket.clone(),
    });
    ApproveRequest: request => Asks::Approve(log::Approval {
        id: pending_number(&request.id),
        action: request.action.clone(),
    });
    CancelRequest: request => Asks::Cancel(log::PendingName { id: pending_number(&request.id) });
    AddMemberRequest: request => members(log::member_change::Change::Add(log::Node {
        id: request.id,
        peer_address: request.peer_address.clone(),
        public_address: request.public_address.clone(),
        // The store is the machine's to say.
        incarnation: Vec::new(),
    }));
    PromoteMemberRequest: request => members(log::member_change::Change::Promote(request.id));
    RemoveMemberRequest: request => members(log::member_change::Change::Remove(request.id));
    TransferLeadershipRequest: request => members(log::member_change::Change::TransferTo(request.id));
}

fn members(change: log::member_change::Change) -> Asks {
    Asks::Members(log::MemberChange {
        change: Some(change),
    })
}

/// A subtree with an end is a lock.
fn target(wire: &v1::Target, has_end: bool) -> log::Target {
    use log::target::Kind;
    use v1::target::Kind as Named;
    let kind = wire.kind.clone().map(|kind| match kind {
        Named::TokenId(bytes) => Kind::TokenId(bytes),
        Named::Subtree(text) if has_end => Kind::Lock(text),
        Named::Subtree(text) => Kind::Subtree(text),
        Named::Exact(text) => Kind::Exact(text),
        Named::KeyId(id) => Kind::KeyId(id),
        Named::Certificate(bytes) => Kind::Certificate(bytes),
        Named::Signer(bytes) => Kind::Signer(bytes),
    });
    log::Target { kind }
}

/// A word that no purpose has is refused by every node, whatever was signed.
fn purpose(word: &str) -> log::KeyPurpose {
    match word {
        "token" => log::KeyPurpose::Token,
        "feed" => log::KeyPurpose::Feed,
        "audit" => log::KeyPurpose::Audit,
        _ => log::KeyPurpose::Unspecified,
    }
}

/// Number in the name of a pending action: `ap_17`. A name that is none is refused by every node, whatever was signed.
fn pending_number(name: &str) -> u64 {
    let number = name
        .strip_prefix("ap_")
        .and_then(|digits| digits.parse().ok());
    number.unwrap_or(u64::MAX)
}

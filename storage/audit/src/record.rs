//! One record: who did what to what, when, with which outcome.
//!
//! The order of the fields is the order in the file. A field that says nothing is left out, except those that every
//! reader looks for. Texts from outside go through [`crate::text::safe`] when the record is made; a token or a key is
//! never in one: tokens appear as the ids of their blocks.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::{cut_unproved, make_safe};
use crate::time::rfc3339;

/// Format of a record.
pub const VERSION: u32 = 1;
/// Ids of tokens in one record: a token has at most sixteen blocks.
pub const TOKEN_IDS_MAX: usize = 64;

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $class:ident;)+) => {
        /// Kind of event: what happened. Few, dotted, stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Event { $($(#[doc = $doc])+ $name,)+ }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Spelling in records.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Class of the event.
            #[must_use]
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }

            /// Chain that holds records of the event.
            #[must_use]
            pub fn chain(self) -> Chain {
                match self.class() {
                    Class::Authentication | Class::Authorization if self.is_refusal() => Chain::Refusals,
                    _ if matches!(self, Self::FeedForkAlarm | Self::FeedLossAlarm) => Chain::Refusals,
                    _ => Chain::Changes,
                }
            }

            /// Reads a spelling; `None` for one that a newer node wrote.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|event| event.as_str() == text)
            }
        }
    };
}

/// Chain of a node. Strangers decide how many refusals there are, so refusals have a chain of their own: they displace
/// and delay nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    /// Changes of the cluster and issued tokens.
    #[default]
    Changes,
    /// Refusals, and alarms that a stranger can raise.
    Refusals,
}

impl Chain {
    /// Every chain of a node.
    pub const ALL: [Self; 2] = [Self::Changes, Self::Refusals];

    /// Spelling in records; also the name of the chain's folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Refusals => "refusals",
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Class of events; decides the class of their OCSF form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A caller proved, or failed to prove, its identity.
    Authentication,
    /// A caller got, or did not get, a right.
    Authorization,
    /// An operator changed what the cluster holds.
    Administration,
    /// A caller read the audit.
    Reading,
    /// The node noticed something that people must look at.
    Alarm,
    /// The audit itself: where it begins, was cut, was signed.
    Bookkeeping,
}

events! {
    /// An identity token was issued.
    IdentityIssued = "identity.issued", Authentication;
    /// An identity token was refused.
    IdentityRefused = "identity.refused", Authentication;
    /// An authorization token was issued.
    AuthzIssued = "authz.issued", Authorization;
    /// An authorization token was denied.
    AuthzDenied = "authz.denied", Authorization;
    /// A caller of the operators' or the verifiers' services was not known, or had not the right.
    AccessDenied = "access.denied", Authorization;
    /// A cluster began.
    ClusterInitialized = "cluster.initialized", Administration;
    /// Targets were revoked.
    RevocationCreated = "revocation.created", Administration;
    /// A revocation was lifted.
    RevocationLifted = "revocation.lifted", Administration;
    /// Removal of what one operator had revoked begins.
    RevocationsUndone = "revocation.undone", Administration;
    /// A revocation is proven applied at the verifiers that a caller waited for.
    RevocationCompleted = "revocation.completed", Administration;
    /// A key was published before it signs.
    KeyPrepared = "key.prepared", Administration;
    /// A key signs from now on.
    KeyActivated = "key.activated", Administration;
    /// A key signs no more.
    KeyRetired = "key.retired", Administration;
    /// A key was revoked: all that it signed is denied.
    KeyRevoked = "key.revoked", Administration;
    /// Private halves were sealed under another key-encryption key.
    KeysRewrapped = "keys.rewrapped", Administration;
    /// An operator asked for what needs a second person.
    ApprovalAsked = "approval.asked", Administration;
    /// A second person approved an action, and it was done.
    ApprovalGiven = "approval.given", Administration;
    /// A pending action was cancelled: it will not be done.
    ApprovalCancelled = "approval.cancelled", Administration;
    /// A policy stands.
    PolicyApplied = "policy.applied", Administration;
    /// A member was added, or became a voter.
    MemberAdded = "member.added", Administration;
    /// A member was removed.
    MemberRemoved = "member.removed", Administration;
    /// An operator accepted that records of a node's audit are lost: that node may begin a new chain.
    AuditLossAccepted = "audit.loss_accepted", Administration;
    /// Time of the cluster was set back, after clocks had jumped.
    ClockSetBack = "clock.set_back", Administration;
    /// An operator permitted a change of the members, or of the leader.
    MembersPermitted = "members.permitted", Administration;
    /// The audit was exported.
    AuditExported = "audit.exported", Reading;
    /// A verifier or a member holds another history at an equal revision.
    FeedForkAlarm = "feed.fork_alarm", Alarm;
    /// A verifier holds a revision that a quorum of the members does not have: acknowledged changes are lost.
    FeedLossAlarm = "feed.loss_alarm", Alarm;
    /// A member brought a command whose author is not proved.
    CommandUnproved = "command.unproved", Alarm;
    /// The state was replaced by a snapshot: administrative records between are at other nodes.
    SnapshotRestored = "snapshot.restored", Alarm;
    /// A node's audit is not the one that the cluster has witnessed: a folder was set back, cut, rewritten or copied.
    AuditContradicted = "audit.contradicted", Alarm;
    /// A node was started on a store that is not the one that the members know: lost, set back, or copied.
    MemberDisowned = "member.disowned", Alarm;
    /// A node began to write, at the start of a process.
    AuditStarted = "audit.started", Bookkeeping;
    /// A line that a crash had cut was taken away.
    AuditRecovered = "audit.recovered", Bookkeeping;
    /// Old segments were deleted.
    AuditPruned = "audit.pruned", Bookkeeping;
    /// The head of the chain, signed when an audit key is active.
    AuditCheckpoint = "audit.checkpoint", Bookkeeping;
}

impl Event {
    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::IdentityRefused | Self::AuthzDenied | Self::AccessDenied
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Success,
    /// Refused: the caller may not, or cannot.
    Denied,
    /// Not done for another reason.
    Failure,
}

impl Outcome {
    /// Spelling in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
        }
    }
}

/// A place in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Position {
    pub term: u64,
    pub index: u64,
}

/// Caller of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Identity; empty when none was proved.
    pub subject: String,
    /// Proof of the identity: `mtls`, `bearer`, `none`, or `log` for a command whose caller asked another node.
    pub auth: String,
    /// SHA-256 of the DER certificate, hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_fp: String,
    /// Address that the connection came from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
}

/// Target of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// `identity_token`, `authorization_token`, `subtree`, `key`, `policy`, `member`, `method`, …
    pub r#type: String,
    /// Identity that it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Name of the target, when it is not an identity: a revocation, a key, a member, a method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Resource of an authorization.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Operation of an authorization.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// Revocation ids of the blocks of the token, first block first, hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<String>,
}

/// Request for an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Id that the caller chose, for retries; hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Path or method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Id of the caller's trace (W3C Trace Context), hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

impl Request {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Proof of an operator's command. It is made of what nodes have checked or made, never of text from outside, so its parts
/// are longer than other texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proof {
    /// Compact JWS (RFC 7515) by the key of the author's certificate.
    pub jws: String,
    /// `Statement` of the log's format that was signed, base64. Empty when it was too long to keep; the proof has its
    /// digest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

/// One record without its hash. `seq` and `prev` are the chain's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub v: u32,
    /// Place in the chain of this node, from 1, dense.
    pub seq: u64,
    /// The same event has the same id in the chains of all nodes.
    #[serde(default)]
    pub id: String,
    /// RFC 3339; for an administrative event the time stamped into the log.
    pub ts: String,
    /// Id of the node that the chain belongs to.
    pub node: u64,
    /// Which of the node's chains it is.
    #[serde(default)]
    pub chain: Chain,
    /// Position of an administrative event in the replicated log; for a decision, how far the node had applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft: Option<Position>,
    /// Revision of the feed that it made, or on which it was decided.
    #[serde(default)]
    pub revision: u64,
    /// [`Event`].
    pub event: String,
    /// Outcome of the action.
    pub outcome: Outcome,
    /// Stable word for programs; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// Caller of the action.
    #[serde(default)]
    pub actor: Actor,
    /// Verb: `issue`, `revoke`, `lift`, …
    #[serde(default)]
    pub action: String,
    /// Target of the action.
    #[serde(default)]
    pub target: Target,
    /// Request for the action.
    #[serde(default, skip_serializing_if = "Request::is_empty")]
    pub request: Request,
    /// Proof of the author, and what it has signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Values that became different; scalars only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub change: BTreeMap<String, Value>,
    /// Ticket that tells the story.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ticket: String,
    /// Message for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Hash of the record before; zeros for the first.
    pub prev: String,
}

impl Record {
    /// A record that says what happened and when, nothing more yet. `at` is unix milliseconds.
    #[must_use]
    pub fn new(event: Event, outcome: Outcome, at: u64) -> Self {
        Self {
            v: VERSION,
            seq: 0,
            id: String::new(),
            ts: rfc3339(at),
            node: 0,
            chain: event.chain(),
            raft: None,
            revision: 0,
            event: event.as_str().to_owned(),
            outcome,
            reason: String::new(),
            actor: Actor::default(),
            action: String::new(),
            target: Target::default(),
            request: Request::default(),
            proof: None,
            change: BTreeMap::new(),
            ticket: String::new(),
            message: String::new(),
            prev: String::new(),
        }
    }

    /// Adds one value that became different.
    #[must_use]
    pub fn with(mut self, what: &str, value: impl Into<Value>) -> Self {
        self.change.insert(what.to_owned(), value.into());
        self
    }

    /// True when a stranger chose the texts of the record: no caller was proved, and it is not the node's own.
    #[must_use]
    pub fn is_unproved(&self) -> bool {
        self.actor.subject.is_empty() && !matches!(self.actor.auth.as_str(), "node" | "log")
    }

    /// Bounds every text and takes out what must not be in a record.
    pub(crate) fn make_safe(&mut self) {
        let unproved = self.is_unproved();
        let bound: fn(&mut String) = match unproved {
            true => cut_unproved,
            false => make_safe,
        };
        let Self {
            id,
            reason,
            actor,
            action,
            target,
            request,
            ticket,
            message,
            ..
        } = self;
        let texts = [
            id,
            reason,
            &mut actor.subject,
            &mut actor.auth,
            &mut actor.cert_fp,
            &mut actor.ip,
            action,
            &mut target.r#type,
            &mut target.subject,
            &mut target.id,
            &mut target.resource,
            &mut target.operation,
            &mut request.id,
            &mut request.api,
            &mut request.trace_id,
            ticket,
            message,
        ];
        for text in texts {
            bound(text);
        }
        target.token_ids.truncate(TOKEN_IDS_MAX);
        target.token_ids.retain(|id| is_token_id(id));
        for value in self.change.values_mut() {
            if let Value::String(text) = value
                && (unproved || !is_token_id(text))
            {
                bound(text);
            }
        }
    }
}

/// Ids, digests and signatures: lower-case hexadecimal, nothing that is a token.
fn is_token_id(text: &str) -> bool {
    text.len() <= 512
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

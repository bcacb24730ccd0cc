//! Digest of the whole state: two nodes that applied the same entries compare it, and a difference is an alarm.
//!
//! The bytes that are hashed are written here and nowhere else, not by protobuf: the digest must not move when a wire
//! format gains a field. Every record is a tag and its fields in order; numbers are 8 bytes big-endian, texts come after
//! their length, options after 0 or 1. So no two states write the same bytes.

use hessra_revocation::{
    Cutoff, Hash, Identity, KeyPurpose, KeyState, Revision, Rule, Target, UnixSeconds,
};
use sha2::{Digest as _, Sha256};

use crate::revocations::Lifted;
use crate::{
    Applied, ChainHead, Frozen, Machine, MemberChange, Meta, Pending, PendingAction, Policy,
    PolicyChange, PolicyOrigin, PolicyVersion, Record, Revocation, SealedKey, Witnessed,
};

/// Domain of these hashes, which separates them from all others of this product.
const DOMAIN: &[u8] = b"hessra authority state v1\n";

impl Frozen {
    /// SHA-256 over all records in canonical order. Equal logs, equal digests.
    ///
    /// Reads everything: for tests, simulation and audits, not for every request.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut writer = Writer(Sha256::new_with_prefix(DOMAIN));
        self.records().for_each(|record| writer.record(&record));
        writer.0.finalize().into()
    }
}

impl Machine {
    /// Digest, as [`Frozen::digest`].
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.freeze().digest()
    }
}

struct Writer(Sha256);

impl Writer {
    fn record(&mut self, record: &Record) {
        match record {
            Record::Meta(meta) => self.tag(1).meta(meta),
            Record::Rule(rule) => self.tag(2).rule(rule),
            Record::Revocation(revocation) => self.tag(3).revocation(revocation),
            Record::Key(key) => self.tag(4).key(key),
            Record::Policy(version) => self.tag(5).policy_version(version),
            Record::Request {
                id,
                asked,
                at,
                applied,
                sequence,
            } => {
                self.tag(6)
                    .bytes(&id.0)
                    .bytes(asked)
                    .number(at.0)
                    .number(*sequence)
                    .applied(applied);
            }
            Record::FeedEntry { revision, bytes } => {
                self.tag(7).number(revision.0).bytes(bytes);
            }
            Record::Pending(pending) => self.tag(40).pending(pending),
            Record::Spent(facet, spent) => {
                self.tag(70)
                    .bytes(&facet.0)
                    .bytes(&spent.request.0)
                    .number(spent.at.0)
                    .number(spent.until.0)
                    .text(spent.subject.as_str());
            }
            Record::Context(session, context) => {
                self.tag(71)
                    .bytes(&session.0)
                    .number(context.version)
                    .bytes(&context.request.0)
                    .number(context.until.0)
                    .text(context.subject.as_str());
            }
            Record::Witnessed(witnessed) => self.tag(80).witnessed(witnessed),
        }
    }

    fn meta(&mut self, meta: &Meta) {
        self.number(meta.version.into())
            .bytes(&meta.feed_id.0)
            .bytes(&meta.salt.0)
            .number(meta.epoch.0);
        self.number(meta.revision.0)
            .number(meta.clock.0)
            .number(meta.settled.0)
            .number(meta.clock_set_backs)
            .number(meta.keyset_version);
        self.bytes(&meta.policy_digest)
            .number(meta.policy_revision.0)
            .number(meta.policy_versions);
        self.number(meta.floor.0)
            .number(meta.floor_frontier.len() as u64);
        meta.floor_frontier
            .iter()
            .for_each(|peak| _ = self.bytes(peak));
        self.number(meta.next_sequence)
            .number(meta.next_key_id.into())
            .number(meta.next_pending)
            .number(meta.pending)
            .number(meta.witnessed);
        self.member_change(meta.member_change.as_ref());
        self.number(meta.undoing.len() as u64);
        for undoing in &meta.undoing {
            self.text(&undoing.operator)
                .number(undoing.since.0)
                .number(undoing.next.0);
        }
        self.number(meta.starts.len() as u64);
        for (node, start) in &meta.starts {
            self.number(*node)
                .bytes(&start.incarnation.0)
                .number(start.count)
                .bytes(&start.nonce);
            for line in [&start.line, &start.after] {
                self.number(line.number).bytes(&line.nonce);
            }
            for earlier in start.earlier {
                self.number(earlier);
            }
        }
    }

    fn member_change(&mut self, change: Option<&MemberChange>) {
        match change {
            None => self.tag(0),
            Some(MemberChange::Add {
                id,
                peer_address,
                public_address,
            }) => self
                .tag(1)
                .number(*id)
                .text(peer_address)
                .text(public_address),
            Some(MemberChange::Promote(id)) => self.tag(2).number(*id),
            Some(MemberChange::Remove(id)) => self.tag(3).number(*id),
            Some(MemberChange::TransferTo(id)) => self.tag(4).number(*id),
        };
    }

    fn witnessed(&mut self, witnessed: &Witnessed) {
        self.number(witnessed.name.node)
            .text(&witnessed.name.chain)
            .chain_head(&witnessed.head)
            .bytes(&witnessed.key)
            .number(witnessed.at.0)
            .tag(witnessed.loss_accepted.into());
        match &witnessed.former {
            None => self.tag(0),
            Some(former) => self.tag(1).chain_head(former),
        };
    }

    fn chain_head(&mut self, head: &ChainHead) -> &mut Self {
        self.bytes(&head.id).number(head.seq).bytes(&head.hash)
    }

    fn rule(&mut self, rule: &Rule) {
        self.tag(rule.kind.number())
            .bytes(&rule.digest.0)
            .tag(rule.depth)
            .cutoff(rule.cutoff)
            .until(rule.until);
    }

    fn revocation(&mut self, revocation: &Revocation) {
        self.number(revocation.revision.0)
            .target(&revocation.target)
            .cutoff(revocation.cutoff)
            .until(revocation.until);
        self.number(revocation.at.0)
            .text(&revocation.why.by)
            .text(&revocation.why.reason);
        self.text(&revocation.why.ticket)
            .text(&revocation.why.message)
            .lifted(revocation.lifted.as_ref());
    }

    fn key(&mut self, key: &SealedKey) {
        self.number(key.id.into())
            .tag(purpose(key.purpose))
            .tag(state(key.state));
        self.bytes(&key.public_key)
            .bytes(&key.sealed)
            .number(key.changed_at.0)
            .number(key.published.0)
            .number(key.since.0);
    }

    fn pending(&mut self, pending: &Pending) {
        self.number(pending.id.0)
            .text(&pending.by)
            .bytes(&pending.certificate)
            .bytes(&pending.key)
            .bytes(&pending.digest)
            .number(pending.at.0);
        match &pending.action {
            PendingAction::Revoke(revoke) => {
                self.tag(1).number(revoke.targets.len() as u64);
                revoke
                    .targets
                    .iter()
                    .for_each(|target| _ = self.target(target));
                self.tag(revoke.permanent.into()).until(revoke.until);
                self.text(&revoke.reason)
                    .text(&revoke.ticket)
                    .text(&revoke.message);
            }
            PendingAction::Lift(lift) => {
                self.tag(2)
                    .number(lift.revision.0)
                    .text(lift.of.as_ref().map_or("", Identity::as_str))
                    .tag(lift.restore.into())
                    .text(&lift.reason);
            }
            PendingAction::RevokeKey(id) => _ = self.tag(3).number((*id).into()),
            PendingAction::ApplyPolicy {
                based_on,
                policy,
                change,
            } => {
                self.tag(4).number(based_on.0).policy_change(change);
                self.policy(policy);
            }
            PendingAction::Members(change) => self.tag(5).member_change(Some(change)),
            PendingAction::Undo(undo) => {
                self.tag(6)
                    .text(&undo.operator)
                    .number(undo.since.0)
                    .text(&undo.reason)
                    .text(&undo.ticket);
            }
        }
    }

    fn policy(&mut self, policy: &Policy) {
        self.bytes(&policy.digest)
            .text(&policy.clients_toml)
            .text(&policy.resources_toml);
    }

    fn policy_version(&mut self, version: &PolicyVersion) {
        self.number(version.revision.0)
            .number(version.at.0)
            .text(&version.by);
        self.policy_change(&version.change);
        self.policy(&version.policy);
    }

    fn policy_change(&mut self, change: &PolicyChange) {
        match &change.origin {
            PolicyOrigin::Start => self.tag(0),
            PolicyOrigin::Operator => self.tag(1),
            PolicyOrigin::Rollback(revision) => self.tag(2).number(revision.0),
            PolicyOrigin::Git(commit) => self.tag(3).text(commit),
        };
        self.text(&change.message).text(&change.ticket);
    }

    fn applied(&mut self, applied: &Applied) {
        match applied {
            Applied::Nothing => self.tag(0),
            Applied::Initialized { revision } => self.tag(1).number(revision.0),
            Applied::Revoked(answers) => {
                self.tag(2).number(answers.len() as u64);
                answers.iter().fold(self, |writer, answer| {
                    writer.number(answer.revision.0).tag(answer.already.into())
                })
            }
            Applied::Lifted { revision, already } => {
                self.tag(3).number(revision.0).tag((*already).into())
            }
            Applied::Undoing { at_most } => self.tag(90).number(*at_most),
            Applied::PolicyApplied { revision } => self.tag(4).number(revision.0),
            Applied::KeyChanged {
                id,
                state: key_state,
                revision,
            } => self
                .tag(5)
                .number((*id).into())
                .tag(state(*key_state))
                .number(revision.0),
            Applied::Collected { removed } => self.tag(6).number(*removed),
            Applied::Spent => self.tag(70),
            Applied::ContextAt(version) => self.tag(71).number(*version),
            Applied::Witnessed => self.tag(80),
            Applied::StartRecorded => self.tag(82),
            Applied::AuditLossAccepted { chains } => self.tag(81).number(*chains),
            Applied::ClockSetBack { by } => self.tag(83).number(by.as_millis() as u64),
            Applied::VersionRaised(version) => self.tag(7).number((*version).into()),
            Applied::Rewrapped { keys } => self.tag(40).number(*keys),
            Applied::Pending { id, until, already } => self
                .tag(41)
                .number(id.0)
                .number(until.0)
                .tag((*already).into()),
            Applied::Cancelled { id } => self.tag(42).number(id.0),
            Applied::MembersPermitted => self.tag(60),
            Applied::Refused(refusal) => self.tag(8).tag(refusal.code as u8).text(&refusal.message),
        };
    }

    fn target(&mut self, target: &Target) -> &mut Self {
        // A signer's key shares the kind of a key's id, and not its form.
        let is_signer = matches!(target, Target::Signer(_));
        self.tag(if is_signer { 7 } else { target.kind().number() });
        match target {
            Target::Token(id) => self.bytes(id.as_bytes()),
            Target::Subtree(identity) | Target::Exact(identity) | Target::Lock(identity) => {
                self.text(identity.as_str())
            }
            Target::Key(id) => self.number((*id).into()),
            Target::Signer(key) => self.bytes(&key.to_bytes()),
            Target::Certificate(fingerprint) => self.bytes(fingerprint),
        }
    }

    fn cutoff(&mut self, cutoff: Cutoff) -> &mut Self {
        match cutoff {
            Cutoff::Permanent => self.tag(0),
            Cutoff::Before(Revision(revision)) => self.tag(1).number(revision),
        }
    }

    fn until(&mut self, until: Option<UnixSeconds>) -> &mut Self {
        match until {
            None => self.tag(0),
            Some(UnixSeconds(until)) => self.tag(1).number(until),
        }
    }

    fn lifted(&mut self, lifted: Option<&Lifted>) -> &mut Self {
        match lifted {
            None => self.tag(0),
            Some(lifted) => self
                .tag(1)
                .number(lifted.revision.0)
                .number(lifted.at.0)
                .text(&lifted.by)
                .tag(lifted.restored.into()),
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.update(bytes);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_be_bytes());
        self
    }

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.update([tag]);
        self
    }
}

fn purpose(purpose: KeyPurpose) -> u8 {
    match purpose {
        KeyPurpose::Token => 1,
        KeyPurpose::Feed => 2,
        KeyPurpose::Audit => 3,
    }
}

fn state(state: KeyState) -> u8 {
    match state {
        KeyState::Prepared => 1,
        KeyState::Active => 2,
        KeyState::Retired => 3,
        KeyState::Revoked => 4,
    }
}

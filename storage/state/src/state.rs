//! State, and how a command changes it.
//!
//! A command is first decided, without touching anything, then it changes the state: a refused one has moved the clock
//! and nothing else. Every change that verifiers must know of goes through one private `append`, which gives it the
//! next revision; so revisions have no holes, and the view is what the feed says.
//!
//! A clone costs microseconds whatever the size: readers get one after each applied batch.

use std::sync::Arc;

use hessra_revocation::merkle::Frontier;
use hessra_revocation::{
    Change as FeedChange, Digest, Epoch, FeedEntry, FeedId, FeedSalt, History, Query, Revision,
    Rule, RuleKind, Target, UnixMillis, UnixSeconds, View,
};
use imbl::{OrdMap, OrdSet};

use crate::command::{Init, Judged};
use crate::contexts::Contexts;
use crate::keys::Keys;
use crate::limits::{AUTHOR_BYTES_MAX, COLLECTED_MAX, KEY_ID_SKIP_MAX, TICKET_BYTES_MAX};
use crate::policy::NO_POLICY;
use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::Revocations;
use crate::timed::Timed;
use crate::version::NEWEST;
use crate::{
    Applied, Author, Command, ContextStep, ContextVersion, FacetId, KeyCommand, MemberChange,
    Pendings, Policy, PolicyChange, PolicyOrigin, PolicyVersion, PolicyVersions, RequestId,
    Revocation, SealedKey, SessionId, Spend, Spent, Stamped, Start, Starts, Undoing,
    WitnessedHeads, keys, policy,
};

/// State, as readers see it. Equal logs make equal states, on every node.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) view: View,
    pub(crate) history: History,
    pub(crate) revocations: Revocations,
    /// Lock rules by their end, for collection. Derived from the view.
    pub(crate) locks: OrdSet<(UnixSeconds, Digest)>,
    pub(crate) keys: OrdMap<u32, SealedKey>,
    pub(crate) policies: PolicyVersions,
    pub(crate) pending: Pendings,
    /// Next key id: every id below was used.
    pub(crate) next_key_id: u32,
    pub(crate) ledger: Timed<FacetId, Spent>,
    pub(crate) contexts: Contexts,
    pub(crate) witnessed: WitnessedHeads,
    pub(crate) member_change: Option<MemberChange>,
    /// Operators whose revocations are being removed.
    pub(crate) undoing: OrdMap<String, Undoing>,
    pub(crate) starts: Starts,
    pub(crate) clock: UnixMillis,
    pub(crate) settled: UnixMillis,
    pub(crate) clock_set_backs: u64,
    pub(crate) version: u32,
}

impl State {
    /// State before [`Command::Init`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            view: View::new(FeedId::default(), Epoch(1), FeedSalt::default()),
            history: History::new(Revision(0), Frontier::default()),
            revocations: Revocations::default(),
            locks: OrdSet::new(),
            keys: OrdMap::new(),
            policies: PolicyVersions::default(),
            pending: Pendings::default(),
            next_key_id: 0,
            ledger: Timed::default(),
            contexts: Contexts::default(),
            witnessed: WitnessedHeads::default(),
            member_change: None,
            undoing: OrdMap::new(),
            starts: Starts::default(),
            clock: UnixMillis(0),
            settled: UnixMillis(0),
            clock_set_backs: 0,
            version: 1,
        }
    }

    /// True once [`Command::Init`] was applied.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.view.revision > Revision(0)
    }

    /// View: the content of the feed; cheap to clone. Revision 0 and a zero feed id before [`Command::Init`].
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Retained feed entries.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Deterministic time: the latest of all stamps since it was set back last.
    #[must_use]
    pub fn clock(&self) -> UnixMillis {
        self.clock
    }

    /// State machine version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Revocations by the revision that made them, lifted and ended ones among them.
    #[must_use]
    pub fn revocations(&self) -> &OrdMap<Revision, Arc<Revocation>> {
        self.revocations.by_revision()
    }

    /// Revocations of one target, oldest first, lifted and ended ones among them. Costs as much as there are of it.
    pub fn revocations_of(&self, target: &Target) -> impl Iterator<Item = &Revocation> {
        let digest = target.digest(self.view().set.salt());
        self.revocations.of(target.kind(), digest)
    }

    /// Keys by id.
    #[must_use]
    pub fn keys(&self) -> &OrdMap<u32, SealedKey> {
        &self.keys
    }

    /// Unused id for a new key: never used, nor revoked as the id of somebody else's key.
    #[must_use]
    pub fn unused_key_id(&self) -> u32 {
        // INVARIANT: as many ids as that are not revoked by rule in a cluster that means well; a refusal says the rest.
        let ids = (0..=KEY_ID_SKIP_MAX).filter_map(|skip| self.next_key_id.checked_add(skip));
        let unused = |id: &u32| self.find(&Target::Key(*id)).is_none();
        ids.into_iter().find(unused).unwrap_or(self.next_key_id)
    }

    /// Actions that wait for a second person.
    #[must_use]
    pub fn pending(&self) -> &Pendings {
        &self.pending
    }

    /// Policy that stands, and the revision that put it there.
    #[must_use]
    pub fn policy(&self) -> (Revision, &Policy) {
        let current = self.policies.newest();
        current.map_or((Revision(0), &NO_POLICY), |version| {
            (version.revision, &version.policy)
        })
    }

    /// All versions of the policy that are kept, also the one that stands.
    #[must_use]
    pub fn policies(&self) -> &PolicyVersions {
        &self.policies
    }

    /// Use of a facet, while it is remembered.
    #[must_use]
    pub fn spent(&self, facet: &FacetId) -> Option<&Spent> {
        self.ledger.find(facet)
    }

    /// Number of facets in the ledger.
    #[must_use]
    pub fn spent_count(&self) -> usize {
        self.ledger.len()
    }

    /// Latest version of a session's context, while it is remembered.
    #[must_use]
    pub fn context(&self, session: &SessionId) -> Option<&ContextVersion> {
        self.contexts.find(session)
    }

    /// Change of the members that was permitted last: no other one may be made.
    #[must_use]
    pub fn member_change(&self) -> Option<&MemberChange> {
        self.member_change.as_ref()
    }

    /// Newest start of every node that ever was a member.
    #[must_use]
    pub fn starts(&self) -> &Starts {
        &self.starts
    }

    /// Number of sessions that are remembered.
    #[must_use]
    pub fn context_count(&self) -> usize {
        self.contexts.len()
    }
}

/// Audit chains.
impl State {
    /// Newest heads of the audit chains of every node.
    #[must_use]
    pub fn witnessed(&self) -> &WitnessedHeads {
        &self.witnessed
    }

    fn accept_audit_loss(&mut self, node: u64, ticket: &str) -> Result<Applied, Refusal> {
        check_ticket(ticket)?;
        let chains = self.witnessed.accept_loss(node)?;
        Ok(Applied::AuditLossAccepted { chains })
    }
}

pub(crate) fn check_ticket(ticket: &str) -> Result<(), Refusal> {
    if ticket.len() > TICKET_BYTES_MAX {
        let message = format!("the ticket has more than {TICKET_BYTES_MAX} bytes; shorten it");
        return Err(Refusal::new(RefusalCode::Limit, message));
    }
    Ok(())
}

/// Decisions, and the changes that follow.
impl State {
    pub(crate) fn decide(&mut self, stamped: &Stamped, by: &str) -> Result<Applied, Refusal> {
        if by.len() > AUTHOR_BYTES_MAX {
            let message = format!(
                "the author has more than {AUTHOR_BYTES_MAX} bytes; ask with a shorter certificate name"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        match (&stamped.command, self.is_initialized()) {
            (Command::Init(init), false) => self.initialize(init, by),
            (Command::Init(_), true) => Err(Refusal::new(
                RefusalCode::AlreadyInitialized,
                format!(
                    "this cluster began as {}; use it, or begin another with empty data directories",
                    self.view.feed_id
                ),
            )),
            (_, false) => Err(Refusal::new(
                RefusalCode::NotInitialized,
                "the cluster has not begun; initialize it on one node first",
            )),
            (Command::Revoke(revoke), true) => self.revoke(revoke, by),
            (Command::Lift(lift), true) => self.lift(lift, by),
            (Command::Undo(undo), true) => self.undo(undo),
            (
                Command::ApplyPolicy {
                    based_on,
                    policy,
                    change,
                },
                true,
            ) => self.apply_policy(*based_on, policy, change, by),
            (Command::Key(command), true) => self.change_key(command),
            (Command::Ask(action), true) => self.ask(action, (by, &stamped.author)),
            (Command::Approve(approval), true) => self.approve(approval, (by, &stamped.author)),
            (Command::Cancel(id), true) => self.cancel(*id),
            (Command::Members(change), true) => self.permit_members(change),
            (Command::Collect { now }, true) => Ok(self.collect(*now)),
            (Command::Spend(spend), true) => self.spend(spend, stamped.request),
            (Command::Context(step), true) => self.step(step, stamped.request),
            (Command::Witness(witness), true) => self
                .witnessed
                .witness(&self.view.feed_id, witness, self.clock)
                .map(|()| Applied::Witnessed),
            (Command::Started(start), true) => self.record_start(&stamped.author, start),
            (Command::AcceptAuditLoss { node, ticket }, true) => {
                self.accept_audit_loss(*node, ticket)
            }
            (Command::SetClockBack { number, ticket }, true) => {
                self.set_clock_back(stamped.at, *number, ticket)
            }
            (Command::RaiseVersion(version), true) => self.raise_version(*version),
        }
    }

    /// Books a use. The request that won is told so again, whatever was revoked since: it has happened.
    fn spend(&mut self, spend: &Spend, request: RequestId) -> Result<Applied, Refusal> {
        let spent = self.ledger.find(&spend.facet);
        if spent.is_none_or(|spent| spent.request != request) {
            self.still_stands(&spend.judged)?;
        }
        let now = (self.clock, self.ends_by());
        self.ledger.spend(spend, request, now)?;
        Ok(Applied::Spent)
    }

    /// Moves a session on. The request that made its latest version is told so again.
    fn step(&mut self, step: &ContextStep, request: RequestId) -> Result<Applied, Refusal> {
        let latest = self.contexts.find(&step.session);
        if latest.is_none_or(|latest| latest.request != request) {
            self.still_stands(&step.judged)?;
        }
        let version = self.contexts.step(step, request, self.ends_by())?;
        Ok(Applied::ContextAt(version))
    }

    /// Checks that nothing was revoked since a node judged what it asks for now.
    fn still_stands(&self, judged: &Judged) -> Result<(), Refusal> {
        let query = Query {
            identities: std::slice::from_ref(&judged.subject),
            actor: Some(&judged.subject),
            rev: Some(judged.rev),
            now: self.clock.seconds(),
            ..Query::default()
        };
        match self.view.set.check(&query) {
            None => Ok(()),
            Some(_) => {
                let message = format!("`{}` was revoked meanwhile", judged.subject);
                Err(Refusal::new(RefusalCode::Revoked, message))
            }
        }
    }

    fn initialize(&mut self, init: &Init, by: &str) -> Result<Applied, Refusal> {
        if init.feed_id == FeedId::default() {
            return Err(Refusal::invalid(
                "a cluster needs a feed id of its own, not zero; choose 16 random bytes",
            ));
        }
        keys::check_first(&init.keys)?;
        init.policy.check()?;
        self.view = View::new(init.feed_id, Epoch(1), init.salt);
        init.keys.iter().for_each(|key| self.put_key(key));
        let change = PolicyChange {
            origin: PolicyOrigin::Start,
            ..PolicyChange::default()
        };
        self.put_policy(&init.policy, &change, by);
        Ok(Applied::Initialized {
            revision: self.view.revision,
        })
    }

    pub(crate) fn apply_policy(
        &mut self,
        based_on: Revision,
        policy: &Policy,
        change: &PolicyChange,
        by: &str,
    ) -> Result<Applied, Refusal> {
        policy.check()?;
        let current = policy::revision_in_force(&self.policies, based_on, policy, change)?;
        Ok(Applied::PolicyApplied {
            revision: current.unwrap_or_else(|| self.put_policy(policy, change, by)),
        })
    }

    pub(crate) fn change_key(&mut self, command: &KeyCommand) -> Result<Applied, Refusal> {
        self.check_not_revoked_elsewhere(command)?;
        let keys = Keys {
            keys: &self.keys,
            next_id: self.next_key_id,
            clock: self.clock,
        };
        let changed = keys.decide(command)?;
        let Some(id) = keys::id_of(command) else {
            return Ok(self.rewrap(changed));
        };
        changed.iter().for_each(|key| self.put_key(key));
        let key = self
            .keys
            .get(&id)
            .expect("decide refuses unknown keys and the new one was just put");
        Ok(Applied::KeyChanged {
            id,
            state: key.state,
            revision: key.changed_at,
        })
    }

    fn check_not_revoked_elsewhere(&self, command: &KeyCommand) -> Result<(), Refusal> {
        match command {
            KeyCommand::Prepare(key) if self.find(&Target::Key(key.id)).is_some() => {
                let message = format!(
                    "key id {} is revoked, whoever held it; generate a new key with an unused id",
                    key.id
                );
                Err(Refusal::new(RefusalCode::Conflict, message))
            }
            _ => Ok(()),
        }
    }

    /// Replaces envelopes. No revision: verifiers know nothing of envelopes.
    fn rewrap(&mut self, keys: Vec<SealedKey>) -> Applied {
        let count = keys.len() as u64;
        for key in keys {
            self.keys.insert(key.id, key);
        }
        Applied::Rewrapped { keys: count }
    }

    /// Forgets retired keys whose tokens have all expired, here and at verifiers, and returns their number.
    pub(crate) fn forget_keys(&mut self) -> usize {
        let settled = self.settled;
        let has_ended = |key: &&SealedKey| key.forgotten_from().is_some_and(|from| from < settled);
        let ended = self.keys.values().filter(has_ended).take(COLLECTED_MAX);
        let ended: Vec<u32> = ended.map(|key| key.id).collect();
        for id in &ended {
            self.append(FeedChange::ForgetKey { id: *id });
            self.keys.remove(id);
        }
        ended.len()
    }

    /// Permits one change of the members: the last that was permitted is the one that may be made. An id that a node ever had
    /// is not given again: the members, the log and the audit know that node by it.
    pub(crate) fn permit_members(&mut self, change: &MemberChange) -> Result<Applied, Refusal> {
        match change {
            MemberChange::Add { id, .. } if self.starts.find(*id).is_some() => {
                let message = format!(
                    "node id {id} is or was a member's, and no id is used twice; choose a number that no node ever had"
                );
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
            MemberChange::Remove(id) => self.starts.remember(*id)?,
            _ => {}
        }
        self.member_change = Some(change.clone());
        Ok(Applied::MembersPermitted)
    }

    fn record_start(&mut self, author: &Author, start: &Start) -> Result<Applied, Refusal> {
        let Author::Node { id, .. } = author else {
            return Err(Refusal::invalid("a node records its own start"));
        };
        self.starts.record(*id, start)?;
        Ok(Applied::StartRecorded)
    }

    fn raise_version(&mut self, version: u32) -> Result<Applied, Refusal> {
        if version > NEWEST {
            let message = format!(
                "version {version} is newer than {NEWEST}, the newest known here; upgrade every node first"
            );
            return Err(Refusal::invalid(message));
        }
        if version < self.version {
            let message = format!(
                "the state machine is at version {}, which never goes down; ask for a later one",
                self.version
            );
            return Err(Refusal::invalid(message));
        }
        self.version = version;
        Ok(Applied::VersionRaised(version))
    }

    fn put_key(&mut self, key: &SealedKey) {
        let changed_at = self.append(FeedChange::Key(key.public()));
        let known = self.keys.get(&key.id);
        let published = known.map_or(self.clock, |known| known.published);
        self.next_key_id = self.next_key_id.max(key.id.saturating_add(1));
        self.keys.insert(
            key.id,
            SealedKey {
                changed_at,
                published,
                since: self.clock,
                ..key.clone()
            },
        );
    }

    fn put_policy(&mut self, policy: &Policy, change: &PolicyChange, by: &str) -> Revision {
        let revision = self.append(FeedChange::Policy {
            digest: policy.digest,
        });
        self.policies.push(PolicyVersion {
            revision,
            policy: policy.clone(),
            at: self.clock,
            by: by.to_owned(),
            change: change.clone(),
        });
        self.pending.policy_stands(revision);
        revision
    }

    /// Puts a rule, and returns the revision of the change.
    pub(crate) fn put_rule(&mut self, rule: Rule) -> Revision {
        self.forget_lock(rule.kind, rule.digest);
        if let (RuleKind::Lock, Some(until)) = (rule.kind, rule.until) {
            self.locks.insert((until, rule.digest));
        }
        self.append(FeedChange::Put(rule))
    }

    /// Removes a rule that stands, and returns the revision of the change.
    pub(crate) fn remove_rule(&mut self, kind: RuleKind, digest: Digest) -> Revision {
        self.forget_lock(kind, digest);
        self.append(FeedChange::Remove { kind, digest })
    }

    pub(crate) fn put_revocation(&mut self, revocation: Revocation) {
        self.revocations.put(self.view.set.salt(), revocation);
    }

    fn forget_lock(&mut self, kind: RuleKind, digest: Digest) {
        let until = self
            .view
            .set
            .rule(kind, &digest)
            .and_then(|rule| rule.until);
        if let (RuleKind::Lock, Some(until)) = (kind, until) {
            self.locks.remove(&(until, digest));
        }
    }

    /// Appends a change to the feed under the next revision. Nothing else makes revisions.
    fn append(&mut self, change: FeedChange) -> Revision {
        let revision = self.view.revision.next();
        let entry = FeedEntry {
            revision,
            at: self.clock.seconds(),
            change,
        };
        self.view.apply(&entry).expect(
            "the entry follows the view's revision and its change was decided on this view",
        );
        self.history.push(&entry, &self.view.log);
        revision
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

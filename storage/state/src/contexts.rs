//! Contexts: the latest version of every session's record of exposures.
//!
//! A context token grows: each version knows of every exposure of the one before. A holder of an old version could hide
//! the newer exposures with it, so only the latest is accepted: a step names the version that it was made from, the log
//! orders the steps, and one that starts from an older version is refused. No node can be shown an old version for
//! longer than its own state may lag.
//!
//! Like the ledger, an entry is the first answer of its latest step: a retry of that step gets the same version. A
//! session ends with the identity that it is of: a revocation that covers that identity removes it.

use hessra_revocation::{Identity, Target, UnixMillis, UnixSeconds};
use imbl::{OrdMap, OrdSet};

use crate::command::{ContextStep, RequestId, SessionId};
use crate::limits::{CONTEXT_SECONDS_MAX, CONTEXTS_MAX, CONTEXTS_PER_BASE_MAX, SESSIONS_ENDED_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::base_of;
use crate::timed::{Kept, Timed, check_end};

/// Latest version of a session's context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextVersion {
    /// Version; no other is accepted. From 1.
    pub version: u64,
    /// Request that made it: a retry of it gets the same answer.
    pub request: RequestId,
    /// End of the session; it is kept until then.
    pub until: UnixSeconds,
    /// Identity that began it.
    pub subject: Identity,
}

impl Kept for ContextVersion {
    fn until(&self) -> UnixSeconds {
        self.until
    }

    fn subject(&self) -> &Identity {
        &self.subject
    }
}

/// Sessions by id and by subject. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts {
    sessions: Timed<SessionId, ContextVersion>,
    /// Ids by the path of the subject.
    by_subject: OrdMap<String, OrdSet<SessionId>>,
}

impl Contexts {
    pub(crate) fn find(&self, session: &SessionId) -> Option<&ContextVersion> {
        self.sessions.find(session)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SessionId, &ContextVersion)> {
        self.sessions.iter()
    }

    pub(crate) fn ended(&self, end: UnixSeconds, max: usize) -> Vec<SessionId> {
        self.sessions.ended(end, max)
    }

    pub(crate) fn has_ended(&self, now: UnixSeconds) -> bool {
        self.sessions.has_ended(now)
    }

    /// Puts a session in the place of the one of that id; true when there was one.
    pub(crate) fn put(&mut self, session: SessionId, context: ContextVersion) -> bool {
        let was_there = self.remove(&session);
        let path = context.subject.path().to_owned();
        let mut own = self.by_subject.get(&path).cloned().unwrap_or_default();
        own.insert(session);
        self.by_subject.insert(path, own);
        self.sessions.put(session, context);
        was_there
    }

    /// Removes a session; true when there was one.
    pub(crate) fn remove(&mut self, session: &SessionId) -> bool {
        let Some(former) = self.sessions.remove(session) else {
            return false;
        };
        let path = former.subject.path();
        let left = self.by_subject.get(path).map(|own| own.without(session));
        match left {
            Some(left) if !left.is_empty() => _ = self.by_subject.insert(path.to_owned(), left),
            _ => _ = self.by_subject.remove(path),
        }
        true
    }

    /// Ends the sessions of the identities that a target covers.
    pub(crate) fn end(&mut self, target: &Target) {
        let ended = match target {
            Target::Subtree(identity) | Target::Lock(identity) => self.of(identity, true),
            Target::Exact(identity) => self.of(identity, false),
            Target::Token(_) | Target::Key(_) | Target::Signer(_) | Target::Certificate(_) => {
                return;
            }
        };
        for session in &ended {
            self.remove(session);
        }
    }

    /// Sessions of an identity, and of those below it, at most [`SESSIONS_ENDED_MAX`].
    fn of(&self, identity: &Identity, below: bool) -> Vec<SessionId> {
        let path = identity.path();
        let from = self.by_subject.range(path.to_owned()..);
        let near = from.take_while(|(subject, _)| subject.starts_with(path));
        let covered = near.filter(|(subject, _)| match subject[path.len()..].chars().next() {
            None => true,
            Some(next) => below && next == ':',
        });
        covered
            .flat_map(|(_, sessions)| sessions.iter().copied())
            .take(SESSIONS_ENDED_MAX)
            .collect()
    }

    /// Moves a session to its next version, or finds that this very request did before; the version.
    pub(crate) fn step(
        &mut self,
        step: &ContextStep,
        request: RequestId,
        clock: UnixMillis,
    ) -> Result<u64, Refusal> {
        let latest = self.find(&step.session).cloned();
        if let Some(latest) = latest.as_ref().filter(|latest| latest.request == request) {
            return Ok(latest.version);
        }
        let version = latest.as_ref().map_or(0, |latest| latest.version);
        if step.from != version {
            return Err(outdated(step.from, version));
        }
        let (until, subject) = match latest {
            Some(latest) => (latest.until, latest.subject),
            None => (step.expires_at, step.judged.subject.clone()),
        };
        check_end(clock, until, CONTEXT_SECONDS_MAX)?;
        if version == 0 {
            self.check_room(&subject)?;
        }
        let version = version + 1;
        let entry = ContextVersion {
            version,
            request,
            until,
            subject,
        };
        self.put(step.session, entry);
        Ok(version)
    }

    fn check_room(&self, subject: &Identity) -> Result<(), Refusal> {
        let base = base_of(subject);
        let message = if self.len() >= CONTEXTS_MAX {
            format!(
                "the cluster remembers {CONTEXTS_MAX} sessions that have not ended, the most it can; try again when some have"
            )
        } else if self.sessions.len_below(base) >= CONTEXTS_PER_BASE_MAX {
            format!(
                "`{base}` and what is below it have {CONTEXTS_PER_BASE_MAX} sessions that have not ended, the most that they \
                 can; try again when some have, or ask for shorter ones"
            )
        } else {
            return Ok(());
        };
        Err(Refusal::new(RefusalCode::Limit, message))
    }
}

fn outdated(from: u64, latest: u64) -> Refusal {
    let message = match (from, latest) {
        (_, 0) => "the session is not known or has ended; begin a new one".to_owned(),
        (0, _) => "the session has begun; use its latest context".to_owned(),
        _ => format!(
            "the context is version {from} and the session is at {latest}; use the latest context"
        ),
    };
    Refusal::new(RefusalCode::ContextOutdated, message)
}

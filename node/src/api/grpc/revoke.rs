//! Revocations: revoke, preview, lift, undo.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hessra_consensus::Committed;
use hessra_policy::Operator;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_revocation::{Cutoff, Identity, Revision, SignerKey, Target, UnixMillis, UnixSeconds};
use hessra_state::revocations::RevocationId;
use hessra_state::{
    Applied, Command, Lift, PendingAction, Revocation, Revoke, Revoked, State, Undo,
};
use opentelemetry::KeyValue;
use tonic::{Request, Status};

use super::caller::Caller;
use super::denied::denied_by;
use super::known;
use super::service::AuthorityService;
use super::target::{command, other_request, refused, request_id};
use crate::callers::is_revoked;
use crate::policy::Right;

/// Names shown per list of a preview; a realm may have a million members.
const NAMES_MAX: usize = 1_000;
impl AuthorityService {
    pub(super) async fn revoke_targets(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<v1::RevokeResponse, Status> {
        let caller = self.caller(&request)?;
        let deadline = self.deadline(&request);
        let revoke = command(request.get_ref())?;
        if permit(&caller, &revoke, request.get_ref().force)? == Approval::SecondPerson {
            let (id, action) = (&request.get_ref().request_id, PendingAction::Revoke(revoke));
            return Ok(v1::RevokeResponse {
                pending: Some(self.ask(&request, &caller, id, action).await?),
                ..Default::default()
            });
        }
        let id = request_id(&request.get_ref().request_id)?;
        self.has_allowance(&caller, revoke.targets.len())?;
        let targets = revoke.targets.clone();
        let command = Command::Revoke(revoke);
        let committed = self.propose(&caller, command, id, deadline).await?;
        let items = match committed.applied.clone() {
            Applied::Revoked(items) if items.len() == targets.len() => items,
            Applied::Refused(refusal) => return Err(refused(refusal).into()),
            _ => return Err(other_request()),
        };
        self.count(&caller, &targets, &items);
        Ok(self.revoked(&items, &committed))
    }

    /// Refuses an operator that revokes more in a short time than an incident needs.
    fn has_allowance(&self, caller: &Caller, targets: usize) -> Result<(), Failure> {
        let targets = u32::try_from(targets).ok().and_then(NonZeroU32::new);
        let targets = targets.unwrap_or(NonZeroU32::MIN);
        match self.revocable.check_key_n(&caller.identity, targets) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::new(
                Reason::Limit,
                format!(
                    "`{}` revokes more than `limits.revocations_per_second`",
                    caller.identity
                ),
            )
            .hint("Revoke a subtree instead of what is below it, or go on in a second.")
            .retry_after(Duration::from_secs(1))),
        }
    }

    fn revoked(&self, items: &[Revoked], committed: &Committed) -> v1::RevokeResponse {
        let state = self.consensus.state();
        let epoch = state.view().epoch;
        let item = |item: &Revoked| v1::RevokedItem {
            id: RevocationId {
                epoch,
                revision: item.revision,
            }
            .to_string(),
            revision: item.revision.0,
            already: item.already,
        };
        let nodes = self.consensus.raft().members().nodes.len();
        v1::RevokeResponse {
            items: items.iter().map(item).collect(),
            committed_at_ms: self.consensus.world().clock.wall().0,
            nodes_applied: committed.holders.min(nodes) as u32,
            nodes: nodes as u32,
            commit_ms: committed.took.as_secs_f64() * 1_000.0,
            pending: None,
        }
    }

    fn count(&self, caller: &Caller, targets: &[Target], items: &[Revoked]) {
        for (target, _) in targets.iter().zip(items).filter(|(_, item)| !item.already) {
            let label = KeyValue::new("scope", target.kind().as_str());
            self.metrics.revocations_committed.add(1, &[label]);
        }
        let (first, last) = (
            items.first().map_or(0, |item| item.revision.0),
            items.last().map_or(0, |item| item.revision.0),
        );
        // Not louder: the audit has a record of each, and in an incident there are thousands.
        tracing::debug!(
            first,
            last,
            targets = targets.len(),
            by = caller.identity,
            "revoked"
        );
    }

    pub(super) fn preview(
        &self,
        request: &Request<v1::RevokeRequest>,
    ) -> Result<v1::PreviewResponse, Status> {
        let caller = self.caller(request)?;
        let request = request.get_ref();
        let revoke = command(request)?;
        let (approval, refusal) = match permit(&caller, &revoke, request.force) {
            Ok(approval) => (approval, None),
            Err(refusal) => (Approval::None, Some(refusal)),
        };
        // Who may neither revoke nor read learns nothing about what there is.
        if refusal.is_some() {
            caller.may(Right::Read, None)?;
        }
        let state = self.consensus.state();
        let silenced = silenced(&caller, &revoke);
        let now = self.consensus.world().clock.wall().seconds();
        let enrolled = self.enrolled().verifiers;
        let online = enrolled
            .iter()
            .filter(|verifier| verifier.connected)
            .count();
        let stale = enrolled
            .iter()
            .filter(|verifier| verifier.fails_closed_in_ms == 0)
            .count();
        Ok(v1::PreviewResponse {
            items: revoke
                .targets
                .iter()
                .map(|target| preview_item(&caller, &state, target, &revoke))
                .collect(),
            verifiers_online: online as u32,
            verifiers_stale: stale as u32,
            revision: state.view().revision.0,
            allowed: refusal.is_none(),
            needs_approval: approval == Approval::SecondPerson,
            lift_lost: !silenced.is_empty() && !lift_is_left(&caller, &state, &silenced, now),
            silenced,
            refusal: refusal
                .map(|failure| failure.to_string())
                .unwrap_or_default(),
        })
    }

    pub(super) async fn lift_revocation(
        &self,
        request: Request<v1::LiftRequest>,
    ) -> Result<v1::LiftResponse, Status> {
        let caller = self.caller(&request)?;
        let deadline = self.deadline(&request);
        let id = request_id(&request.get_ref().request_id)?;
        // What is lifted must be seen as it is now: a revocation that was just made can be lifted at once.
        self.consensus
            .linearize(deadline)
            .await
            .map_err(Failure::from)?;
        let state = self.consensus.state();
        let revision = Revision(request.get_ref().revision);
        let epoch = state.view().epoch;
        let revocation = state.revocations().get(&revision);
        let revocation =
            revocation.ok_or_else(|| not_found(&RevocationId { epoch, revision }.to_string()))?;
        caller.may(Right::Lift, revocation.target.identity())?;
        let target = revocation.target.clone();
        let lift = Lift {
            revision,
            of: identity_of(&request.get_ref().of)?,
            restore: request.get_ref().restore,
            reason: request.get_ref().reason.clone(),
        };
        if lift.restore && caller.policy.two_person() {
            let (id, action) = (&request.get_ref().request_id, PendingAction::Lift(lift));
            return Ok(v1::LiftResponse {
                id: RevocationId { epoch, revision }.to_string(),
                pending: Some(self.ask(&request, &caller, id, action).await?),
                ..Default::default()
            });
        }
        let command = Command::Lift(lift);
        let committed = self.propose(&caller, command, id, deadline).await?;
        match committed.applied {
            Applied::Lifted {
                revision: lifted,
                already,
            } => {
                tracing::info!(
                    revision = lifted.0,
                    of = revision.0,
                    by = caller.identity,
                    already,
                    "lifted"
                );
                let now = self.consensus.world().clock.wall().seconds();
                let state = self.consensus.state();
                Ok(v1::LiftResponse {
                    id: RevocationId { epoch, revision }.to_string(),
                    revision: lifted.0,
                    already,
                    pending: None,
                    still_denied_by: denied_by(&state, &target, false, now),
                })
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(other_request()),
        }
    }
}

impl AuthorityService {
    pub(super) async fn undo_operator(
        &self,
        request: Request<v1::UndoRequest>,
    ) -> Result<v1::UndoResponse, Status> {
        let caller = self.caller(&request)?;
        caller.may(Right::Lift, None)?;
        let (deadline, asked) = (self.deadline(&request), request.get_ref());
        let undo = Undo {
            operator: asked.operator.clone(),
            since: UnixMillis(asked.since_ms),
            reason: asked.reason.clone(),
            ticket: asked.ticket.clone(),
        };
        if caller.policy.two_person() {
            let (id, action) = (&asked.request_id, PendingAction::Undo(undo));
            return Ok(v1::UndoResponse {
                pending: Some(self.ask(&request, &caller, id, action).await?),
                ..Default::default()
            });
        }
        let (id, command) = (request_id(&asked.request_id)?, Command::Undo(undo));
        let committed = self.propose(&caller, command, id, deadline).await?;
        match committed.applied {
            Applied::Undoing { at_most } => {
                tracing::info!(
                    operator = asked.operator,
                    by = caller.identity,
                    at_most,
                    "removing what was revoked"
                );
                Ok(v1::UndoResponse {
                    at_most,
                    pending: None,
                })
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(other_request()),
        }
    }
}

/// The approval that a revocation needs before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approval {
    /// The caller alone may.
    None,
    /// A second person must approve.
    SecondPerson,
}

/// The approval that this revocation needs; a failure when the caller may not make it at all.
fn permit(caller: &Caller, revoke: &Revoke, force: bool) -> Result<Approval, Failure> {
    let mut approval = Approval::None;
    for target in &revoke.targets {
        caller.may(Right::Revoke, target.identity())?;
        let Some(shallow) = target
            .identity()
            .filter(|identity| caller.policy.is_near_the_root(identity))
        else {
            continue;
        };
        if !force {
            return Err(too_shallow(shallow, caller.policy.min_revocation_depth()));
        }
        if caller.policy.two_person() {
            approval = Approval::SecondPerson;
        }
    }
    Ok(approval)
}

/// Operators that a revocation would cover, so that they may do nothing any more. One that is only about what was issued so
/// far covers none.
fn silenced(caller: &Caller, revoke: &Revoke) -> Vec<String> {
    let covers = |operator: &Identity, target: &Target| match target {
        Target::Lock(identity) => operator.is_at_or_below(identity),
        Target::Subtree(identity) => revoke.permanent && operator.is_at_or_below(identity),
        Target::Exact(identity) => revoke.permanent && operator == identity,
        Target::Token(_) | Target::Key(_) | Target::Signer(_) | Target::Certificate(_) => false,
    };
    let is_covered = |operator: &&Operator| {
        let identity = Identity::parse(&operator.identity);
        identity.is_ok_and(|identity| {
            revoke
                .targets
                .iter()
                .any(|target| covers(&identity, target))
        })
    };
    let operators = caller.policy.operators().filter(is_covered);
    operators
        .map(|operator| operator.identity.clone())
        .collect()
}

/// True when an operator that may lift can still speak once `silenced` are.
fn lift_is_left(caller: &Caller, state: &State, silenced: &[String], now: UnixSeconds) -> bool {
    caller.policy.operators().any(|operator| {
        operator.rights.contains(&Right::Lift)
            && !silenced.contains(&operator.identity)
            && Identity::parse(&operator.identity)
                .is_ok_and(|identity| !is_revoked(state, &identity, None, now))
    })
}

/// Identity that a revocation must be about; an empty text is none.
fn identity_of(text: &str) -> Result<Option<Identity>, Failure> {
    let named = Some(text).filter(|text| !text.is_empty());
    named.map(Identity::parse).transpose().map_err(|error| {
        let message = format!("`{text}` is not an identity: {error}");
        Failure::new(Reason::InvalidArgument, message)
    })
}

fn too_shallow(identity: &Identity, minimum: u8) -> Failure {
    Failure::new(
        Reason::Conflict,
        format!(
            "`{identity}` has {} segments, and revocations nearer to the root than {minimum} need force",
            identity.depth()
        ),
    )
    .hint("Name something more specific, or repeat it with --force.")
}

fn preview_item(
    caller: &Caller,
    state: &State,
    target: &Target,
    revoke: &Revoke,
) -> v1::PreviewItem {
    let below = match target {
        // A host of a pattern is in no list.
        Target::Subtree(identity) | Target::Lock(identity) => {
            let mut below = caller.policy.identities_below(identity);
            if below.is_empty() && caller.policy.is_known(identity) {
                below.push(identity.clone());
            }
            below
        }
        Target::Exact(identity) => vec![identity.clone()],
        Target::Token(_) | Target::Key(_) | Target::Signer(_) | Target::Certificate(_) => {
            Vec::new()
        }
    };
    let mut resources: BTreeSet<String> = below
        .iter()
        .take(NAMES_MAX)
        .flat_map(|identity| caller.policy.resources_of(identity))
        .collect();
    if let Target::Signer(key) = target {
        resources.extend(waiting_for(caller, key));
    }
    let unknown = target
        .identity()
        .filter(|identity| !known::has_heard_of(&caller.policy, state, identity));
    // Names that the caller may neither read nor revoke are not told.
    let may_hear = |name: &Identity| {
        caller.may(Right::Read, None).is_ok() || caller.may(Right::Revoke, Some(name)).is_ok()
    };
    let nearest = unknown.and_then(|identity| caller.policy.nearest_name(identity));
    let nearest = nearest.filter(may_hear);
    let existing = state.find(target);
    let covers = |rule: &hessra_revocation::Rule| {
        rule.cutoff == Cutoff::Permanent && rule.until >= revoke.until
    };
    v1::PreviewItem {
        scope: target.kind().as_str().to_owned(),
        target: target.to_string(),
        known_below: below
            .iter()
            .take(NAMES_MAX)
            .map(ToString::to_string)
            .collect(),
        resources: resources.into_iter().take(NAMES_MAX).collect(),
        already: existing.as_ref().is_some_and(|(_, rule)| covers(rule)),
        already_revision: existing.map_or(0, |(revision, _)| revision.0),
        unknown: unknown.is_some(),
        nearest: nearest.map_or_else(String::new, |name| name.to_string()),
    }
}

/// Resources whose tokens wait for the signature of a key.
fn waiting_for(caller: &Caller, key: &SignerKey) -> Vec<String> {
    let is_it = |text: &str| text.parse() == Ok(*key);
    let waiting = caller.policy.resources().filter(|(_, resource)| {
        let nodes = resource.nodes.iter().map(|node| &node.public_key);
        let signers = resource.signers.iter().map(|signer| &signer.public_key);
        nodes.chain(signers).any(|text| is_it(text))
    });
    waiting.map(|(name, _)| name.to_owned()).collect()
}

/// The revocation of a name: `rv_17`, or the identity that was revoked, when one revocation of it stands.
pub(super) fn find(state: &State, name: &str) -> Result<Revocation, Failure> {
    if name.starts_with("rv_") {
        let id: RevocationId =
            name.parse()
                .map_err(|error: hessra_state::revocations::RevocationIdError| {
                    Failure::new(Reason::InvalidArgument, error.to_string())
                })?;
        let found = state
            .revocations()
            .get(&id.revision)
            .filter(|_| id.epoch == state.view().epoch);
        return found
            .map(|revocation| Revocation::clone(revocation))
            .ok_or_else(|| not_found(name));
    }
    let identity = Identity::parse_spelled(name).map_err(|error| {
        Failure::new(
            Reason::InvalidArgument,
            format!("`{name}` is neither a revocation nor an identity: {error}"),
        )
        .hint("See `hessra revocations list`.")
    })?;
    let targets = [
        Target::Subtree(identity.clone()),
        Target::Exact(identity.clone()),
        Target::Lock(identity),
    ];
    let revisions: Vec<Revision> = targets
        .iter()
        .filter_map(|target| state.find(target))
        .map(|(revision, _)| revision)
        .collect();
    match revisions.as_slice() {
        [revision] => {
            let found = state.revocations().get(revision);
            found
                .map(|revocation| Revocation::clone(revocation))
                .ok_or_else(|| not_found(name))
        }
        [] => Err(not_found(name)),
        several => Err(Failure::new(
            Reason::Conflict,
            format!("`{name}` has {} revocations", several.len()),
        )
        .hint("Name one of them as `rv_…`; see `hessra revocations list`.")),
    }
}

fn not_found(name: &str) -> Failure {
    let name: String = name.chars().take(600).collect();
    Failure::new(Reason::NotFound, format!("no revocation `{name}`"))
        .hint("See `hessra revocations list`.")
}

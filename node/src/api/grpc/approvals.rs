//! Pending actions, which wait for a second person: list, show, approve, cancel.
//!
//! The approver needs the right that the action itself needs, on the same identities, under the policy as it stands at
//! the approval. That the two are not the same person is decided by the state machine, on every node alike.

use hessra_audit::time::rfc3339;
use hessra_consensus::Change;
use hessra_proto::statement::Stated;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_proto::v1::approvals_server::Approvals as Service;
use hessra_revocation::Revision;
use hessra_rights::{permit_action, reasons_to_wait};
use hessra_sled::codec;
use hessra_state::{
    Applied, Approval, Command, MemberChange, Pending, PendingAction, PendingId, PolicyChange,
    PolicyOrigin, Revocation, RevocationId, State,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::denied::denied_by;
use super::service::{Answer, AuthorityService};
use super::target::{other_request, refused, request_id};
use crate::policy::Right;

#[tonic::async_trait]
impl Service for AuthorityService {
    async fn list(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Answer<v1::ListApprovalsResponse> {
        let caller = self.caller(&request)?;
        caller.may(Right::Read, None)?;
        let (state, now) = (self.consensus.state(), self.consensus.world().clock.wall());
        let waiting = state
            .pending()
            .iter()
            .filter(|pending| !pending.has_ended(now));
        Ok(Response::new(v1::ListApprovalsResponse {
            approvals: waiting
                .map(|pending| info(&caller, &state, pending))
                .collect(),
        }))
    }

    async fn show(&self, request: Request<v1::ShowApprovalRequest>) -> Answer<v1::ApprovalInfo> {
        let caller = self.caller(&request)?;
        caller.may(Right::Read, None)?;
        let state = self.consensus.state();
        let pending = find(&state, &request.get_ref().id)?;
        let policy = proposed(&caller, &pending.action);
        Ok(Response::new(v1::ApprovalInfo {
            policy,
            ..info(&caller, &state, pending)
        }))
    }

    async fn approve(&self, request: Request<v1::ApproveRequest>) -> Answer<v1::ApproveResponse> {
        let (caller, pending) = match self.pending_for(&request).await {
            Ok(found) => found,
            // A retry of what was done: it gets the first answer.
            Err(status) => {
                let answer = self.approved_before(&request).ok_or(status)?;
                if let Some(applied) = self.answered_before(&request) {
                    let caller = self.caller(&request)?;
                    self.follow_up(&request, &caller, &applied).await?;
                }
                return Ok(Response::new(answer));
            }
        };
        let state = self.consensus.state();
        may(&caller, &state, &pending.action)?;
        let applied = self
            .decide(
                &request,
                &caller,
                Command::Approve(Approval {
                    id: pending.id,
                    action: digest(&request.get_ref().action)?,
                }),
            )
            .await?;
        self.follow_up(&request, &caller, &applied).await?;
        let mut answer = done(&state, &pending, &applied)?;
        if let PendingAction::Lift(lift) = &pending.action
            && let Some(revocation) = state.revocations().get(&lift.revision)
        {
            let now = self.consensus.world().clock.wall().seconds();
            let after = self.consensus.state();
            answer.still_denied_by = denied_by(&after, &revocation.target, true, now);
        }
        tracing::info!(pending = %pending.id, asked_by = pending.by, by = caller.identity, "approved");
        Ok(Response::new(answer))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        let (caller, pending) = match self.pending_for(&request).await {
            Ok(found) => found,
            Err(status) => {
                return self
                    .cancelled_before(&request)
                    .map(Response::new)
                    .ok_or(status);
            }
        };
        // The caller that asked may take it back, also when it has no right left.
        if caller.identity != pending.by {
            may(&caller, &self.consensus.state(), &pending.action)?;
        }
        match self
            .decide(&request, &caller, Command::Cancel(pending.id))
            .await?
        {
            Applied::Cancelled { id } => {
                tracing::info!(pending = %id, by = caller.identity, "cancelled");
                Ok(Response::new(v1::CancelResponse { id: id.to_string() }))
            }
            _ => Err(other_request()),
        }
    }
}

impl AuthorityService {
    /// Puts an action where a second person can approve it.
    pub(super) async fn ask<T>(
        &self,
        request: &Request<T>,
        caller: &Caller,
        id: &[u8],
        action: PendingAction,
    ) -> Result<v1::PendingApproval, Status> {
        let (id, deadline) = (request_id(id)?, self.deadline(request));
        let command = Command::Ask(action);
        let committed = self.propose(caller, command, id, deadline).await?;
        match committed.applied {
            Applied::Pending { id, until, already } => {
                tracing::info!(pending = %id, by = caller.identity, "asked for a second person");
                Ok(v1::PendingApproval {
                    id: id.to_string(),
                    until_ms: until.0,
                    already,
                })
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(other_request()),
        }
    }

    /// Makes the change of the members that an approval has permitted. A retry makes it when the first try did not; one that was
    /// made is refused as such.
    async fn follow_up<T>(
        &self,
        request: &Request<T>,
        caller: &Caller,
        applied: &Applied,
    ) -> Result<(), Status> {
        if *applied != Applied::MembersPermitted {
            return Ok(());
        }
        let state = self.consensus.state();
        let Some(change) = state.member_change().map(Change::from) else {
            return Ok(());
        };
        let (actor, deadline) = (caller.context.actor(), self.deadline(request));
        let consensus = &self.consensus;
        let changed = consensus
            .change_approved_members(&change, actor, deadline)
            .await;
        let log_index = changed.map_err(Failure::from)?;
        tracing::info!(
            ?change,
            log_index,
            by = caller.identity,
            "changed the members"
        );
        Ok(())
    }

    /// The caller of a request, and the pending action that it names, as of now.
    async fn pending_for(
        &self,
        request: &Request<impl Named>,
    ) -> Result<(Caller, Pending), Status> {
        let caller = self.caller(request)?;
        let deadline = self.deadline(request);
        self.consensus
            .linearize(deadline)
            .await
            .map_err(Failure::from)?;
        let state = self.consensus.state();
        match find(&state, request.get_ref().name()) {
            Ok(pending) => Ok((caller, pending.clone())),
            Err(failure) => {
                // A caller that may not read learns nothing about what there is.
                caller.may(Right::Read, None)?;
                Err(failure.into())
            }
        }
    }

    /// The first answer to this request, while it is remembered.
    fn answered_before(&self, request: &Request<impl Named>) -> Option<Applied> {
        let id = request_id(request.get_ref().request_id()).ok()?;
        let remembered = self.consensus.raft().remembered();
        remembered.answers(&mut std::iter::once(id)).pop().flatten()
    }

    fn approved_before(
        &self,
        request: &Request<v1::ApproveRequest>,
    ) -> Option<v1::ApproveResponse> {
        let state = self.consensus.state();
        let (revision, made) = match self.answered_before(request)? {
            Applied::Revoked(items) => {
                let revisions: Vec<Revision> = items.iter().map(|item| item.revision).collect();
                (revisions.iter().copied().max()?, revisions)
            }
            Applied::Lifted { revision, .. }
            | Applied::KeyChanged { revision, .. }
            | Applied::PolicyApplied { revision } => (revision, Vec::new()),
            Applied::MembersPermitted | Applied::Undoing { .. } => {
                (state.view().revision, Vec::new())
            }
            _ => return None,
        };
        Some(v1::ApproveResponse {
            id: request.get_ref().id.clone(),
            what: "was done by the first try of this request".to_owned(),
            revision: revision.0,
            revocations: made
                .into_iter()
                .map(|revision| revocation_name(&state, revision))
                .collect(),
            still_denied_by: Vec::new(),
        })
    }

    fn cancelled_before(&self, request: &Request<v1::CancelRequest>) -> Option<v1::CancelResponse> {
        match self.answered_before(request)? {
            Applied::Cancelled { id } => Some(v1::CancelResponse { id: id.to_string() }),
            _ => None,
        }
    }

    async fn decide(
        &self,
        request: &Request<impl Named>,
        caller: &Caller,
        command: Command,
    ) -> Result<Applied, Status> {
        let (id, deadline) = (
            request_id(request.get_ref().request_id())?,
            self.deadline(request),
        );
        let committed = self.propose(caller, command, id, deadline).await?;
        match committed.applied {
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            applied => Ok(applied),
        }
    }
}

/// Request about a pending action, by its name.
trait Named: Stated {
    fn name(&self) -> &str;
}

impl Named for v1::ApproveRequest {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Named for v1::CancelRequest {
    fn name(&self) -> &str {
        &self.id
    }
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], Failure> {
    bytes.try_into().map_err(|_| {
        let message = "an approval names the SHA-256 of what is approved: 32 bytes";
        Failure::new(Reason::InvalidArgument, message)
            .hint("Show the action, and approve what it says.")
    })
}

fn find<'a>(state: &'a State, name: &str) -> Result<&'a Pending, Failure> {
    let id: PendingId = name
        .parse()
        .map_err(|error: hessra_state::PendingIdError| {
            Failure::new(Reason::InvalidArgument, error.to_string())
        })?;
    state.pending().find(id).ok_or_else(|| {
        Failure::new(
            Reason::NotFound,
            format!("{id} does not wait for approval: it was done, cancelled, or ended"),
        )
        .hint("See `hessra approvals list`.")
    })
}

/// Checks that the caller could do alone what the action does, were it not for the second person.
fn may(caller: &Caller, state: &State, action: &PendingAction) -> Result<(), Failure> {
    let permitted = permit_action((state, &caller.policy), &caller.identity, action);
    permitted.map_err(|refusal| {
        Failure::new(Reason::NotPermitted, refusal.to_string())
            .hint("Ask for the right under `[[operators]]` in the policy, or use another operator's certificate.")
    })
}

fn info(caller: &Caller, state: &State, pending: &Pending) -> v1::ApprovalInfo {
    let mut info = v1::ApprovalInfo {
        id: pending.id.to_string(),
        by: pending.by.clone(),
        at_ms: pending.at.0,
        until_ms: pending.until().0,
        may_approve: !caller.is_asker_of(pending) && may(caller, state, &pending.action).is_ok(),
        what: what(state, &pending.action),
        statement: codec::action_statement(&pending.action).encode_to_vec(),
        ..Default::default()
    };
    match &pending.action {
        PendingAction::Revoke(revoke) => {
            (info.kind, info.right) = ("revoke".into(), Right::Revoke.name().into());
            info.targets = revoke.targets.iter().map(ToString::to_string).collect();
            info.reason.clone_from(&revoke.reason);
            info.ticket.clone_from(&revoke.ticket);
            info.message.clone_from(&revoke.message);
        }
        PendingAction::Lift(lift) => {
            (info.kind, info.right) = ("lift_restore".into(), Right::Lift.name().into());
            info.targets = vec![revocation_name(state, lift.revision)];
            info.reason.clone_from(&lift.reason);
        }
        PendingAction::Undo(undo) => {
            (info.kind, info.right) = ("undo".into(), Right::Lift.name().into());
            info.targets = vec![undo.operator.clone()];
            info.reason.clone_from(&undo.reason);
            info.ticket.clone_from(&undo.ticket);
        }
        PendingAction::RevokeKey(id) => {
            (info.kind, info.right) = ("key_revoke".into(), Right::Keys.name().into());
            info.targets = vec![id.to_string()];
        }
        PendingAction::ApplyPolicy { change, .. } => {
            (info.kind, info.right) = ("policy".into(), Right::Policy.name().into());
            info.ticket.clone_from(&change.ticket);
            info.message.clone_from(&change.message);
        }
        PendingAction::Members(change) => {
            (info.kind, info.right) = ("members".into(), Right::Cluster.name().into());
            info.targets = vec![format!("node {}", change.id())];
        }
    }
    info
}

/// Policy that waits, with the reasons why.
fn proposed(caller: &Caller, action: &PendingAction) -> Option<v1::ProposedPolicy> {
    match action {
        PendingAction::ApplyPolicy { policy, .. } => Some(v1::ProposedPolicy {
            clients_toml: policy.clients_toml.clone(),
            resources_toml: policy.resources_toml.clone(),
            weakenings: reasons_to_wait(&caller.policy, policy),
        }),
        _ => None,
    }
}

fn policy_words(based_on: Revision, change: &PolicyChange) -> String {
    let what = match &change.origin {
        PolicyOrigin::Rollback(to) => format!("goes back to the policy of revision {to}"),
        PolicyOrigin::Git(commit) => format!("applies the policy of commit {commit}"),
        PolicyOrigin::Start | PolicyOrigin::Operator => "applies another policy".to_owned(),
    };
    format!("{what}, made from revision {based_on}, which weakens the rule of two persons")
}

fn member_words(change: &MemberChange) -> String {
    let id = change.id();
    match change {
        MemberChange::Add {
            peer_address,
            public_address,
            ..
        } => format!("adds node {id} at {peer_address} (public: {public_address}), without a vote"),
        MemberChange::Promote(_) => format!("gives node {id} a vote"),
        MemberChange::Remove(_) => format!("removes node {id} for ever"),
        MemberChange::TransferTo(_) => format!("lets node {id} lead"),
    }
}

fn what(state: &State, action: &PendingAction) -> String {
    match action {
        PendingAction::Revoke(revoke) => {
            let kind = if revoke.permanent {
                "revokes for ever"
            } else {
                "revokes"
            };
            let first = revoke.targets.first().map(ToString::to_string);
            let first = first.unwrap_or_default();
            match revoke.targets.len() {
                0 | 1 => format!("{kind} `{first}`"),
                count => format!("{kind} `{first}` and {} others", count - 1),
            }
        }
        PendingAction::Lift(lift) => {
            let of = |revocation: &Revocation| format!(" of `{}`", revocation.target);
            let target = state.revocations().get(&lift.revision);
            format!(
                "lifts {}{}, and tokens issued before it live again",
                revocation_name(state, lift.revision),
                target.map(|revocation| of(revocation)).unwrap_or_default()
            )
        }
        PendingAction::Undo(undo) => {
            let since = match undo.since.0 {
                0 => String::new(),
                since => format!(" since {}", rfc3339(since)),
            };
            format!(
                "removes what `{}` has revoked alone{since}: what that denies is permitted again, also what was issued before",
                undo.operator
            )
        }
        PendingAction::RevokeKey(id) => {
            let purpose = state.keys().get(id).map_or("", |key| key.purpose.word());
            format!("revokes {purpose} key {id}: everything that it signed is denied")
        }
        PendingAction::ApplyPolicy {
            based_on, change, ..
        } => policy_words(*based_on, change),
        PendingAction::Members(change) => member_words(change),
    }
}

fn revocation_name(state: &State, revision: Revision) -> String {
    let epoch = state.view().epoch;
    RevocationId { epoch, revision }.to_string()
}

/// Answer to an approval: what it did. `state` is from before it.
fn done(
    state: &State,
    pending: &Pending,
    applied: &Applied,
) -> Result<v1::ApproveResponse, Status> {
    let (revision, made): (Revision, Vec<Revision>) = match (applied, &pending.action) {
        (Applied::Revoked(items), _) => {
            let revisions: Vec<Revision> = items.iter().map(|item| item.revision).collect();
            (
                revisions.iter().copied().max().unwrap_or_default(),
                revisions,
            )
        }
        (Applied::Lifted { revision, .. }, PendingAction::Lift(lift)) => {
            (*revision, vec![lift.revision])
        }
        (Applied::KeyChanged { revision, .. } | Applied::PolicyApplied { revision }, _) => {
            (*revision, Vec::new())
        }
        (Applied::MembersPermitted | Applied::Undoing { .. }, _) => {
            (state.view().revision, Vec::new())
        }
        _ => return Err(other_request()),
    };
    Ok(v1::ApproveResponse {
        id: pending.id.to_string(),
        what: what(state, &pending.action),
        revision: revision.0,
        revocations: made
            .into_iter()
            .map(|revision| revocation_name(state, revision))
            .collect(),
        still_denied_by: Vec::new(),
    })
}

//! The policy: validate, apply, roll back, check, show, history.
//!
//! The meaning of a text is decided here, before it is proposed; the state machine only compares revisions and keeps
//! versions. So a policy that this node cannot read never enters the log through it.

use hessra_policy::{lockouts, weakenings};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_proto::v1::policies_server::Policies as Service;
use hessra_revocation::{Identity, Revision};
use hessra_state::{
    Applied, Command, PendingAction, Policy, PolicyChange, PolicyOrigin, PolicyVersion, RequestId,
    State,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::service::{Answer, AuthorityService};
use super::target::{refused, request_id};
use crate::policy::{PolicyError, PolicyView, Problem, Right};

#[tonic::async_trait]
impl Service for AuthorityService {
    async fn validate(
        &self,
        request: Request<v1::PolicyTexts>,
    ) -> Answer<v1::ValidatePolicyResponse> {
        let caller = self.caller(&request)?;
        // A caller that may read a policy may ask whether another text would be one.
        caller
            .may(Right::Read, None)
            .or_else(|_| caller.may(Right::Policy, None))?;
        let texts = request.get_ref();
        let outcome = PolicyView::parse(&texts.clients_toml, &texts.resources_toml);
        Ok(Response::new(match outcome {
            Ok(view) => v1::ValidatePolicyResponse {
                lockouts: words(lockouts(&caller.policy, &view, Some(&caller.identity))),
                weakenings: words(weakenings(&caller.policy, &view)),
                ..Default::default()
            },
            Err(error) => v1::ValidatePolicyResponse {
                problems: error.problems().map(problem).collect(),
                more: count(error.more()),
                ..Default::default()
            },
        }))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyPolicyRequest>,
    ) -> Answer<v1::ApplyPolicyResponse> {
        let caller = self.caller(&request)?;
        caller.may(Right::Policy, None)?;
        let deadline = self.deadline(&request);
        let asked = request.get_ref().clone();
        let texts = asked.texts.unwrap_or_default();
        let application = Application {
            request: request_id(&asked.request_id)?,
            based_on: Revision(asked.based_on),
            policy: Policy::new(texts.clients_toml, texts.resources_toml),
            change: PolicyChange {
                origin: PolicyOrigin::Operator,
                message: asked.message,
                ticket: asked.ticket,
            },
            allow_lockout: asked.allow_lockout,
        };
        Ok(Response::new(
            self.apply_policy(&request, &caller, application, deadline)
                .await?,
        ))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackPolicyRequest>,
    ) -> Answer<v1::ApplyPolicyResponse> {
        let caller = self.caller(&request)?;
        caller.may(Right::Policy, None)?;
        let deadline = self.deadline(&request);
        let asked = request.get_ref().clone();
        let id = request_id(&asked.request_id)?;
        // A version that was applied a moment ago elsewhere can be rolled back to here.
        self.consensus
            .linearize(deadline)
            .await
            .map_err(Failure::from)?;
        let to = Revision(asked.to_revision);
        let application = Application {
            request: id,
            based_on: Revision(asked.based_on),
            policy: version(&self.consensus.state(), to)?.policy.clone(),
            change: PolicyChange {
                origin: PolicyOrigin::Rollback(to),
                message: asked.message,
                ticket: asked.ticket,
            },
            allow_lockout: asked.allow_lockout,
        };
        Ok(Response::new(
            self.apply_policy(&request, &caller, application, deadline)
                .await?,
        ))
    }

    async fn check(
        &self,
        request: Request<v1::CheckPolicyRequest>,
    ) -> Answer<v1::CheckPolicyResponse> {
        self.may_read(&request)?;
        let state = self.consensus.state();
        let request = request.get_ref();
        let subject = Identity::parse_spelled(&request.subject).map_err(|error| {
            let message = format!("`{}` is not an identity: {error}", request.subject);
            Failure::new(Reason::InvalidArgument, message)
        })?;
        let view = self.policies.of(&state);
        let explained = view.explain(&subject, &request.resource, &request.operation);
        let steps = explained.steps.into_iter().map(|step| v1::CheckPolicyStep {
            identity: step.identity,
            rule: step.rule,
            line: count(step.line),
            permits: step.permits,
        });
        Ok(Response::new(v1::CheckPolicyResponse {
            allowed: explained.allowed,
            reason: explained.reason,
            steps: steps.collect(),
            revision: state.policy().0.0,
        }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowPolicyRequest>,
    ) -> Answer<v1::ShowPolicyResponse> {
        self.may_read(&request)?;
        let state = self.consensus.state();
        let revision = match request.get_ref().revision {
            0 => state.policy().0,
            revision => Revision(revision),
        };
        let version = version(&state, revision)?;
        Ok(Response::new(v1::ShowPolicyResponse {
            version: Some(info(&state, version)),
            texts: Some(v1::PolicyTexts {
                clients_toml: version.policy.clients_toml.clone(),
                resources_toml: version.policy.resources_toml.clone(),
            }),
            git: self.policies.followed().map(|git| v1::GitFollowing {
                applies: self.consensus.raft().is_leader(),
                ..git.to_wire(state.policy().1.digest)
            }),
        }))
    }

    async fn history(
        &self,
        request: Request<v1::PolicyHistoryRequest>,
    ) -> Answer<v1::PolicyHistoryResponse> {
        self.may_read(&request)?;
        let state = self.consensus.state();
        let limit = match request.get_ref().limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let newest_first = state.policies().iter().rev().take(limit);
        Ok(Response::new(v1::PolicyHistoryResponse {
            versions: newest_first.map(|version| info(&state, version)).collect(),
            revision: state.policy().0.0,
        }))
    }
}

/// A change that is to be made.
struct Application {
    request: RequestId,
    based_on: Revision,
    policy: Policy,
    change: PolicyChange,
    allow_lockout: bool,
}

impl AuthorityService {
    async fn apply_policy<T: Sync>(
        &self,
        asked: &Request<T>,
        caller: &Caller,
        application: Application,
        deadline: Instant,
    ) -> Result<v1::ApplyPolicyResponse, Status> {
        let Application {
            request,
            based_on,
            policy,
            change,
            allow_lockout,
        } = application;
        let view = PolicyView::parse(&policy.clients_toml, &policy.resources_toml)
            .map_err(|error| unreadable(&error))?;
        if !allow_lockout {
            nobody_is_locked_out(caller, &view)?;
        }
        if !weakenings(&caller.policy, &view).is_empty() {
            let digest = policy.digest.to_vec();
            let action = PendingAction::ApplyPolicy {
                based_on,
                policy,
                change,
            };
            let pending = self.ask(asked, caller, &request.0, action).await?;
            return Ok(v1::ApplyPolicyResponse {
                pending: Some(pending),
                digest,
                ..Default::default()
            });
        }
        let (digest, origin) = (policy.digest, change.origin.clone());
        let already = self.consensus.state().policy().1.digest == digest;
        let command = Command::ApplyPolicy {
            based_on,
            policy,
            change,
        };
        let committed = self.propose(caller, command, request, deadline).await?;
        match committed.applied {
            Applied::PolicyApplied { revision } => {
                tracing::info!(
                    revision = revision.0,
                    ?origin,
                    by = caller.identity,
                    "policy applied"
                );
                Ok(v1::ApplyPolicyResponse {
                    revision: revision.0,
                    digest: digest.to_vec(),
                    already,
                    pending: None,
                })
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(super::target::other_request()),
        }
    }
}

fn unreadable(error: &PolicyError) -> Failure {
    let mut lines = error.problems().map(ToString::to_string);
    let first = lines.next().unwrap_or_default();
    let others = lines.count() + error.more();
    let message = match others {
        0 => format!("the policy is not valid: {first}"),
        others => format!("the policy is not valid: {first} (and {others} more)"),
    };
    Failure::new(Reason::InvalidArgument, message)
        .hint("`hessra policy validate` says everything that is wrong, with its place.")
}

/// Checks that the author and two people can still change it: a lockout can be undone only from the machines.
fn nobody_is_locked_out(caller: &Caller, view: &PolicyView) -> Result<(), Failure> {
    let found = words(lockouts(&caller.policy, view, Some(&caller.identity)));
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Reason::Conflict, found.join("; "))
        .hint("Give the right to other operators too, or apply with --allow-lockout."))
}

fn words(reasons: Vec<impl ToString>) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

fn version(state: &State, revision: Revision) -> Result<&PolicyVersion, Failure> {
    let found = state.policies().find(revision);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let message = format!("no policy of revision {revision} is kept");
        Failure::new(Reason::NotFound, message)
            .hint("`hessra policy history` lists those that are.")
    })
}

fn info(state: &State, version: &PolicyVersion) -> v1::PolicyVersionInfo {
    let (origin, rollback_to, commit) = match &version.change.origin {
        PolicyOrigin::Start => ("start", 0, ""),
        PolicyOrigin::Operator => ("operator", 0, ""),
        PolicyOrigin::Rollback(revision) => ("rollback", revision.0, ""),
        PolicyOrigin::Git(commit) => ("git", 0, commit.as_str()),
    };
    let bytes = version.policy.clients_toml.len() + version.policy.resources_toml.len();
    v1::PolicyVersionInfo {
        revision: version.revision.0,
        digest: version.policy.digest.to_vec(),
        at_ms: version.at.0,
        by: version.by.clone(),
        origin: origin.to_owned(),
        rollback_to,
        commit: commit.to_owned(),
        message: version.change.message.clone(),
        ticket: version.change.ticket.clone(),
        current: version.revision == state.policy().0,
        bytes: bytes as u64,
    }
}

fn problem(problem: &Problem) -> v1::PolicyProblem {
    v1::PolicyProblem {
        file: problem.file.clone(),
        line: count(problem.line),
        column: count(problem.column),
        start: problem.span.start as u64,
        end: problem.span.end as u64,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}

/// Converts a number of lines or columns: a text has at most a mebibyte.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

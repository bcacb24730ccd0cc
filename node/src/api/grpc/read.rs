//! Reads of what the cluster knows: list, show, check.
//!
//! `check` is linearizable unless the caller accepts an old answer. Everything else is read after the door (`door`) has asked a
//! quorum, but a cut-off node still answers from what it has and says how old that is: an old list is better than none, and
//! only "there is no such revocation" would mislead.

use hessra_proto::as_of::AsOf;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_revocation::{Cutoff, Revision, Rule, Target, UnixSeconds};
use hessra_state::revocations::RevocationId;
use hessra_state::{Revocation, State};
use tonic::{Request, Status};

use super::denied::covering;
use super::revoke::find;
use super::service::AuthorityService;
use super::target::parse;
use crate::policy::Right;

/// Revocations on one page: with the longest texts below 4 MiB.
const PAGE_MAX: usize = 1_000;
/// Revocations looked at for one page, when most of them are not shown.
const SCAN_MAX: usize = 100_000;

impl AuthorityService {
    pub(super) async fn list(
        &self,
        request: Request<v1::ListRevocationsRequest>,
    ) -> Result<v1::ListRevocationsResponse, Status> {
        self.caller(&request)?.may(Right::Read, None)?;
        Ok(page(
            &self.consensus.state(),
            request.get_ref(),
            self.consensus.world().clock.wall().seconds(),
        ))
    }

    pub(super) async fn show(
        &self,
        request: Request<v1::ShowRevocationRequest>,
    ) -> Result<v1::RevocationInfo, Status> {
        self.caller(&request)?.may(Right::Read, None)?;
        let confirmed = request
            .extensions()
            .get::<AsOf>()
            .is_some_and(|as_of| as_of.confirmed);
        let state = self.consensus.state();
        match find(&state, &request.get_ref().id) {
            Ok(revocation) => Ok(info(&state, &revocation)),
            Err(failure) if failure.reason == Reason::NotFound && !confirmed => Err(Failure::new(
                Reason::Unavailable,
                format!("{}, as far as this node knows", failure.message),
            )
            .hint("It has lost contact with a quorum: ask another node.")
            .into()),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn check_target(
        &self,
        request: Request<v1::CheckRequest>,
    ) -> Result<v1::CheckResponse, Status> {
        self.caller(&request)?.may(Right::Read, None)?;
        let deadline = self.deadline(&request);
        let wire = request.get_ref().target.as_ref();
        let wire =
            wire.ok_or_else(|| Failure::new(Reason::InvalidArgument, "a check names a target"))?;
        let target = parse(wire, false)?;
        if !request.get_ref().stale_ok {
            self.consensus
                .linearize(deadline)
                .await
                .map_err(Failure::from)?;
        }
        let state = self.consensus.state();
        let covered = cover(
            &state,
            &target,
            self.consensus.world().clock.wall().seconds(),
        );
        Ok(v1::CheckResponse {
            revoked: covered.is_some(),
            revision: covered.map_or(0, |revision| revision.0),
            as_of: state.view().revision.0,
        })
    }

    /// All enrolled verifiers of the cluster.
    pub(super) fn enrolled(&self) -> v1::VerifiersResponse {
        let node = self.consensus.raft().identity().id;
        let others = self.consensus.neighbours().others();
        let verifiers = self
            .feed
            .subscribers()
            .enrolled(node, &others, &self.feed.policy());
        v1::VerifiersResponse {
            verifiers,
            revision: self.consensus.state().view().revision.0,
        }
    }
}

/// The newest rule that covers a target: its own, or for an identity that of any ancestor's subtree.
fn cover(state: &State, target: &Target, now: UnixSeconds) -> Option<Revision> {
    let lives = |(_, rule): &(Revision, Rule)| rule.until.is_none_or(|until| now < until);
    covering(target)
        .iter()
        .filter_map(|target| state.find(target))
        .filter(lives)
        .map(|(revision, _)| revision)
        .max()
}

fn page(
    state: &State,
    request: &v1::ListRevocationsRequest,
    now: UnixSeconds,
) -> v1::ListRevocationsResponse {
    let limit = match request.limit as usize {
        0 => PAGE_MAX,
        limit => limit.min(PAGE_MAX),
    };
    let after = Revision(request.after_revision).max(last_before(state, request.since_ms));
    let is_by = |wanted: &str, by: Option<&str>| wanted.is_empty() || by == Some(wanted);
    let shown = |revocation: &Revocation| {
        let lifted_by = revocation.lifted.as_ref().map(|lifted| lifted.by.as_str());
        let stands = revocation.lifted.is_none() && !revocation.has_ended(now);
        (request.include_lifted || stands)
            && is_by(&request.by, Some(&revocation.why.by))
            && is_by(&request.lifted_by, lifted_by)
    };
    let mut response = v1::ListRevocationsResponse {
        revision: state.view().revision.0,
        ..Default::default()
    };
    for (looked_at, (revision, revocation)) in state.revocations().range(after.next()..).enumerate()
    {
        if response.revocations.len() == limit || looked_at == SCAN_MAX {
            // The last one looked at is below this one, and all below it were dealt with.
            response.next_after = revision.0 - 1;
            break;
        }
        if shown(revocation) {
            response.revocations.push(info(state, revocation));
        }
    }
    response
}

/// The last revision made before a time. Revisions are made in the order of the state's clock, so it is found by halving.
fn last_before(state: &State, since_ms: u64) -> Revision {
    let (mut low, mut high) = (0, state.view().revision.0);
    while low < high {
        let middle = low + (high - low) / 2;
        match state.revocations().range(Revision(middle + 1)..).next() {
            Some((revision, revocation)) if revocation.at.0 < since_ms => low = revision.0,
            _ => high = middle,
        }
    }
    Revision(low)
}

fn info(state: &State, revocation: &Revocation) -> v1::RevocationInfo {
    let cutoff = match revocation.cutoff {
        Cutoff::Before(revision) => revision.0,
        Cutoff::Permanent => 0,
    };
    v1::RevocationInfo {
        id: RevocationId {
            epoch: state.view().epoch,
            revision: revocation.revision,
        }
        .to_string(),
        revision: revocation.revision.0,
        scope: revocation.target.kind().as_str().to_owned(),
        target: revocation.target.to_string(),
        permanent: revocation.cutoff == Cutoff::Permanent && revocation.until.is_none(),
        cutoff,
        until: revocation.until.map_or(0, |until| until.0),
        at_ms: revocation.at.0,
        by: revocation.why.by.clone(),
        reason: revocation.why.reason.clone(),
        ticket: revocation.why.ticket.clone(),
        message: revocation.why.message.clone(),
        lifted_revision: revocation
            .lifted
            .as_ref()
            .map_or(0, |lifted| lifted.revision.0),
        lifted_by: revocation
            .lifted
            .as_ref()
            .map(|lifted| lifted.by.clone())
            .unwrap_or_default(),
        restored: revocation
            .lifted
            .as_ref()
            .is_some_and(|lifted| lifted.restored),
    }
}

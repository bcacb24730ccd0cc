//! Members of the cluster: add a learner, promote it, remove a member, hand leadership over.

use hessra_proto::v1;
use hessra_sled::Member;
use tonic::{Request, Status};

use super::AuthorityService;
use crate::audit::trail;
use crate::audit::witness::failure;
use crate::policy::Right;
use crate::raft::membership::Change;
use crate::raft::server::refuse_change;

impl AuthorityService {
    pub(super) async fn add(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let wanted = request.get_ref().clone();
        let member = Member {
            peer_address: wanted.peer_address,
            public_address: wanted.public_address,
        };
        self.change(
            &request,
            Change::AddLearner {
                id: wanted.id,
                member,
            },
        )
        .await
    }

    pub(super) async fn promote(
        &self,
        request: Request<v1::MemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let change = Change::Promote(request.get_ref().id);
        self.change(&request, change).await
    }

    pub(super) async fn remove(
        &self,
        request: Request<v1::MemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let change = Change::Remove(request.get_ref().id);
        self.change(&request, change).await
    }

    pub(super) async fn transfer(
        &self,
        request: Request<v1::MemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let change = Change::TransferTo(request.get_ref().id);
        self.change(&request, change).await
    }

    async fn change<T: Sync>(
        &self,
        request: &Request<T>,
        change: Change,
    ) -> Result<v1::MembershipResponse, Status> {
        let caller = self.caller(request)?;
        caller.may(Right::Cluster, None)?;
        let deadline = self.deadline(request);
        let auditor = self.authority.auditor();
        if let Some(auditor) = auditor {
            auditor.ready().map_err(|error| failure(&error))?;
        }
        let _expecting =
            auditor.map(|auditor| auditor.expect_members(trail::current().noted().actor));
        let log_index = self
            .authority
            .change_members(&change, deadline)
            .await
            .map_err(refuse_change)?;
        tracing::info!(
            ?change,
            log_index,
            by = caller.identity,
            "changed the members"
        );
        if let Some(auditor) = auditor {
            let covered = auditor.covers(log_index, deadline).await;
            covered.map_err(|error| failure(&error))?;
        }
        Ok(self.members(log_index))
    }

    fn members(&self, log_index: u64) -> v1::MembershipResponse {
        let members = self.authority.raft().members();
        let info = |(id, member): (&u64, &Member)| v1::MemberInfo {
            id: *id,
            peer_address: member.peer_address.clone(),
            public_address: member.public_address.clone(),
            voter: members.is_voter(*id),
        };
        v1::MembershipResponse {
            members: members.nodes.iter().map(info).collect(),
            log_index,
        }
    }
}

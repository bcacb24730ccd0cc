//! Members of the cluster: add a learner, promote it, remove a member, hand leadership over.

use hessra_consensus::Change;
use hessra_proto::status::Failure;
use hessra_proto::v1;
use hessra_rights::needs_second_person;
use hessra_sled::Member;
use hessra_state::{Applied, Command, MemberChange, PendingAction};
use tonic::{Request, Status};

use super::service::AuthorityService;
use super::target::{other_request, refused, request_id};
use crate::policy::Right;

impl AuthorityService {
    pub(super) async fn add(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let wanted = request.get_ref().clone();
        let member = Member {
            peer_address: wanted.peer_address,
            public_address: wanted.public_address,
            incarnation: None,
        };
        let change = Change::AddLearner {
            id: wanted.id,
            member,
        };
        self.change(&request, &wanted.request_id, change).await
    }

    pub(super) async fn promote(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let wanted = request.get_ref();
        let change = Change::Promote(wanted.id);
        self.change(&request, &wanted.request_id, change).await
    }

    pub(super) async fn remove(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let wanted = request.get_ref();
        let change = Change::Remove(wanted.id);
        self.change(&request, &wanted.request_id, change).await
    }

    pub(super) async fn transfer(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<v1::MembershipResponse, Status> {
        let wanted = request.get_ref();
        let change = Change::TransferTo(wanted.id);
        self.change(&request, &wanted.request_id, change).await
    }

    pub(super) async fn set_back_the_clock(
        &self,
        request: Request<v1::SetClockBackRequest>,
    ) -> Result<v1::SetClockBackResponse, Status> {
        let caller = self.caller(&request)?;
        caller.may(Right::Cluster, None)?;
        let deadline = self.deadline(&request);
        let v1::SetClockBackRequest {
            ticket,
            number,
            request_id: id,
        } = request.into_inner();
        let command = Command::SetClockBack { number, ticket };
        let proposed = self.propose(&caller, command, request_id(&id)?, deadline);
        match proposed.await?.applied {
            Applied::ClockSetBack { by } => {
                tracing::warn!(
                    by = caller.identity,
                    ?by,
                    "the time of the cluster was set back"
                );
                Ok(v1::SetClockBackResponse {
                    by_ms: u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
                })
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(other_request()),
        }
    }

    async fn change<T: Sync>(
        &self,
        request: &Request<T>,
        id: &[u8],
        change: Change,
    ) -> Result<v1::MembershipResponse, Status> {
        let caller = self.caller(request)?;
        caller.may(Right::Cluster, None)?;
        let permitted = MemberChange::from(&change);
        let command = Command::Members(permitted.clone());
        if needs_second_person(&caller.policy, &command) {
            let action = PendingAction::Members(permitted);
            return Ok(v1::MembershipResponse {
                pending: Some(self.ask(request, &caller, id, action).await?),
                ..self.members(0)
            });
        }
        let asked = caller.asks(&command, request_id(id)?)?;
        let deadline = self.deadline(request);
        let changed = self
            .consensus
            .change_members(&change, asked, deadline)
            .await;
        let log_index = changed.map_err(Failure::from)?;
        tracing::info!(
            ?change,
            log_index,
            by = caller.identity,
            "changed the members"
        );
        Ok(self.members(log_index))
    }

    fn members(&self, log_index: u64) -> v1::MembershipResponse {
        let members = self.consensus.raft().members();
        let info = |(id, member): (&u64, &Member)| v1::MemberInfo {
            id: *id,
            peer_address: member.peer_address.clone(),
            public_address: member.public_address.clone(),
            voter: members.is_voter(*id),
        };
        v1::MembershipResponse {
            members: members.nodes.iter().map(info).collect(),
            log_index,
            pending: None,
        }
    }
}

//! The policy: validate, apply, roll back, check, show, history.

use hessra_proto::v1;
use hessra_proto::v1::policies_client::PoliciesClient;
use tonic::transport::Channel;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, identify};
use crate::ClientError;

impl Authority {
    /// Everything that is wrong with two texts, as the server's version reads them. Changes nothing.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn validate_policy(
        &self,
        texts: v1::PolicyTexts,
    ) -> Result<v1::ValidatePolicyResponse, ClientError> {
        self.ask(Repeat::Safe, texts, |channel, request| async move {
            policies(channel).validate(request).await
        })
        .await
    }

    /// Replaces the policy that it is based on. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `conflict` when another revision stands, or nobody could change the policy any more; `invalid_argument` for a
    /// policy that is not valid; `not_permitted` or unavailable.
    pub async fn apply_policy(
        &self,
        mut request: v1::ApplyPolicyRequest,
    ) -> Result<v1::ApplyPolicyResponse, ClientError> {
        identify(&mut request.request_id);
        self.ask(Repeat::Safe, request, |channel, request| async move {
            policies(channel).apply(request).await
        })
        .await
    }

    /// Applies the texts of an earlier revision anew. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `not_found` for a revision that is not kept; else as for [`Self::apply_policy`].
    pub async fn rollback_policy(
        &self,
        mut request: v1::RollbackPolicyRequest,
    ) -> Result<v1::ApplyPolicyResponse, ClientError> {
        identify(&mut request.request_id);
        self.ask(Repeat::Safe, request, |channel, request| async move {
            policies(channel).rollback(request).await
        })
        .await
    }

    /// May a subject do this, and which rule of the policy decides?
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn check_policy(
        &self,
        request: v1::CheckPolicyRequest,
    ) -> Result<v1::CheckPolicyResponse, ClientError> {
        self.ask(Repeat::Safe, request, |channel, request| async move {
            policies(channel).check(request).await
        })
        .await
    }

    /// A version of the policy with its texts; revision 0 is the one that stands.
    ///
    /// # Errors
    /// `not_found` for a revision that is not kept; `not_permitted` or unavailable.
    pub async fn show_policy(&self, revision: u64) -> Result<v1::ShowPolicyResponse, ClientError> {
        let request = v1::ShowPolicyRequest { revision };
        self.ask(Repeat::Safe, request, |channel, request| async move {
            policies(channel).show(request).await
        })
        .await
    }

    /// Versions of the policy, newest first; a limit of 0 is all that are kept.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn policy_history(
        &self,
        limit: u32,
    ) -> Result<v1::PolicyHistoryResponse, ClientError> {
        let request = v1::PolicyHistoryRequest { limit };
        self.ask(Repeat::Safe, request, |channel, request| async move {
            policies(channel).history(request).await
        })
        .await
    }
}

fn policies(channel: Channel) -> PoliciesClient<Channel> {
    PoliciesClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

//! Keys of the cluster, and what waits for a second person.

use std::future::Future;

use hessra_proto::v1;
use hessra_proto::v1::approvals_client::ApprovalsClient;
use hessra_proto::v1::keys_client::KeysClient;
use tonic::transport::Channel;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, RequestId};
use crate::ClientError;

impl Authority {
    /// Every key: what it is for and where it is in its life.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn list_keys(&self) -> Result<v1::ListKeysResponse, ClientError> {
        self.repeat(v1::ListKeysRequest {}, |channel, request| async move {
            keys(channel).list(request).await
        })
        .await
    }

    /// A new key of a purpose (`token`, `feed`, `audit`), published at once.
    ///
    /// # Errors
    /// `not_permitted`, `conflict` when a member lacks the key-encryption key, `limit`, or unavailable.
    pub async fn prepare_key(&self, purpose: &str) -> Result<v1::KeyResponse, ClientError> {
        let request = v1::PrepareKeyRequest {
            request_id: fresh(),
            purpose: purpose.to_owned(),
        };
        self.repeat(request, |channel, request| async move {
            keys(channel).prepare(request).await
        })
        .await
    }

    /// Lets a prepared key sign. `force`: however short it has been published.
    ///
    /// # Errors
    /// `conflict` while it has not been published for long enough, `not_found`, `not_permitted`, or unavailable.
    pub async fn activate_key(&self, id: u32, force: bool) -> Result<v1::KeyResponse, ClientError> {
        let request = v1::ActivateKeyRequest {
            request_id: fresh(),
            id,
            force,
        };
        self.repeat(request, |channel, request| async move {
            keys(channel).activate(request).await
        })
        .await
    }

    /// Lets the prepared successor of a key sign instead of it.
    ///
    /// # Errors
    /// `conflict` without a successor that is ready, `not_found`, `not_permitted`, or unavailable.
    pub async fn retire_key(&self, id: u32) -> Result<v1::KeyResponse, ClientError> {
        self.repeat(key(id), |channel, request| async move {
            keys(channel).retire(request).await
        })
        .await
    }

    /// Denies everything that a key signed. The answer's `pending` is set when a second person must approve it first.
    ///
    /// # Errors
    /// `conflict` for the only key that can sign, `not_found`, `not_permitted`, or unavailable.
    pub async fn revoke_key(&self, id: u32) -> Result<v1::KeyResponse, ClientError> {
        self.repeat(key(id), |channel, request| async move {
            keys(channel).revoke(request).await
        })
        .await
    }

    /// Seals every private half under the key-encryption key that is current on the answering node.
    ///
    /// # Errors
    /// `conflict` when a member lacks that key, or may lack it and `force` is not set; `not_permitted`, or unavailable.
    pub async fn rewrap_keys(&self, force: bool) -> Result<v1::RewrapResponse, ClientError> {
        let request = v1::RewrapRequest {
            request_id: fresh(),
            force,
        };
        self.repeat(request, |channel, request| async move {
            keys(channel).rewrap(request).await
        })
        .await
    }

    /// What waits for a second person.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn list_approvals(&self) -> Result<v1::ListApprovalsResponse, ClientError> {
        self.repeat(v1::ListApprovalsRequest {}, |channel, request| async move {
            approvals(channel).list(request).await
        })
        .await
    }

    /// One action that waits.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    pub async fn show_approval(&self, id: &str) -> Result<v1::ApprovalInfo, ClientError> {
        self.repeat(approval(id), |channel, request| async move {
            approvals(channel).show(request).await
        })
        .await
    }

    /// Does what somebody else asked for.
    ///
    /// # Errors
    /// `not_permitted` for who asked, and without the right; `not_found`; what the action itself is refused with; or
    /// unavailable.
    pub async fn approve(&self, id: &str) -> Result<v1::ApproveResponse, ClientError> {
        self.repeat(approval(id), |channel, request| async move {
            approvals(channel).approve(request).await
        })
        .await
    }

    /// Takes an action back.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    pub async fn cancel_approval(&self, id: &str) -> Result<v1::CancelResponse, ClientError> {
        self.repeat(approval(id), |channel, request| async move {
            approvals(channel).cancel(request).await
        })
        .await
    }

    /// A request that reads, or that its id makes harmless to repeat.
    async fn repeat<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(Channel, tonic::Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        self.ask(Repeat::Safe, request, call).await
    }
}

fn keys(channel: Channel) -> KeysClient<Channel> {
    KeysClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn approvals(channel: Channel) -> ApprovalsClient<Channel> {
    ApprovalsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn fresh() -> Vec<u8> {
    RequestId::random().0.to_vec()
}

fn key(id: u32) -> v1::KeyRequest {
    v1::KeyRequest {
        request_id: fresh(),
        id,
    }
}

fn approval(id: &str) -> v1::ApprovalRequest {
    v1::ApprovalRequest {
        request_id: fresh(),
        id: id.to_owned(),
    }
}

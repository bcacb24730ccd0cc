//! Keys of the cluster, and actions that wait for a second person.

use hessra_proto::v1;
use hessra_proto::v1::approvals_client::ApprovalsClient;
use hessra_proto::v1::keys_client::KeysClient;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, RequestId};
use crate::ClientError;

rpcs! { KeysClient:
    /// Keys, all of them: the purpose of each, and its state.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    list_keys() -> v1::ListKeysResponse = list(v1::ListKeysRequest {}), Safe;

    /// A new key of a purpose (`token`, `feed`, `audit`), published at once.
    ///
    /// # Errors
    /// `not_permitted`, `conflict` when a member lacks the key-encryption key, `limit`, or unavailable.
    prepare_key(purpose: &str) -> v1::KeyResponse
        = prepare(v1::PrepareKeyRequest { request_id: fresh(), purpose: purpose.to_owned() }), Safe;

    /// Lets a prepared key sign. `force`: however short it has been published.
    ///
    /// # Errors
    /// `conflict` while it has not been published for long enough, `not_found`, `not_permitted`, or unavailable.
    activate_key(id: u32, force: bool) -> v1::KeyResponse
        = activate(v1::ActivateKeyRequest { request_id: fresh(), id, force }), Safe;

    /// Lets the prepared successor of a key sign instead of it.
    ///
    /// # Errors
    /// `conflict` without a successor that is ready, `not_found`, `not_permitted`, or unavailable.
    retire_key(id: u32) -> v1::KeyResponse = retire(key(id)), Safe;

    /// Denies everything that a key signed. The answer's `pending` is set when a second person must approve it first.
    ///
    /// # Errors
    /// `conflict` for the only key that can sign, `not_found`, `not_permitted`, or unavailable.
    revoke_key(id: u32) -> v1::KeyResponse = revoke(key(id)), Safe;

    /// Seals every private half under the key-encryption key that is current on the answering node.
    ///
    /// # Errors
    /// `conflict` when a member lacks that key, or may lack it and `force` is not set; `not_permitted`, or unavailable.
    rewrap_keys(force: bool) -> v1::RewrapResponse = rewrap(v1::RewrapRequest { request_id: fresh(), force }), Safe;
}

rpcs! { ApprovalsClient:
    /// Actions that wait for a second person.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    list_approvals() -> v1::ListApprovalsResponse = list(v1::ListApprovalsRequest {}), Safe;

    /// Action that waits for a second person, by its id.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    show_approval(id: &str) -> v1::ApprovalInfo = show(approval(id)), Safe;

    /// Approves and carries out an action that another operator asked for.
    ///
    /// # Errors
    /// `not_permitted` for the operator that asked, and without the right; `not_found`; a refusal of the action itself;
    /// or unavailable.
    approve(id: &str) -> v1::ApproveResponse = approve(approval(id)), Safe;

    /// Takes an action back.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    cancel_approval(id: &str) -> v1::CancelResponse = cancel(approval(id)), Safe;
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

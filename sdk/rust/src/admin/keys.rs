//! Keys of the cluster, and actions that wait for a second person.

use hessra_proto::statement::bytes_digest;
use hessra_proto::v1;
use hessra_proto::v1::approvals_client::ApprovalsClient;
use hessra_proto::v1::keys_client::KeysClient;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, proved, traced};
use crate::ClientError;

rpcs! { KeysClient:
    /// Keys, all of them: the purpose of each, and its state.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    list_keys() -> v1::ListKeysResponse = list(v1::ListKeysRequest {}), Safe;
}

signed_rpcs! { KeysClient:
    /// A new key of a purpose (`token`, `feed`, `audit`), published at once.
    ///
    /// # Errors
    /// `not_permitted`, `conflict` when a member lacks the key-encryption key, `limit`, or unavailable.
    prepare_key(purpose: &str) -> v1::KeyResponse
        = prepare(v1::PrepareKeyRequest { request_id: Vec::new(), purpose: purpose.to_owned() }), Safe;

    /// Lets a prepared key sign. `force`: however short it has been published.
    ///
    /// # Errors
    /// `conflict` while it has not been published for long enough, `not_found`, `not_permitted`, or unavailable.
    activate_key(id: u32, force: bool) -> v1::KeyResponse
        = activate(v1::ActivateKeyRequest { request_id: Vec::new(), id, force }), Safe;

    /// Lets the prepared successor of a key sign instead of it.
    ///
    /// # Errors
    /// `conflict` without a successor that is ready, `not_found`, `not_permitted`, or unavailable.
    retire_key(id: u32) -> v1::KeyResponse = retire(v1::RetireKeyRequest { request_id: Vec::new(), id }), Safe;

    /// Denies everything that a key signed. The answer's `pending` is set when a second person must approve it first.
    ///
    /// # Errors
    /// `conflict` for the only key that can sign, `not_found`, `not_permitted`, or unavailable.
    revoke_key(id: u32) -> v1::KeyResponse = revoke(v1::RevokeKeyRequest { request_id: Vec::new(), id }), Safe;

    /// Seals every private half under the key-encryption key that is current on the answering node.
    ///
    /// # Errors
    /// `conflict` when a member lacks that key, or may lack it and `force` is not set; `not_permitted`, or unavailable.
    rewrap_keys(force: bool) -> v1::RewrapResponse = rewrap(v1::RewrapRequest { request_id: Vec::new(), force }), Safe;
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
    show_approval(id: &str) -> v1::ApprovalInfo = show(v1::ShowApprovalRequest { id: id.to_owned() }), Safe;
}

signed_rpcs! { ApprovalsClient:
    /// Approves and carries out an action that another operator asked for. `shown`: the action, as [`Self::show_approval`] has
    /// shown it; what is approved is what it says in its statement, and nothing that takes its place.
    ///
    /// # Errors
    /// `not_permitted` for the operator that asked, and without the right; `not_found`; `conflict` when another action has
    /// its place; a refusal of the action itself; or unavailable.
    approve(shown: &v1::ApprovalInfo) -> v1::ApproveResponse = approve(v1::ApproveRequest {
        request_id: Vec::new(),
        id: shown.id.clone(),
        action: bytes_digest(&shown.statement).to_vec(),
    }), Safe;

    /// Takes an action back.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    cancel_approval(id: &str) -> v1::CancelResponse
        = cancel(v1::CancelRequest { request_id: Vec::new(), id: id.to_owned() }), Safe;
}

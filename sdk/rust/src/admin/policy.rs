//! The policy: validate, apply, roll back, check, show, history.

use hessra_proto::v1;
use hessra_proto::v1::policies_client::PoliciesClient;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, proved, traced};
use crate::ClientError;

rpcs! { PoliciesClient:
    /// Problems of two texts, all of them, as the server's version reads them. Changes nothing.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    validate_policy(texts: v1::PolicyTexts) -> v1::ValidatePolicyResponse = validate(texts), Safe;
}

signed_rpcs! { PoliciesClient:
    /// Replaces the policy that it is based on. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `conflict` when another revision stands, or when no operator could change the policy any more;
    /// `invalid_argument` for a policy that is not valid; `not_permitted` or unavailable.
    apply_policy(request: v1::ApplyPolicyRequest) -> v1::ApplyPolicyResponse
        = apply(request), Safe;

    /// Applies the texts of an earlier revision anew. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `not_found` for a revision that is not kept; else as for [`Self::apply_policy`].
    rollback_policy(request: v1::RollbackPolicyRequest) -> v1::ApplyPolicyResponse
        = rollback(request), Safe;

}

rpcs! { PoliciesClient:
    /// Checks whether a subject may do this, and names the rule of the policy that decides.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    check_policy(request: v1::CheckPolicyRequest) -> v1::CheckPolicyResponse = check(request), Safe;

    /// A version of the policy with its texts; revision 0 is the one that stands.
    ///
    /// # Errors
    /// `not_found` for a revision that is not kept; `not_permitted` or unavailable.
    show_policy(revision: u64) -> v1::ShowPolicyResponse = show(v1::ShowPolicyRequest { revision }), Safe;

    /// Versions of the policy, newest first; a limit of 0 is all that are kept.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    policy_history(limit: u32) -> v1::PolicyHistoryResponse = history(v1::PolicyHistoryRequest { limit }), Safe;
}

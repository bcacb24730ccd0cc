//! Decisions of the cluster about the audit of a node. Reading it is [`crate::audit`].

use hessra_proto::v1;
use hessra_proto::v1::audit_client::AuditClient;

use super::{ANSWER_BYTES_MAX, Authority, Repeat, proved, traced};
use crate::ClientError;

signed_rpcs! { AuditClient:
    /// Accepts that the audit of a node is lost: it may begin a new one.
    ///
    /// # Errors
    /// `not_found` when no audit of the node is known, `not_permitted`, or unavailable.
    accept_audit_loss(node: u64, ticket: &str) -> v1::AcceptAuditLossResponse
        = accept_audit_loss(v1::AcceptAuditLossRequest {
            request_id: Vec::new(), node, ticket: ticket.to_owned()
        }), Safe;
}

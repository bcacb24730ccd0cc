//! The chains of every node.

use hessra_sdk_rust::v1::AuditChain;

/// Every chain of a node.
pub(super) const CHAINS: [AuditChain; 2] = [AuditChain::Changes, AuditChain::Refusals];

/// The chain as records name it.
pub(super) fn name(chain: AuditChain) -> &'static str {
    match chain {
        AuditChain::Changes => "changes",
        AuditChain::Refusals => "refusals",
    }
}

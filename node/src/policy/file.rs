//! `clients.toml` and `resources.toml` as people write them. What they mean is in the parent module.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsFile {
    /// Of the format: informative.
    #[serde(default)]
    #[allow(dead_code)]
    pub(super) version: Option<String>,
    pub(super) cacerts: Option<Authorities>,
    #[serde(default)]
    pub(super) clients: Vec<ClientEntry>,
    #[serde(default)]
    pub(super) operators: Vec<OperatorEntry>,
    #[serde(default)]
    pub(super) limits: LimitsEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorities {
    pub(super) cert_chain: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEntry {
    pub(super) identifier: IdentifierEntry,
    #[serde(default)]
    pub(super) resources: Vec<ResourceGrant>,
    #[serde(default)]
    pub(super) identity_token_enabled: bool,
    /// Seconds.
    #[serde(default = "identity_token_duration")]
    pub(super) identity_token_duration: u64,
    /// May its identity token be delegated?
    #[serde(default = "yes")]
    pub(super) delegable: bool,
    pub(super) domain: Option<DomainEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentifierEntry {
    #[serde(rename = "type")]
    pub(super) kind: IdentifierKind,
    pub(super) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdentifierKind {
    SanUri,
    SanDns,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceGrant {
    pub(super) name: String,
    pub(super) operations: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainEntry {
    pub(super) default_role: Option<RoleEntry>,
    #[serde(default)]
    pub(super) role_assignments: Vec<RoleAssignment>,
    #[serde(default)]
    pub(super) roles: Vec<RoleEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleEntry {
    pub(super) name: String,
    #[serde(default)]
    pub(super) resources: Vec<ResourceGrant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleAssignment {
    pub(super) subject: String,
    pub(super) role: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorEntry {
    pub(super) identity: String,
    pub(super) rights: Vec<super::Right>,
    pub(super) under: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsEntry {
    /// Segments.
    pub(super) min_revocation_depth: u8,
    /// Seconds.
    pub(super) authorization_token_duration: u64,
    /// What can undo safety or hurt everyone needs two operators.
    pub(super) two_person: bool,
}

impl Default for LimitsEntry {
    fn default() -> Self {
        Self {
            min_revocation_depth: super::MIN_REVOCATION_DEPTH,
            authorization_token_duration: super::AUTHORIZATION_TOKEN_DURATION,
            two_person: true,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourcesFile {
    /// Of the format: informative.
    #[serde(default)]
    #[allow(dead_code)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) resources: BTreeMap<String, ResourceEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceEntry {
    #[serde(rename = "type")]
    pub(super) kind: super::ResourceKind,
    #[serde(default)]
    pub(super) nodes: Vec<ServiceNode>,
    #[serde(default)]
    pub(super) signers: Vec<PartySigner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceNode {
    pub(super) component: String,
    pub(super) public_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartySigner {
    pub(super) component: String,
    pub(super) authorization_service: String,
    pub(super) public_key: String,
}

/// 8 h: the published default of the example files.
fn identity_token_duration() -> u64 {
    28_800
}

fn yes() -> bool {
    true
}

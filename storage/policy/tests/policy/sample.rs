//! One policy that most tests start from.

use hessra_policy::{PolicyView, ProvenNames};
use hessra_revocation::Identity;

pub(crate) const CLIENTS: &str = r#"
version = "0.2.0"

[[clients]]
identifier = { type = "san_uri", value = "uri:urn:hessra:alice" }
identity_token_enabled = true
identity_token_duration = 3600
resources = [{ name = "api", operations = ["read", "write"] }]

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice:agent" }
identity_token_enabled = true
resources = [{ name = "api", operations = ["read"] }]

[[clients]]
identifier = { type = "san_dns", value = "worker-*.internal.com" }
resources = [{ name = "queue", operations = ["take"] }]

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:mycompany" }
identity_token_enabled = true
[clients.domain.default_role]
name = "member"
resources = [{ name = "api", operations = ["read"] }]
[[clients.domain.roles]]
name = "admin"
resources = [{ name = "api", operations = ["write"] }]
[[clients.domain.role_assignments]]
subject = "uri:urn:hessra:mycompany:admin-user"
role = "admin"

[[operators]]
identity = "urn:hessra:operator"
rights = ["revoke", "lift", "keys", "policy", "cluster", "read"]

[[operators]]
identity = "urn:hessra:responder"
rights = ["revoke"]
under = "urn:hessra:alice"
"#;

pub(crate) fn policy() -> PolicyView {
    PolicyView::parse(CLIENTS, "").expect("the sample is valid")
}

pub(crate) fn id(text: &str) -> Identity {
    Identity::parse(text).expect("a canonical identity")
}

/// Refusal of two texts, all problems on a line each.
pub(crate) fn refusal(clients: &str, resources: &str) -> String {
    PolicyView::parse(clients, resources)
        .expect_err("it has a mistake")
        .to_string()
}

pub(crate) struct Names {
    uris: Vec<String>,
    dns: Vec<String>,
}

impl ProvenNames for Names {
    fn uris(&self) -> &[String] {
        &self.uris
    }

    fn dns_names(&self) -> &[String] {
        &self.dns
    }
}

pub(crate) fn certificate(uris: &[&str], dns: &[&str]) -> Names {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Names {
        uris: owned(uris),
        dns: owned(dns),
    }
}

pub(crate) fn may(actor: &str, operation: &str) -> bool {
    policy().authorize(&id(actor), "api", operation).is_ok()
}

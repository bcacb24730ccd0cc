//! What policies permit, and which are refused.

use super::*;

const CLIENTS: &str = r#"
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

fn policy() -> PolicyView {
    PolicyView::parse(CLIENTS, "").unwrap()
}

fn id(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn certificate(uris: &[&str], dns: &[&str]) -> PeerCertificate {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    PeerCertificate {
        der: vec![],
        sha256: [0; 32],
        san_uris: owned(uris),
        san_dns: owned(dns),
    }
}

fn may(actor: &str, operation: &str) -> bool {
    policy().authorize(&id(actor), "api", operation).is_ok()
}

fn refusal(clients: &str, resources: &str) -> String {
    PolicyView::parse(clients, resources)
        .unwrap_err()
        .to_string()
}

#[test]
fn an_identity_may_what_its_entry_says_and_nothing_else() {
    assert!(may("urn:hessra:alice", "read") && may("urn:hessra:alice", "write"));
    assert!(!may("urn:hessra:alice", "delete"));
    assert!(
        policy()
            .authorize(&id("urn:hessra:alice"), "database", "read")
            .is_err()
    );
}

#[test]
fn who_is_not_in_the_policy_may_nothing_even_below_someone_who_is() {
    assert_eq!(
        policy()
            .authorize(&id("urn:hessra:alice:stranger"), "api", "read")
            .unwrap_err()
            .code(),
        "unknown_client"
    );
    assert!(!may("urn:hessra:alicex", "read"));
    assert!(!may("urn:hessra", "read"));
}

#[test]
fn a_delegate_may_what_its_own_entry_and_all_above_it_allow() {
    assert!(may("urn:hessra:alice:agent", "read"));
    assert!(!may("urn:hessra:alice:agent", "write"));
}

#[test]
fn an_explicit_role_replaces_the_default_role_and_holds_below_its_subject() {
    assert!(
        may("urn:hessra:mycompany:anyone", "read") && !may("urn:hessra:mycompany:anyone", "write")
    );
    assert!(
        may("urn:hessra:mycompany:admin-user", "write")
            && !may("urn:hessra:mycompany:admin-user", "read")
    );
    assert!(may("urn:hessra:mycompany:admin-user:tool", "write"));
}

#[test]
fn a_deeper_role_gives_nothing_that_the_one_above_lacks() {
    let deeper = CLIENTS.replace("mycompany:admin-user", "mycompany:anyone:admin-user");
    let policy = PolicyView::parse(&deeper, "").unwrap();
    assert!(
        policy
            .authorize(
                &id("urn:hessra:mycompany:anyone:admin-user"),
                "api",
                "write"
            )
            .is_err()
    );
}

#[test]
fn a_delegate_with_more_rights_than_its_parent_is_not_loaded() {
    let wide = CLIENTS.replace(
        r#"operations = ["read"] }]

[[clients]]
identifier = { type = "san_dns""#,
        r#"operations = ["read", "delete"] }]

[[clients]]
identifier = { type = "san_dns""#,
    );
    assert_eq!(
        refusal(&wide, ""),
        "clients.toml:13:1: `urn:hessra:alice:agent` is given `delete` on `api`, which an identity above it does not \
         have. Give it to that one too, or remove it here"
    );
}

#[test]
fn a_certificate_names_its_client_whatever_the_spelling_of_uri() {
    for spelling in [
        "urn:hessra:alice",
        "uri:urn:hessra:alice",
        "URI:urn:hessra:alice",
    ] {
        let policy = policy();
        let principal = policy.principal(&certificate(&[spelling], &[])).unwrap();
        assert_eq!(
            principal.identity.as_str(),
            "uri:urn:hessra:alice",
            "issued as the policy spells it"
        );
    }
    assert!(
        policy()
            .principal(&certificate(&["urn:hessra:ALICE"], &[]))
            .is_err()
    );
}

#[test]
fn a_certificate_that_names_two_clients_or_none_names_nobody() {
    let both = certificate(&["urn:hessra:alice", "urn:hessra:mycompany"], &[]);
    assert_eq!(
        policy().principal(&both).unwrap_err(),
        Denied::AmbiguousCertificate
    );
    assert_eq!(
        policy().principal(&certificate(&[], &[])).unwrap_err(),
        Denied::UnknownCertificate
    );
    let twice = certificate(&["urn:hessra:alice", "URI:urn:hessra:alice"], &[]);
    assert!(policy().principal(&twice).is_ok());
}

#[test]
fn a_dns_wildcard_stands_for_a_part_of_one_label() {
    let named = |name: &str| policy().principal(&certificate(&[], &[name])).is_ok();
    assert!(named("worker-1.internal.com") && named("WORKER-ab.internal.com"));
    assert!(
        !named("worker-.internal.com")
            && !named("worker-1.evil.internal.com")
            && !named("worker-1.internal.org")
    );
    assert!(
        policy()
            .authorize(&id("worker-7.internal.com"), "queue", "take")
            .is_ok()
    );
}

#[test]
fn an_operator_has_the_rights_it_is_given_under_the_identity_it_is_given() {
    let policy = policy();
    assert!(
        policy
            .may("URI:urn:hessra:operator", Right::Cluster, None)
            .is_ok()
    );
    assert!(
        policy
            .may(
                "urn:hessra:responder",
                Right::Revoke,
                Some(&id("urn:hessra:alice:agent"))
            )
            .is_ok()
    );
    for (right, under) in [
        (Right::Revoke, Some(id("urn:hessra:alicex"))),
        (Right::Revoke, Some(id("urn:hessra"))),
        (Right::Revoke, None),
        (Right::Lift, Some(id("urn:hessra:alice"))),
        (Right::Read, None),
    ] {
        assert!(
            policy
                .may("urn:hessra:responder", right, under.as_ref())
                .is_err(),
            "{right:?} {under:?}"
        );
    }
    assert!(policy.may("urn:hessra:alice", Right::Read, None).is_err());
}

#[test]
fn a_bearer_token_is_worth_nothing_once_its_subject_may_have_none() {
    let policy = policy();
    let agent = id("urn:hessra:alice:agent");
    assert!(
        policy
            .authorize_bearer(&id("uri:urn:hessra:alice"), &agent, "api", "read")
            .is_ok()
    );
    let off = CLIENTS.replacen(
        "identity_token_enabled = true",
        "identity_token_enabled = false",
        1,
    );
    let off = PolicyView::parse(&off, "").unwrap();
    let denied = off
        .authorize_bearer(&id("uri:urn:hessra:alice"), &agent, "api", "read")
        .unwrap_err();
    assert_eq!(denied.code(), "identity_tokens_disabled");
}

#[test]
fn what_lies_below_an_identity_is_listed_with_what_it_may_reach() {
    let below: Vec<String> = policy()
        .identities_below(&id("urn:hessra:alice"))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(below, ["uri:urn:hessra:alice", "urn:hessra:alice:agent"]);
    assert_eq!(
        policy().resources_of(&id("urn:hessra:alice")),
        ["api:read", "api:write"]
    );
}

#[test]
fn before_there_is_a_policy_nothing_is_permitted() {
    let none = PolicyView::default();
    assert!(
        none.authorize(&id("urn:hessra:alice"), "api", "read")
            .is_err()
    );
    assert!(none.may("urn:hessra:operator", Right::Read, None).is_err());
}

#[test]
fn mistakes_are_refused_where_they_stand() {
    let with = |more: &str| format!("{CLIENTS}\n{more}");
    let cases = [
        (
            CLIENTS.replace("identity_token_duration", "identity_token_duraton"),
            "clients.toml:7:1: unknown key `identity_token_duraton`. Did you mean `identity_token_duration`?",
        ),
        (
            with("[[clients]]\nidentifier = { type = \"san_uri\", value = \"urn:hessra:alice\" }"),
            "clients.toml:42:42: `urn:hessra:alice` and `uri:urn:hessra:alice` are the same identity: remove one entry",
        ),
        (
            CLIENTS.replace("rights = [\"revoke\"]", "rights = []"),
            "clients.toml:38:1: `urn:hessra:responder` has no rights: remove the entry",
        ),
        (
            CLIENTS.replace("role = \"admin\"", "role = \"boss\""),
            "clients.toml:30:8: role `boss` is not defined. Known: admin, member",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text, ""), expected);
    }
    let not_canonical = refusal(
        &CLIENTS.replace("urn:hessra:alice:agent", "urn:hessra:alice:"),
        "",
    );
    assert!(
        not_canonical.starts_with("clients.toml:11:42: `urn:hessra:alice:` is not an identity:"),
        "{not_canonical}"
    );
}

#[test]
fn resources_say_which_kind_of_token_they_need() {
    let key = format!("ed25519/{}", "ab".repeat(32));
    let chain = format!(
        "[resources.orders]\ntype = \"service_chain\"\nnodes = [{{ component = \"edge\", public_key = \"{key}\" }}]"
    );
    let policy = PolicyView::parse(CLIENTS, &chain).unwrap();
    assert_eq!(policy.resource_kind("orders"), ResourceKind::ServiceChain);
    assert_eq!(policy.resource_kind("anything"), ResourceKind::Singleton);
    assert_eq!(
        refusal(CLIENTS, "[resources.orders]\ntype = \"service_chain\""),
        "resources.toml:1:12: `orders` is a service chain: it needs `nodes` alone"
    );
    assert!(refusal(CLIENTS, &chain.replace("abab", "ab")).contains("is not a public key"));
}

//! Answers of a policy: yes and no.

use hessra_policy::{Denied, PolicyView, Right};

use crate::sample::{CLIENTS, certificate, id, may, policy};

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
fn a_host_is_named_as_dns_does_without_case_and_nothing_else_passes_for_it() {
    let policy = policy();
    let named = certificate(&[], &["WORKER-7.Internal.COM."]);
    let principal = policy.principal(&named).unwrap();
    assert_eq!(principal.identity, id("worker-7.internal.com"));
    for other in [
        "worker-7:x.internal.com",
        "worker-@.internal.com",
        "worker-7.internal.com:x",
    ] {
        assert!(policy.client(&id(other)).is_none(), "{other}");
    }
    assert!(!policy.is_near_the_root(&id("worker-7.internal.com")));
    assert!(
        policy.is_near_the_root(&id("internal.com")) && policy.is_near_the_root(&id("urn:hessra"))
    );
}

#[test]
fn what_lies_below_a_host_may_no_more_than_the_host() {
    let below = r#"
[[clients]]
identifier = { type = "san_dns", value = "Host.Example" }
resources = [{ name = "queue", operations = ["take"] }]

[[clients]]
identifier = { type = "san_uri", value = "host.example:agent" }
resources = [{ name = "queue", operations = ["RIGHT"] }]
"#;
    let may = |right: &str| PolicyView::parse(&below.replace("RIGHT", right), "");
    assert!(
        may("take")
            .unwrap()
            .authorize(&id("host.example:agent"), "queue", "take")
            .is_ok()
    );
    let refused = may("put").unwrap_err().to_string();
    assert!(
        refused.contains("which an identity above it does not have"),
        "{refused}"
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

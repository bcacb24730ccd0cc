//! Settings of clients, operators and resources; what differs, and why an answer is what it is.

use hessra_policy::{PolicyView, ResourceKind, Right, RightsChange, TokenShape, difference};

use crate::sample::{CLIENTS, id, policy, refusal};

fn key() -> String {
    format!("ed25519/{}", "ab".repeat(32))
}

fn view(clients: &str, resources: &str) -> PolicyView {
    PolicyView::parse(clients, resources).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn resources_say_which_kind_of_token_they_need() {
    let chain = format!(
        "[resources.orders]\ntype = \"service_chain\"\nnodes = [{{ component = \"edge\", public_key = \"{}\" }}]",
        key()
    );
    let policy = view(CLIENTS, &chain);
    assert_eq!(policy.resource_kind("orders"), ResourceKind::ServiceChain);
    assert_eq!(policy.resource("orders").nodes[0].component, "edge");
    assert_eq!(policy.resource_kind("anything"), ResourceKind::Singleton);
    assert_eq!(
        refusal(CLIENTS, "[resources.orders]\ntype = \"service_chain\""),
        "resources.toml:1:12: `orders` is a service chain: it needs `nodes` alone"
    );
    assert!(refusal(CLIENTS, &chain.replace("abab", "ab")).contains("is not a public key"));
}

#[test]
fn a_resource_has_what_it_says_then_what_its_templates_say_then_the_defaults() {
    let resources = format!(
        r#"
[resource_templates.short]
authorization_token_duration = 60
[resource_templates.signed]
template = "short"
type = "multi_party"
signers = [{{ component = "bank", authorization_service = "bank:7401", public_key = "{}" }}]
[resources.payments]
template = "signed"
shape = "authorization"
[resources.reports]
template = "short"
"#,
        key()
    );
    let policy = view("", &resources);
    let payments = policy.resource("payments");
    assert_eq!(payments.kind, ResourceKind::MultiParty);
    assert_eq!(payments.shape, TokenShape::Authorization);
    assert_eq!(payments.signers[0].authorization_service, "bank:7401");
    assert_eq!(policy.authorization_duration_of("payments"), 60);
    assert_eq!(policy.resource("reports").kind, ResourceKind::Singleton);
    assert_eq!(policy.authorization_duration_of("elsewhere"), 300);
}

#[test]
fn a_schema_adds_the_rules_of_an_operation_to_those_of_its_resource() {
    let policy = view(
        "",
        r#"
[resources.files]
context_required = true
required_designations = ["tenant"]
[resources.files.operations.read]
[resources.files.operations.delete]
single_use = true
required_designations = ["path"]
"#,
    );
    let files = policy.resource("files");
    let delete = files.rules_of("delete");
    assert!(delete.single_use && delete.context_required);
    assert_eq!(delete.required_designations, ["path", "tenant"]);
    assert!(!files.rules_of("read").single_use);
    assert!(files.knows("read") && !files.knows("write"));
    assert!(policy.resource("unlisted").knows("anything"));
    assert!(
        refusal("", "[resources.f]\nrequired_designations = [\"anchor\"]").contains("is reserved")
    );
}

#[test]
fn who_was_exposed_to_a_label_is_kept_from_what_its_rule_blocks() {
    let policy = view(
        "",
        r#"
[[exposure_rules]]
labels = ["PII:*"]
blocks = ["mail", "web-*"]
[[exposure_rules]]
labels = ["a", "b"]
match = "all"
blocks = ["*"]
"#,
    );
    let blocked = |labels: &[&str], resource: &str| {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        policy.is_blocked_by_exposure(&labels, resource)
    };
    assert!(blocked(&["PII:SSN"], "mail") && blocked(&["x", "PII:"], "web-out"));
    assert!(!blocked(&["PII:SSN"], "database") && !blocked(&["PI"], "mail"));
    assert!(blocked(&["b", "a"], "database") && !blocked(&["a"], "database"));
}

#[test]
fn a_client_has_the_bounds_that_it_is_given_and_else_those_of_the_limits() {
    let policy = view(
        r#"
[limits]
refresh_count_max = 7
[[clients]]
identifier = { type = "san_uri", value = "urn:h:a" }
require_jit = true
refresh_age_max = 60
stub_targets = ["urn:h:b"]
[[clients]]
identifier = { type = "san_uri", value = "urn:h:b" }
"#,
        "",
    );
    let client = policy.client(&id("urn:h:a")).unwrap();
    assert!(client.require_jit && !client.is_realm());
    assert_eq!((client.refresh.count_max, client.refresh.age_max), (7, 60));
    assert!(client.may_request_stub_for(&id("urn:h:b:c")));
    assert!(!client.may_request_stub_for(&id("urn:h:bc")));
    let other = policy.client(&id("urn:h:b")).unwrap();
    assert_eq!(other.refresh.age_max, policy.limits().refresh.age_max);
}

#[test]
fn members_of_a_realm_have_a_realm_and_a_role() {
    let policy = policy();
    let member = id("urn:hessra:mycompany:anyone");
    let (realm, client) = policy.realm_of(&member).unwrap();
    assert!(realm.path() == "urn:hessra:mycompany" && client.is_realm());
    assert_eq!(policy.role_of(&member), Some("member"));
    assert_eq!(
        policy.role_of(&id("urn:hessra:mycompany:admin-user")),
        Some("admin")
    );
    assert_eq!(policy.role_of(&id("urn:hessra:alice")), None);
    assert!(policy.realm_of(&id("urn:hessra:mycompany")).is_none());
}

#[test]
fn an_operator_has_the_rights_of_its_roles_and_a_responder_cannot_lift() {
    let policy = view(
        r#"
[operator_roles]
keeper = ["keys", "read"]
[[operators]]
identity = "urn:o:r"
roles = ["responder"]
under = ["urn:a", "urn:b"]
[[operators]]
identity = "urn:o:k"
roles = ["keeper", "auditor"]
rights = ["policy"]
"#,
        "",
    );
    assert!(
        policy
            .may("urn:o:r", Right::Revoke, Some(&id("urn:b:c")))
            .is_ok()
    );
    assert!(
        policy
            .may("urn:o:r", Right::Revoke, Some(&id("urn:c")))
            .is_err()
    );
    assert!(policy.may("urn:o:r", Right::Read, None).is_ok());
    assert!(
        policy
            .may("urn:o:r", Right::Lift, Some(&id("urn:b:c")))
            .is_err()
    );
    for right in [Right::Keys, Right::Read, Right::Audit, Right::Policy] {
        assert!(policy.may("urn:o:k", right, None).is_ok(), "{right:?}");
    }
    assert!(policy.may("urn:o:k", Right::Cluster, None).is_err());
}

#[test]
fn an_explanation_names_the_rule_that_decides_and_where_it_stands() {
    let policy = policy();
    let explain = |subject: &str, operation: &str| policy.explain(&id(subject), "api", operation);
    let no = explain("urn:hessra:alice:agent", "write");
    assert!(!no.allowed);
    assert_eq!(
        no.reason,
        "its entry of `urn:hessra:alice:agent` (clients.toml:11) does not permit `write` on `api`"
    );
    assert_eq!(
        no.steps.iter().map(|step| step.permits).collect::<Vec<_>>(),
        [true, false]
    );
    let yes = explain("urn:hessra:alice:agent", "read");
    assert!(
        yes.allowed && yes.reason.ends_with("and everything above permits it too"),
        "{}",
        yes.reason
    );
    let role = explain("urn:hessra:mycompany:admin-user", "read");
    assert_eq!(
        role.reason,
        "role `admin` of realm `urn:hessra:mycompany` of `urn:hessra:mycompany:admin-user` (clients.toml:26) does not \
         permit `read` on `api`"
    );
    let unknown = explain("urn:hessra:alicf", "read");
    assert_eq!(
        unknown.reason,
        "`urn:hessra:alicf` is not a client of the policy, nor a member of a realm. Did you mean `urn:hessra:alice`?"
    );
}

#[test]
fn an_explanation_and_an_answer_never_disagree() {
    let policy = policy();
    for subject in [
        "urn:hessra:alice",
        "urn:hessra:alice:agent",
        "urn:hessra:alice:agent:deeper",
        "urn:hessra:mycompany",
        "urn:hessra:mycompany:x",
        "urn:hessra:mycompany:admin-user:tool",
        "worker-1.internal.com",
        "urn:nobody",
    ] {
        for (resource, operation) in [("api", "read"), ("api", "write"), ("queue", "take")] {
            let allowed = policy.authorize(&id(subject), resource, operation).is_ok();
            let explained = policy.explain(&id(subject), resource, operation);
            assert_eq!(
                explained.allowed, allowed,
                "{subject} {resource} {operation}: {explained:?}"
            );
        }
    }
}

#[test]
fn a_difference_says_who_gains_and_loses_what_even_through_a_parent() {
    let narrower = CLIENTS
        .replace(
            r#"operations = ["read", "write"]"#,
            r#"operations = ["write"]"#,
        )
        .replacen(
            r#"resources = [{ name = "api", operations = ["read"] }]"#,
            "",
            1,
        )
        .replace(
            "identity_token_duration = 3600",
            "identity_token_duration = 60",
        )
        .replace(r#"rights = ["revoke"]"#, r#"rights = ["revoke", "lift"]"#);
    let found = difference(&policy(), &view(&narrower, ""));
    let change = |who: &str, gains: &[&str], loses: &[&str]| RightsChange {
        who: who.to_owned(),
        gains: gains.iter().map(|right| (*right).to_owned()).collect(),
        loses: loses.iter().map(|right| (*right).to_owned()).collect(),
    };
    assert_eq!(
        found.rights,
        [
            change("operator urn:hessra:responder", &["lift"], &[]),
            change("urn:hessra:alice", &[], &["api:read"]),
            change("urn:hessra:alice:agent", &[], &["api:read"]),
        ]
    );
    assert_eq!(found.settings.len(), 1, "{:?}", found.settings);
    assert_eq!(
        found.settings[0].setting,
        "urn:hessra:alice identity_token_duration"
    );
    assert_eq!(found.settings[0].new.as_deref(), Some("60 s"));
    assert!(difference(&policy(), &view(&format!("# {CLIENTS}"), "")).is_empty());
}

//! Texts that are not loaded, and what is said about them.

use hessra_policy::{PROBLEMS_MAX, PolicyView};

use crate::sample::{CLIENTS, refusal};

fn with(more: &str) -> String {
    format!("{CLIENTS}\n{more}")
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
        "clients.toml:13:52: `urn:hessra:alice:agent` is given `delete` on `api`, which an identity above it does not \
         have. Give it to that one too, or remove it here"
    );
}

#[test]
fn mistakes_are_refused_where_they_stand() {
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
            with("[[clients]]\nidentifier = { type = \"san_uri\", value = \"urn:hessra:Alice\" }"),
            "clients.toml:42:42: `urn:hessra:Alice` and `uri:urn:hessra:alice` differ only in case: rename one entry",
        ),
        (
            CLIENTS.replace("rights = [\"revoke\"]", "rights = []"),
            "clients.toml:38:1: `urn:hessra:responder` has no rights: remove the entry",
        ),
        (
            CLIENTS.replace("rights = [\"revoke\"]", "rights = [\"revokee\"]"),
            "clients.toml:38:11: `revokee` is not known here. Did you mean `revoke`?",
        ),
        (
            CLIENTS.replace("rights = [\"revoke\"]", "roles = [\"respnder\"]"),
            "clients.toml:38:10: role `respnder` is not defined. Did you mean `responder`?",
        ),
        (
            CLIENTS.replace("role = \"admin\"", "role = \"boss\""),
            "clients.toml:30:8: role `boss` is not defined. Known: admin, member",
        ),
        (
            CLIENTS.replace(
                "identity_token_duration = 3600",
                "identity_token_duration = -1",
            ),
            "clients.toml:7:27: an identity token lives, in seconds, 1 to 2592000",
        ),
        (
            CLIENTS.replace(
                "identity_token_duration = 3600",
                "identity_token_duration = \"1h\"",
            ),
            "clients.toml:7:27: expected a whole number, found string",
        ),
        (
            CLIENTS.replacen("type = \"san_uri\"", "type = \"sanuri\"", 1),
            "clients.toml:5:23: `sanuri` is not known here. Did you mean `san_uri`?",
        ),
        (
            with("[limits]\nmin_revocation_depth = 0"),
            "clients.toml:42:24: a depth is, in segments, 1 to 16",
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
fn all_mistakes_of_both_files_are_said_at_once_in_the_order_of_the_files() {
    let clients = CLIENTS
        .replace("identity_token_duration", "identity_token_duraton")
        .replace("role = \"admin\"", "role = \"boss\"");
    let resources = "[resources.orders]\ntype = \"servce_chain\"\nshap = \"universal\"\n";
    assert_eq!(
        refusal(&clients, resources),
        "clients.toml:7:1: unknown key `identity_token_duraton`. Did you mean `identity_token_duration`?\n\
         clients.toml:30:8: role `boss` is not defined. Known: admin, member\n\
         resources.toml:2:8: `servce_chain` is not known here. Did you mean `service_chain`?\n\
         resources.toml:3:1: unknown key `shap`. Did you mean `shape`?"
    );
}

#[test]
fn no_more_than_twenty_problems_are_said_and_the_rest_is_counted() {
    let many: String = (0..50)
        .map(|n| format!("[[clients]]\nnumber = {n}\n"))
        .collect();
    let error = PolicyView::parse(&many, "").unwrap_err();
    assert_eq!(error.problems().count(), PROBLEMS_MAX);
    // Each has an unknown key and lacks its identifier.
    assert_eq!(error.more(), 100 - PROBLEMS_MAX);
    assert!(error.to_string().ends_with("\nand 80 more"));
}

#[test]
fn broken_syntax_is_refused_where_it_breaks_however_often() {
    let error = PolicyView::parse("version = \n[limits\n[[clients]]\n", "").unwrap_err();
    let lines: Vec<usize> = error.problems().map(|problem| problem.line).collect();
    assert!(lines.contains(&1) && lines.contains(&2), "{error}");
    let twice = refusal("version = \"1\"\nversion = \"2\"", "");
    assert!(
        twice.starts_with("clients.toml:2:1: duplicate key"),
        "{twice}"
    );
}

#[test]
fn a_right_granted_twice_and_a_grant_of_nothing_are_refused() {
    let entry = |resources: &str| {
        format!(
            "[[clients]]\nidentifier = {{ type = \"san_uri\", value = \"urn:a\" }}\nresources = {resources}"
        )
    };
    assert_eq!(
        refusal(
            &entry(r#"[{ name = "api", operations = ["read", "read"] }]"#),
            ""
        ),
        "clients.toml:3:52: `read` on `api` is granted twice. Remove one"
    );
    assert_eq!(
        refusal(&entry(r#"[{ name = "api", operations = [] }]"#), ""),
        "clients.toml:3:30: `api` has no operations: it grants nothing"
    );
}

#[test]
fn an_operation_outside_its_resources_schema_is_refused_with_the_nearest() {
    let schema = "[resources.api.operations.read]\n[resources.api.operations.wriite]\n";
    assert_eq!(
        refusal(CLIENTS, schema),
        "clients.toml:8:52: `write` is no operation of `api`. Did you mean `wriite`?\n\
         clients.toml:27:44: `write` is no operation of `api`. Did you mean `wriite`?"
    );
}

#[test]
fn templates_that_lead_back_to_themselves_or_nowhere_are_refused() {
    let circle = "[resource_templates.a]\ntemplate = \"b\"\n[resource_templates.b]\ntemplate = \"a\"\n\
                  [resources.x]\ntemplate = \"a\"\n";
    assert_eq!(
        refusal("", circle),
        "resources.toml:2:12: template `b` leads back to itself. Remove one `template` of the circle\n\
         resources.toml:4:12: template `a` leads back to itself. Remove one `template` of the circle"
    );
    assert_eq!(
        refusal(
            "",
            "[resource_templates.chain]\n[resources.x]\ntemplate = \"chian\"\n"
        ),
        "resources.toml:3:12: template `chian` is not defined. Did you mean `chain`?"
    );
}

#[test]
fn a_report_marks_the_words_of_every_problem() {
    let error = PolicyView::parse("[limits]\nmin_revocation_depht = 3\n", "x = 1\n").unwrap_err();
    let quoted: Vec<String> = error
        .diagnostics()
        .map(|diagnostic| {
            let label = diagnostic.labels().unwrap().next().unwrap();
            let source = diagnostic.source_code().unwrap();
            let lines = source.read_span(label.inner(), 0, 0).unwrap();
            String::from_utf8(lines.data().to_vec()).unwrap()
        })
        .collect();
    assert_eq!(quoted, ["min_revocation_depht", "x"]);
}

#[test]
fn any_text_is_answered_and_none_panics() {
    for length in 0..CLIENTS.len() {
        if let Some(cut) = CLIENTS.get(..length) {
            let _ = PolicyView::parse(cut, cut);
        }
    }
    for odd in [
        "clients = 3",
        "clients = [3]",
        "resources = \"x\"",
        "[clients.0]",
        "operators = [{}]",
        "\u{0}",
    ] {
        assert!(PolicyView::parse(odd, odd).is_err(), "{odd}");
    }
}

#[test]
fn a_limit_that_no_token_can_reach_is_refused() {
    let limit = |line: &str| refusal(&format!("[limits]\n{line}"), "");
    assert_eq!(
        limit("refresh_count_max = 17"),
        "clients.toml:2:21: a token records, as refreshes in a row, 0 to 16"
    );
    assert_eq!(
        limit("delegation_depth_max = 11"),
        "clients.toml:2:24: delegations of one token are 0 to 10"
    );
    assert_eq!(
        limit("min_revocation_depth = 17"),
        "clients.toml:2:24: a depth is, in segments, 1 to 16"
    );
    let client = refusal(
        "[[clients]]\nidentifier = { type = \"san_uri\", value = \"urn:a\" }\nrefresh_count_max = 17",
        "",
    );
    assert_eq!(
        client,
        "clients.toml:3:21: a token records, as refreshes in a row, 0 to 16"
    );
    let most =
        "[limits]\nrefresh_count_max = 16\ndelegation_depth_max = 10\nmin_revocation_depth = 16";
    PolicyView::parse(most, "").unwrap();
    let standing = PolicyView::parse("", "").unwrap();
    assert_eq!(standing.limits().refresh.count_max, 16);
}

#[test]
fn a_resource_that_no_token_could_be_minted_for_is_refused() {
    let nodes = |count: u8, different: bool| {
        let node = |n: u8| {
            let key = format!("{:02x}", if different { n } else { 0xab }).repeat(32);
            format!("{{ component = \"c{n}\", public_key = \"ed25519/{key}\" }}")
        };
        let nodes: Vec<String> = (0..count).map(node).collect();
        let nodes = nodes.join(", ");
        format!("[resources.r]\ntype = \"service_chain\"\nnodes = [{nodes}]")
    };
    PolicyView::parse("", &nodes(12, true)).unwrap();
    assert_eq!(
        refusal("", &nodes(13, true)),
        "resources.toml:1:12: `r` has 13 nodes, and a token waits for at most 12. Name fewer"
    );
    assert_eq!(
        refusal("", &nodes(2, false)),
        "resources.toml:1:12: `r` has two of its nodes with one key: one signature would stand for both. Give each a key of \
         its own"
    );
    let labels = |from: usize, count: usize| {
        let labels: Vec<String> = (from..from + count).map(|n| format!("\"l{n}\"")).collect();
        format!("[{}]", labels.join(", "))
    };
    let required = |own: usize, of_operation: usize| {
        format!(
            "[resources.r]\nrequired_designations = {}\n[resources.r.operations.read]\nrequired_designations = {}",
            labels(0, own),
            labels(own, of_operation)
        )
    };
    PolicyView::parse("", &required(8, 8)).unwrap();
    assert_eq!(
        refusal("", &required(8, 9)),
        "resources.toml:1:12: `r` requires 17 designations for `read`, and a token is bound in at most 16. Name fewer"
    );
    assert_eq!(
        refusal("", &required(17, 1)),
        "resources.toml:1:12: `r` requires 17 designations, and a token is bound in at most 16. Name fewer"
    );
    let classified = |count| format!("[resources.r]\nclassifications = {}", labels(0, count));
    PolicyView::parse("", &classified(64)).unwrap();
    assert_eq!(
        refusal("", &classified(65)),
        "resources.toml:1:12: `r` has 65 classifications, and a session is exposed to at most 64. Name fewer"
    );
}

#[test]
fn a_name_that_no_token_can_carry_is_refused() {
    let sentence = "a name has 1 to 256 bytes of printable characters without `\"` and `\\`";
    let quoted = refusal("", "[resources.'a\"b']");
    assert!(quoted.ends_with(sentence), "{quoted}");
    let slashed = refusal("", "[resources.'a\\b']");
    assert!(slashed.ends_with(sentence), "{slashed}");
    let role = refusal(
        "[[clients]]\nidentifier = { type = \"san_uri\", value = \"urn:a\" }\n[clients.domain]\n\
         default_role = { name = 'a\"b' }",
        "",
    );
    assert!(role.ends_with(sentence), "{role}");
}

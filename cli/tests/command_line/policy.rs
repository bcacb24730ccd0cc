//! Policy files without a cluster: validated, and asked.

use super::Home;

const CLIENTS: &str = r#"[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice" }
resources = [{ name = "api", operations = ["read", "write"] }]

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice:agent" }
resources = [{ name = "api", operations = ["read"] }]

[[operators]]
identity = "urn:hessra:operator"
roles = ["administrator"]
"#;

fn home() -> Home {
    let home = Home::new();
    home.write("policy/clients.toml", CLIENTS);
    home
}

#[test]
fn a_valid_policy_is_valid_as_a_folder_and_as_files() {
    let home = home();
    home.run("policy validate policy").exits(0);
    home.run("policy validate policy/clients.toml").exits(0);
    let resources = home.write("other.toml", "[resources.api]\nshape = \"capability\"\n");
    home.run(&format!(
        "policy validate policy/clients.toml {}",
        resources.display()
    ))
    .exits(0);
    let answer = home.run("policy validate policy -o json").exits(0).json();
    assert_eq!(answer["valid"], true);
    home.run("policy validate nowhere").exits(6);
}

#[test]
fn every_mistake_is_shown_with_its_line_marked_and_the_nearest_word() {
    let home = home();
    let wrong = CLIENTS
        .replace("roles =", "rolls =")
        .replacen("san_uri", "san_url", 1);
    home.write("policy/clients.toml", &wrong);
    home.write(
        "policy/resources.toml",
        "[resources.api]\nshape = \"universl\"\n",
    );
    let ended = home.run("policy validate policy").exits(3);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    for said in [
        "clients.toml:2:23",
        "`san_url` is not known here",
        "Did you mean `san_uri`?",
        "unknown key `rolls`",
        "Did you mean `roles`?",
        "resources.toml:2:9",
        "shape = \"universl\"",
        "Did you mean `universal`?",
    ] {
        assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
    }
    let ended = home.run("policy validate policy -o json").exits(3);
    let answer = ended.json();
    assert_eq!(answer["valid"], false);
    let problems = answer["problems"].as_array().expect("a list");
    // An operator whose roles could not be read has no rights either.
    assert_eq!(problems.len(), 4, "{answer}");
    assert_eq!(
        (&problems[0]["line"], &problems[0]["column"]),
        (&2.into(), &23.into())
    );
    assert_eq!(ended.error()["reason"], "invalid_policy");
}

#[test]
fn files_answer_who_may_what_and_why() {
    let home = home();
    let ended = home
        .run("policy check urn:hessra:alice:agent read api --policy policy")
        .exits(0);
    assert!(
        ended.stderr.contains("everything above permits it too"),
        "{}",
        ended.stderr
    );
    let ended = home
        .run("policy check urn:hessra:alice:agent write api --policy policy -o json")
        .exits(3);
    let answer = ended.json();
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["steps"].as_array().expect("a list").len(), 2);
    assert_eq!(answer["steps"][1]["line"], 6);
    assert_eq!(ended.error()["reason"], "not_permitted");
    let unknown = home
        .run("policy check urn:hessra:alicf read api --policy policy")
        .exits(3);
    assert!(
        unknown.stderr.contains("Did you mean `urn:hessra:alice`?"),
        "{}",
        unknown.stderr
    );
    home.run("policy check urn:hessra: read api --policy policy")
        .exits(2);
}

#[test]
fn what_needs_a_server_says_so() {
    let home = home();
    for line in [
        "policy show",
        "policy history",
        "policy diff policy",
        "policy apply policy --yes",
    ] {
        home.run(line).exits(2);
    }
}

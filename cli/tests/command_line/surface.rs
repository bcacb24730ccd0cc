//! Grammar, help, exit codes, forms of output, and errors that say what to do.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::Home;

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let home = Home::new();
    let help = home.run("--help").exits(0);
    for command in [
        "identity",
        "authorize",
        "revoke",
        "revocations",
        "status",
        "cluster",
        "keys",
        "approvals",
        "feed",
        "doctor",
        "completion",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command}")), "{command}");
    }
    assert!(help.stdout.contains("hessra help exit-codes"));
}

#[test]
fn every_exit_code_is_in_the_help() {
    let codes = Home::new().run("help exit-codes").exits(0);
    let numbers: Vec<&str> = codes
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        numbers,
        [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "130"
        ]
    );
}

#[test]
fn help_of_a_command_is_that_of_its_option() {
    let home = Home::new();
    let by_word = home.run("help identity delegate").exits(0).stdout;
    let by_option = home.run("identity delegate --help").exits(0).stdout;
    assert_eq!(by_word, by_option);
    home.run("help no-such-command").exits(2);
}

#[test]
fn a_mistake_on_the_command_line_exits_2() {
    let home = Home::new();
    for line in [
        "",
        "no-such-command",
        "identity delegate",
        "revoke",
        "revoke --subtree a:b:c --token-id 00",
        "revoke --wait sometimes a:b:c",
        "revoke --wait-timeout never a:b:c",
        "cluster promote 0",
        "completion cobol",
    ] {
        home.run(line).exits(2);
    }
}

#[test]
fn what_later_versions_bring_is_absent_and_not_pretended() {
    let home = Home::new();
    for line in ["cluster backup x", "feed export x"] {
        home.run(line).exits(2);
    }
}

#[test]
fn completions_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&format!("completion {shell}")).exits(0).stdout;
        assert!(
            script.contains("revocations") && script.contains("wait-timeout"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_manual_page_and_the_first_names_the_exit_codes() {
    let home = Home::new();
    let folder = tempfile::tempdir().expect("a directory");
    let pages = folder.path().join("pages");
    home.run(&format!("man {}", pages.display())).exits(0);
    let read = |name: &str| std::fs::read_to_string(pages.join(name)).expect(name);
    assert!(read("hessra.1").contains("cannot tell"));
    assert!(read("hessra-revoke.1").contains("subtree"));
    assert!(read("hessra-identity-delegate.1").contains("from"));
    std::fs::write(folder.path().join("file"), "").expect("written");
    let inside = folder.path().join("file/pages");
    home.run(&format!("man {}", inside.display())).exits(1);
}

#[test]
fn a_command_without_a_server_says_how_to_name_one() {
    let ended = Home::new().run("status").exits(2);
    assert!(ended.stderr.contains("HESSRA_SERVER"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
}

#[test]
fn errors_for_programs_have_one_shape_on_stderr() {
    let home = Home::new();
    let error = home.run("status -o json").exits(2).error();
    let object = error.as_object().expect("an object");
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "exit_code",
            "hint",
            "message",
            "reason",
            "request_id",
            "retryable",
            "trace_id"
        ]
    );
    assert_eq!(
        (error["exit_code"].as_u64(), error["reason"].as_str()),
        (Some(2), Some("usage"))
    );
}

#[test]
fn options_win_over_the_environment_and_that_over_the_context() {
    let home = Home::new();
    home.write("home/config.toml", "default_server = 'from.context'\n");
    let servers = |environment: &[(&str, &str)], line: &str| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ended = home.run_with(&arguments, environment, "");
        let value = ended.json();
        value["checks"][0]["message"]
            .as_str()
            .expect("a message")
            .to_owned()
    };
    assert!(servers(&[], "doctor --json").ends_with("servers from.context:443"));
    let environment = [
        ("HESSRA_SERVER", "from.environment:1,b"),
        ("HESSRA_PORT", "7"),
    ];
    assert!(servers(&environment, "doctor --json").ends_with("servers from.environment:1, b:7"));
    assert!(
        servers(&environment, "doctor --json -s from.option").ends_with("servers from.option:7")
    );
}

#[test]
fn a_context_is_chosen_by_name() {
    let home = Home::new();
    home.write("home/config.toml", "current_context = 'one'\n[contexts.one]\nservers = ['a']\n[contexts.two]\nservers = ['b:9']\n");
    assert!(home.run("doctor").stdout.contains("servers a:443"));
    assert!(home.run("doctor -C two").stdout.contains("servers b:9"));
    let ended = home.run("status -C three").exits(2);
    assert!(ended.stderr.contains("one, two"), "{}", ended.stderr);
}

#[test]
fn a_typo_in_the_configuration_is_named_with_its_place() {
    let home = Home::new();
    home.write("home/config.toml", "defualt_server = 'x'\n");
    let ended = home.run("identity list").exits(2);
    assert!(
        ended.stderr.contains("defualt_server") && ended.stderr.contains("config.toml"),
        "{}",
        ended.stderr
    );
}

#[test]
fn half_a_client_certificate_is_refused() {
    let home = Home::new();
    home.write_certificate();
    let ended = home
        .run("status -s localhost:1 --cert x --ca ca.crt")
        .exits(2);
    assert!(ended.stderr.contains("--key"), "{}", ended.stderr);
}

#[test]
fn a_world_readable_key_is_refused_by_name() {
    let home = Home::new();
    home.write_certificate();
    std::fs::set_permissions(home.path("me.key"), std::fs::Permissions::from_mode(0o644))
        .expect("set");
    let ended = home
        .run("status -s localhost:1 --ca ca.crt --cert ca.crt --key me.key")
        .exits(5);
    assert!(
        ended.stderr.contains("me.key") && ended.stderr.contains("chmod 600"),
        "{}",
        ended.stderr
    );
}

#[test]
fn nobody_listening_is_unavailable_within_the_timeout() {
    let home = Home::new();
    home.write_certificate();
    let begun = Instant::now();
    let ended = home
        .run("feed status -s localhost:1 --ca ca.crt --timeout 1s -o json")
        .exits(8);
    assert_eq!(ended.error()["retryable"], true);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn revoking_without_a_terminal_needs_a_confirmation_beforehand() {
    let home = Home::new();
    home.write_certificate();
    let reach = "-s localhost:1 --timeout 1s --ca ca.crt --cert ca.crt --key me.key";
    let ended = home
        .run(&format!("revoke urn:hessra:alice:agent {reach}"))
        .exits(2);
    assert!(ended.stderr.contains("--confirm agent"), "{}", ended.stderr);
    let ended = home
        .run(&format!(
            "revoke urn:hessra:alice:agent --confirm alice {reach}"
        ))
        .exits(2);
    assert!(ended.stderr.contains("`alice`"), "{}", ended.stderr);
    // Confirmed: now only the cluster is missing, and the request id is told for a retry.
    let ended = home
        .run(&format!(
            "revoke urn:hessra:alice:agent --yes -o json {reach}"
        ))
        .exits(8);
    assert_eq!(ended.error()["request_id"].as_str().map(str::len), Some(32));
}

#[test]
fn what_is_to_be_revoked_is_refused_rather_than_repaired() {
    let home = Home::new();
    for target in [
        "urn:hessra::alice",
        "urn:hessra:alice:",
        "--token-id xyz",
        "--token-id",
        "--certificate nothing.crt",
    ] {
        let ended = home.run(&format!("revoke {target} --yes -s localhost:1"));
        assert!([2, 6].contains(&ended.code), "{target}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains("localhost"),
            "refused before anybody is asked: {}",
            ended.stderr
        );
    }
}

#[test]
fn an_end_that_has_passed_is_refused() {
    let ended = Home::new()
        .run("revoke urn:a:b:c --yes --until 2001-01-01T00:00:00Z -s localhost:1")
        .exits(2);
    assert!(
        ended.stderr.contains("not in the future"),
        "{}",
        ended.stderr
    );
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    home.write_certificate();
    let ended = home
        .run("doctor -s localhost:1 --ca ca.crt --timeout 1s --json")
        .exits(8);
    let value = ended.json();
    let checks = value["checks"].as_array().expect("checks");
    let node = checks
        .iter()
        .find(|check| check["name"] == "node")
        .expect("the node is checked");
    assert_eq!(node["result"], "fail");
    assert!(node["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    assert_eq!(value["healthy"], false);
}

#[test]
fn text_that_is_piped_has_no_colour_and_no_color_wins_over_a_terminal_only() {
    let home = Home::new();
    assert!(!home.run("doctor").stdout.contains('\x1b'));
    assert!(home.run("doctor --color always").stdout.contains('\x1b'));
    assert!(!home.run("doctor --color never").stdout.contains('\x1b'));
}

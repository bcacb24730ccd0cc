//! Settings that are refused, and the words in which they are.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// The least that a node needs to be told.
const LEAST: &str = r#"
[cluster]
name = "prod"
node_id = 1

[storage]
path = "data"

[public_tls]
certificate = "server.crt"
key = "server.key"
client_ca = "ca.crt"

[peer_tls]
certificate = "peer.crt"
key = "peer.key"
ca = "cluster-ca.crt"

[keys]
kek = "file:kek"
"#;

fn refusal(text: &str) -> String {
    Config::parse("node.toml", text).unwrap_err().to_string()
}

fn with(more: &str) -> String {
    format!("{LEAST}\n{more}")
}

#[test]
fn the_least_that_a_node_needs_is_enough() {
    let config = Config::parse("node.toml", LEAST).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.feed.fresh_for, Lasting::seconds(5));
}

#[test]
fn every_refusal_names_the_place_the_setting_and_what_to_do() {
    let cases = [
        (
            with("[limits]\nconections_max = 5"),
            "node.toml:23:1: unknown key `conections_max`. Did you mean `connections_max`?",
        ),
        (
            with("[limts]"),
            "node.toml:22:2: unknown key `limts`. Did you mean `limits`?",
        ),
        (
            with("[limits]\nconnections_max = 3"),
            "node.toml:23:19: `limits.connections_max` is 3: from 16 to 1000000",
        ),
        (
            with("[feed]\nfresh_for = \"5\""),
            "node.toml:23:13: `5` is not a length of time. Write `250ms`, `5s` or `1h30m`",
        ),
        (
            with("[feed]\nheartbeat = \"4s\""),
            "node.toml:22:2: `feed.fresh_for` is 5s: at least twice `feed.heartbeat` (4s)",
        ),
        (
            with("[raft]\nelection_max = \"100ms\""),
            "node.toml:23:16: `raft.election_max` is 100ms: from 451ms to 1m",
        ),
        (
            with("[listen]\noperations = \"0.0.0.0:9000\""),
            "node.toml:23:14: `listen.operations` is `0.0.0.0:9000`: only a loopback address, it has no TLS",
        ),
        (
            LEAST.replace("node_id = 1", "node_id = 0"),
            "node.toml:4:11: `cluster.node_id` is missing: choose a number from 1 that no node of the cluster ever had",
        ),
        (
            LEAST.replace("kek = \"file:kek\"", ""),
            "node.toml:19:2: `keys.kek` is missing: name a key-encryption key, such as `file:kek`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text), expected);
    }
}

#[test]
fn the_list_of_members_is_checked_as_a_whole() {
    let members = |list: &str| {
        let text = LEAST.replace(
            "node_id = 1",
            &format!("node_id = 1\ninitial_members = {list}"),
        );
        refusal(&format!("{text}\n[policy]\nclients = \"clients.toml\""))
    };
    let member = |id: u64| {
        format!(
            "{{ id = {id}, peer = \"h:{id}\", public = \"h:{}\" }}",
            id + 100
        )
    };
    let cases = [
        (
            format!("[{}, {}]", member(1), member(1)),
            "`cluster.initial_members.1.id` is 1: ids are from 1 and each is used once",
        ),
        (
            format!("[{}]", member(2)),
            "`cluster.initial_members` does not name this node (1). Add it, or leave the list empty",
        ),
        (
            "[{ id = 1, peer = \"h:1\", public = \"h:1\" }]".to_owned(),
            "`cluster.initial_members.0.public` `h:1` is the address of two doors: each has its own",
        ),
        (
            "[{ id = 1, peer = \"h\", public = \"h:1\" }]".to_owned(),
            "`cluster.initial_members.0.peer` is `h`: write `host:port`",
        ),
    ];
    for (list, expected) in cases {
        assert!(members(&list).ends_with(expected), "{}", members(&list));
    }
    let unguided = LEAST.replace(
        "node_id = 1",
        &format!("node_id = 1\ninitial_members = [{}]", member(1)),
    );
    assert!(
        refusal(&unguided).contains("`policy.clients` is missing"),
        "{}",
        refusal(&unguided)
    );
}

#[test]
fn a_secret_that_every_user_can_read_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    for name in ["server.crt", "ca.crt", "peer.crt", "cluster-ca.crt"] {
        file(name, 0o644);
    }
    for name in ["server.key", "peer.key"] {
        file(name, 0o600);
    }
    let kek = file("kek", 0o644);
    let settings = file("node.toml", 0o644);
    std::fs::write(&settings, LEAST).unwrap();
    let config = Config::load(&settings).unwrap();
    let refused = config.check_files().unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "`{0}`, named by `keys.kek`, can be read by every user (mode 0644). Run: chmod 600 {0}",
            kek.display()
        )
    );
    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o600)).unwrap();
    config.check_files().unwrap();
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("node.toml");
    let text = LEAST.replace("node_id", "join_secret = \"join-secret\"\nnode_id");
    std::fs::write(&settings, text).unwrap();
    let config = Config::load(&settings).unwrap();
    assert_eq!(config.storage.path, directory.path().join("data"));
    assert_eq!(
        config.cluster.join_secret,
        directory.path().join("join-secret")
    );
    assert_eq!(
        config.public_tls.server_ca,
        PathBuf::new(),
        "what is not set stays not set"
    );
}

#[test]
fn every_mistake_of_a_file_is_said_at_once() {
    let text = "\
[cluster]
name = \"prod\"
node_idd = 1

[listen]
public = \"nowhere\"
operations = \"0.0.0.0:9000\"

[limits]
connections_max = 3
streams_max = -1
idle_timeout = 75

[raft]
heartbeat = \"1h\"
election_min = \"1ms\"

[feed]
heartbeat = \"9s\"

[log]
format = \"xml\"
";
    let said = refusal(text);
    let expected = "\
node.toml:1:1: `keys.kek` is missing: name a key-encryption key, such as `file:kek`
node.toml:1:1: `storage.path` is missing: name a path
node.toml:1:1: `public_tls.certificate` is missing: name a path
node.toml:1:1: `public_tls.key` is missing: name a path
node.toml:1:1: `public_tls.client_ca` is missing: name a path
node.toml:1:1: `peer_tls.certificate` is missing: name a path
node.toml:1:1: `peer_tls.key` is missing: name a path
node.toml:1:1: `peer_tls.ca` is missing: name a path
node.toml:1:2: `cluster.node_id` is missing: choose a number from 1 that no node of the cluster ever had
node.toml:3:1: unknown key `node_idd`. Did you mean `node_id`?
node.toml:6:10: invalid socket address syntax
node.toml:7:14: `listen.operations` is `0.0.0.0:9000`: only a loopback address, it has no TLS
node.toml:10:19: `limits.connections_max` is 3: from 16 to 1000000
node.toml:11:15: expected a whole number from 0 to 4294967295
node.toml:12:16: expected a text in quotes, found integer
node.toml:15:13: `raft.heartbeat` is 1h: from 20ms to 5s
node.toml:18:2: `feed.fresh_for` is 5s: at least twice `feed.heartbeat` (9s)
node.toml:22:10: `xml` is not known here. Known: auto, text, json";
    assert_eq!(said, expected);
}

#[test]
fn a_broken_text_is_refused_for_its_syntax_alone() {
    let said = refusal("[cluster]\nname = \nnode_idd = 1\n");
    assert!(
        said.starts_with("node.toml:2:") && !said.contains("missing"),
        "{said}"
    );
}

#[test]
fn a_rule_between_two_settings_waits_until_both_are_right() {
    let said = refusal(&with(
        "[audit]\nsegment_size = \"1B\"\nkeep_size = \"1KiB\"",
    ));
    assert_eq!(
        said,
        "node.toml:23:16: `audit.segment_size` is 1B: from 64KiB to 1GiB"
    );
    let members = "[cluster]\nname = \"a\"\nnode_id = 1\ninitial_members = [{ id = 2 }, { id = 3, peer = \"h:1\" }]";
    let said = refusal(&LEAST.replace("[cluster]\nname = \"prod\"\nnode_id = 1", members));
    assert_eq!(
        said,
        "node.toml:5:20: missing key `peer`\nnode.toml:5:20: missing key `public`\nnode.toml:5:32: missing key `public`"
    );
}

#[test]
fn every_default_is_in_its_range() {
    Config::default().each_outside(&mut |path, sentence| panic!("`{path}` {sentence}"));
}

#[test]
fn a_repository_that_is_not_followed_has_no_ranges() {
    let git = "[policy.git]\ninterval = \"0s\"";
    Config::parse("node.toml", &with(git)).unwrap();
    assert_eq!(
        refusal(&with(&format!(
            "{git}\nurl = \"https://example.org/policy\"\nallowed_signers = \"a\""
        ))),
        "node.toml:23:12: `policy.git.interval` is 0s: from 1s to 24h"
    );
}

#[test]
fn an_address_whose_host_or_account_could_be_an_option_is_refused() {
    let followed = |url: &str| {
        let git = format!(
            "[policy.git]\nurl = \"{url}\"\nallowed_signers = \"a\"\nssh_key = \"a\"\nssh_known_hosts = \"a\""
        );
        Config::parse("node.toml", &with(&git)).map(|_| ())
    };
    for url in [
        "ssh://git@git.example.org/policy",
        "ssh://git@git.example.org:22/policy",
        "ssh://[2001:db8::1]:22/policy",
        "https://git.example.org/policy",
        "/srv/policy.git",
    ] {
        assert!(followed(url).is_ok(), "{url}: {:?}", followed(url));
    }
    for url in [
        "ssh://-oProxyCommand=id/policy",
        "ssh://git@-oProxyCommand=id/policy",
        "ssh://git@-h/policy",
        "ssh://%2DoProxyCommand=id/policy",
        "ssh://git@%2Dh/policy",
        "ssh://-l@host/policy",
        "ssh://a@b@-h/policy",
        "ssh://host:-1/policy",
        "ssh://[-h]/policy",
        "ssh://host:0/policy",
        "ssh:///policy",
        "https://-h/policy",
        "https://a@host/policy",
        "ssh://a:b@host/policy",
        "ext::sh/policy",
        "-h:policy",
    ] {
        assert!(followed(url).is_err(), "{url}");
    }
}

#[test]
fn commits_are_signed_or_a_setting_says_that_they_need_not_be() {
    let git = "[policy.git]\nurl = \"/srv/policy.git\"";
    let said = refusal(&with(git));
    assert!(
        said.contains("`policy.git.allowed_signers` is missing"),
        "{said}"
    );
    let unsigned = format!("{git}\naccept_unsigned = true");
    Config::parse("node.toml", &with(&unsigned)).unwrap();
    let said = refusal(&with(&format!("{unsigned}\nallowed_signers = \"a\"")));
    assert!(
        said.contains("`policy.git.accept_unsigned` contradicts"),
        "{said}"
    );
}

#[test]
fn values_beyond_all_bounds_are_refused_and_nothing_overflows() {
    let said = refusal(&with(
        "[raft]\nheartbeat = \"30500568904943w\"\nelection_min = \"30500568904943w3d7h\"\n[audit]\nsegment_size = \"17179869183GiB\"\n\
         [feed]\nheartbeat = \"30500568904943w\"",
    ));
    for setting in ["raft.heartbeat", "audit.segment_size", "feed.heartbeat"] {
        assert!(said.contains(&format!("`{setting}` is ")), "{said}");
    }
}

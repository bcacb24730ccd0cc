//! Tokens and settings of people's own: refresh, mint, look, ask why, clear away, remember a server.

use hessra_tests::Cluster;

#[test]
fn a_token_is_refreshed_minted_inspected_explained_and_cleared_away() {
    let cluster = Cluster::start("own_tokens");
    let alice = cluster.person("alice");
    alice
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    let refresh = ["identity", "refresh", "--token-name", "alice", "-o", "json"];
    let refreshed = alice.run(refresh).done().json();
    assert_eq!(refreshed["identity"], "urn:hessra:alice");
    let agent = "urn:hessra:alice:agent";
    let delegate = ["identity", "delegate", "--from-token", "alice"];
    let below = ["--identity", agent, "--save-as", "agent"];
    alice.run(delegate.into_iter().chain(below)).done();
    alice
        .run(["identity", "refresh", "--token-name", "agent"])
        .exits(4);

    let inspected = alice.run(["token", "inspect", "agent"]).done();
    assert!(inspected.stdout().contains(agent), "{}", inspected.stdout());
    let explain = ["token", "explain", "agent", "--identity", agent];
    alice.run(explain).done();
    let operator = cluster.operator();
    operator.run(["revoke", "--subtree", agent, "--yes"]).done();
    let why = alice.run(explain).exits(3);
    let said = format!("{}{}", why.stdout(), why.stderr());
    assert!(said.contains("revoked"), "{said}");

    let mint = ["identity", "mint", "--subject"];
    let member = "urn:hessra:mycompany:user1";
    let ttl = ["--ttl", "120", "-o", "json"];
    let realm = cluster.person("mycompany");
    let minted = realm
        .run(mint.into_iter().chain([member]).chain(ttl))
        .done()
        .json();
    assert_eq!(
        (&minted["identity"], &minted["expires_in"]),
        (&member.into(), &120.into())
    );
    alice
        .run(mint.into_iter().chain([member]).chain(ttl))
        .exits(5);

    alice.run(["identity", "prune", "--dry-run"]).done();
    alice.run(["identity", "delete", "agent"]).done();
    alice.run(["token", "inspect", "agent"]).exits(6);
}

#[test]
fn a_server_is_remembered_shown_refreshed_and_forgotten() {
    let cluster = Cluster::start("own_servers");
    let alice = cluster.person("alice");
    let server = cluster.node(1).public.clone();
    alice.run(["init", &server]).done();
    let listed = alice.run(["config", "list"]).done();
    assert!(listed.stdout().contains(&server), "{}", listed.stdout());
    alice.run(["config", "show", &server]).done();
    alice.run(["config", "refresh", &server]).done();
    alice
        .run(["config", "set", "contexts.other.servers", &server])
        .done();
    let value = alice.run(["config", "get", "contexts.other.servers"]);
    assert!(value.done().stdout().contains(&server));
    alice.run(["config", "switch", "other"]).done();
    alice.run(["config", "switch", "nowhere"]).exits(6);
    alice.run(["config", "remove", &server, "--yes"]).done();
    alice.run(["config", "show", &server]).exits(6);
    alice.run(["config", "path"]).done();
}

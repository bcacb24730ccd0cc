//! The story of the README: authenticate, delegate, revoke a subtree, lose the leader, lose everything, lose nothing.

use hessra_tests::{Cli, Cluster};

/// Alice's identity and three delegations of it, stored by name.
pub(crate) fn delegate(alice: &Cli) {
    alice
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    for (name, identity, from) in [
        ("agent", "urn:hessra:alice:agent", "alice"),
        ("agent2", "urn:hessra:alice:agent2", "alice"),
        ("worker", "urn:hessra:alice:agent:worker", "agent"),
    ] {
        alice
            .run([
                "identity",
                "delegate",
                "--from-token",
                from,
                "--identity",
                identity,
                "--save-as",
                name,
            ])
            .done();
    }
}

/// The verdict about a stored token, as an exit code.
pub(crate) fn verdict(alice: &Cli, name: &str, identity: &str) -> i32 {
    let finished = alice.run([
        "identity",
        "verify",
        "--token-name",
        name,
        "--identity",
        identity,
    ]);
    if finished.code() != 0 && finished.code() != 3 {
        panic!(
            "no verdict about {name} (exit {}): {}",
            finished.code(),
            finished.stderr()
        );
    }
    finished.code()
}

fn verdicts(alice: &Cli) -> [i32; 3] {
    [
        verdict(alice, "agent", "urn:hessra:alice:agent"),
        verdict(alice, "worker", "urn:hessra:alice:agent:worker"),
        verdict(alice, "agent2", "urn:hessra:alice:agent2"),
    ]
}

#[test]
fn a_revoked_subtree_is_denied_through_leader_loss_and_full_restart() {
    let mut cluster = Cluster::start("walk");
    let (alice, operator) = (cluster.person("alice"), cluster.operator());
    delegate(&alice);
    assert_eq!(verdicts(&alice), [0, 0, 0], "nothing is revoked yet");

    let revoked = operator
        .run([
            "revoke",
            "--subtree",
            "urn:hessra:alice:agent",
            "--yes",
            "-o",
            "json",
        ])
        .done()
        .json();
    assert_eq!(revoked["scope"], "subtree");
    assert_eq!(revoked["target"], "urn:hessra:alice:agent");
    assert_eq!(
        verdicts(&alice),
        [3, 3, 0],
        "the subtree is denied by whole segments: agent2 is not below agent"
    );

    cluster.kill(cluster.leader());
    let began = std::time::Instant::now();
    operator
        .run([
            "revoke",
            "--subtree",
            "urn:hessra:alice:agent2",
            "--yes",
            "-o",
            "json",
        ])
        .done();
    println!(
        "second revoke {} ms after the leader was killed",
        began.elapsed().as_millis()
    );
    assert_eq!(verdicts(&alice), [3, 3, 3]);

    cluster.stop_all();
    cluster.start_all();
    assert_eq!(
        verdicts(&alice),
        [3, 3, 3],
        "nothing is lost by a restart of all"
    );

    alice
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    let fresh = [
        "identity",
        "delegate",
        "--from-token",
        "alice",
        "--identity",
        "urn:hessra:alice:agent",
        "--save-as",
        "new",
    ];
    alice.run(fresh).done();
    assert_eq!(
        verdict(&alice, "new", "urn:hessra:alice:agent"),
        0,
        "a cut-off covers what was issued before it"
    );
}

#[test]
fn an_authorization_token_is_bound_to_subject_resource_and_operation() {
    let cluster = Cluster::start("authorize");
    let alice = cluster.person("alice");
    alice
        .run(["identity", "authenticate", "--save-as", "default"])
        .done();
    let token = alice
        .run([
            "authorize",
            "request",
            "-r",
            "api",
            "-o",
            "read",
            "--token-only",
        ])
        .done()
        .stdout();
    let verify = |subject: &str, resource: &str, operation: &str| {
        alice
            .run([
                "authorize",
                "verify",
                "--token",
                &token,
                "-s",
                subject,
                "-r",
                resource,
                "-o",
                operation,
            ])
            .code()
    };
    assert_eq!(verify("urn:hessra:alice", "api", "read"), 0);
    assert_eq!(verify("urn:hessra:gateway", "api", "read"), 3);
    assert_eq!(verify("urn:hessra:alice", "database", "read"), 3);
    assert_eq!(verify("urn:hessra:alice", "api", "write"), 3);
    alice
        .run(["authorize", "request", "-r", "vault", "-o", "read"])
        .exits(5);
}

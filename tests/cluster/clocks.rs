//! Clocks: one machine whose clock is days off changes nothing for the others, and says so.

use std::path::Path;
use std::time::Duration;

use hessra_tests::{Cluster, until};

/// Library that gives a process another wall clock (package `faketime` of Debian).
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const PATIENCE: Duration = Duration::from_secs(60);

/// False where a process cannot be given another wall clock.
fn can_fake_time() -> bool {
    let can = Path::new(FAKETIME).exists();
    if !can {
        assert!(
            std::env::var_os("HESSRA_REQUIRE_FAKETIME").is_none(),
            "{FAKETIME} is not here: install the package faketime"
        );
        println!("skipped: {FAKETIME} is not here");
    }
    can
}

/// Starts nodes again, with another wall clock.
fn restart(cluster: &mut Cluster, nodes: &[u64], offset: &str) {
    for node in nodes {
        cluster.kill(*node);
        for (name, value) in [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ] {
            cluster.set_environment_of(*node, name, value);
        }
    }
    for node in nodes {
        cluster.spawn(*node);
    }
    for node in nodes {
        cluster.wait_live(*node);
    }
}

/// A cluster whose node 3 runs with another wall clock; `None` where that cannot be made.
fn cluster(name: &'static str, offset: &str) -> Option<Cluster> {
    if !can_fake_time() {
        return None;
    }
    let mut cluster = Cluster::start(name);
    restart(&mut cluster, &[3], offset);
    Some(cluster)
}

fn says_off(cluster: &Cluster) {
    until("node 3 says that its clock is off", PATIENCE, || {
        cluster
            .not_ready(3)
            .filter(|reason| reason.contains("clock_off"))
    });
}

fn off_by_days(name: &'static str, offset: &str, side: &str) {
    let Some(cluster) = cluster(name, offset) else {
        return;
    };
    says_off(&cluster);
    let operator = cluster.operator();

    let status = operator.run(["status"]);
    assert_ne!(status.code(), 0, "a wrong clock is no health");
    let shown = status.stdout();
    assert!(
        shown.contains("clock_off") && shown.contains(side),
        "{shown}"
    );
    let doctor = operator.run(["doctor"]);
    assert!(doctor.stdout().contains("node 3"), "{}", doctor.stdout());

    // It issues nothing, and writes nothing.
    let alice = cluster.person("alice");
    let third = &cluster.node(3).public;
    let at_three = alice.with("HESSRA_SERVER", third);
    let refused = at_three.run(["identity", "authenticate", "--timeout", "5s"]);
    assert_ne!(refused.code(), 0, "{}", refused.stdout());
    let through_three = operator.clone().with("HESSRA_SERVER", third);
    let arguments = [
        "revoke",
        "urn:hessra:test:y",
        "--yes",
        "--wait",
        "commit",
        "--timeout",
        "5s",
    ];
    let refused = through_three.run(arguments);
    assert_ne!(refused.code(), 0, "{}", refused.stdout());

    // The others go on, with times that are right.
    let first = operator.with("HESSRA_SERVER", &cluster.node(1).public);
    let lock = [
        "revoke",
        "urn:hessra:test:x",
        "--until",
        "2h",
        "--yes",
        "--wait",
        "commit",
    ];
    first.run(lock).done();
    let listed = first
        .run(["revocations", "list", "-o", "json"])
        .done()
        .stdout();
    assert!(listed.contains("urn:hessra:test:x"), "{listed}");
    until("a right clock leads", PATIENCE, || {
        (cluster.leader() != 3).then_some(())
    });
}

#[test]
fn a_clock_that_is_days_ahead_stamps_nothing_and_issues_nothing() {
    off_by_days("ahead", "+40d", "+");
}

#[test]
fn a_clock_that_is_days_behind_stamps_nothing_and_issues_nothing() {
    off_by_days("behind", "-40d", "-");
}

#[test]
fn a_jump_of_all_clocks_removes_nothing_and_is_taken_back_by_an_operator() {
    if !can_fake_time() {
        return;
    }
    let mut cluster = Cluster::start("jump");
    let operator = cluster.operator();
    let lock = |name: &str| {
        let subject = format!("urn:hessra:test:{name}");
        let arguments = [
            "revoke", &subject, "--until", "2h", "--yes", "--wait", "commit",
        ];
        operator.run(arguments)
    };
    lock("before").done();
    restart(&mut cluster, &[1, 2, 3], "+40d");
    // Each start is an entry, and has the time of its leader.
    for node in 1..=3 {
        cluster.wait_ready(node);
    }
    restart(&mut cluster, &[1, 2, 3], "+0d");
    until("the jump is shown", PATIENCE, || {
        let status = operator.run(["status"]);
        (status.code() != 0 && status.stdout().contains("time_ahead")).then_some(())
    });
    let doctor = operator.run(["doctor"]).stdout();
    assert!(doctor.contains("hessra cluster set-clock-back"), "{doctor}");
    assert_ne!(
        lock("meanwhile").code(),
        0,
        "two hours are over by the wrong time"
    );

    let set_back = [
        "cluster",
        "set-clock-back",
        "--ticket",
        "INC-7",
        "-o",
        "json",
    ];
    let back = operator.run(set_back).done().json();
    let days = back["by_ms"].as_u64().expect("a number") / 86_400_000;
    assert!((39..=40).contains(&days), "{back}");
    lock("after").done();
    let listed = operator.run(["revocations", "list", "-o", "json"]).done();
    for name in ["before", "after"] {
        assert!(
            listed.stdout().contains(&format!("urn:hessra:test:{name}")),
            "{}",
            listed.stdout()
        );
    }
    operator.run(["status"]).done();
    let found = operator
        .run(["audit", "search", "event=clock.set_back", "-o", "json"])
        .done();
    assert!(found.stdout().contains("INC-7"), "{}", found.stdout());
    operator.run(set_back).exits(7);
}

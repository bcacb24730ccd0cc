//! Clocks: one machine whose clock is days off changes nothing for the others, and says so.

use std::path::Path;
use std::time::Duration;

use hessra_tests::{Cluster, until};

/// Library that gives a process another wall clock (package `faketime` of Debian).
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster whose node 3 runs with another wall clock; `None` where that cannot be made.
fn cluster(name: &'static str, offset: &str) -> Option<Cluster> {
    if !Path::new(FAKETIME).exists() {
        assert!(
            std::env::var_os("HESSRA_REQUIRE_FAKETIME").is_none(),
            "{FAKETIME} is not here: install the package faketime"
        );
        println!("skipped: {FAKETIME} is not here");
        return None;
    }
    let mut cluster = Cluster::start(name);
    cluster.kill(3);
    for (name, value) in [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        cluster.set_environment_of(3, name, value);
    }
    cluster.spawn(3);
    cluster.wait_live(3);
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

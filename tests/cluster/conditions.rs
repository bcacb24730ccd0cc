//! Conditions: what is wrong with a node that goes on is in `/readyz`, `status`, `doctor` and the metrics alike.

use std::time::Duration;

use hessra_tests::{Cluster, until};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a node's condition is shown in all places.
fn is_shown(cluster: &Cluster, id: u64, code: &str) {
    let operator = cluster.operator();
    until(&format!("`{code}` of node {id} is shown"), PATIENCE, || {
        operator
            .run(["status"])
            .stdout()
            .contains(&format!("node {id}: {code}"))
            .then_some(())
    });
    let status = operator.run(["status"]);
    assert_eq!(status.code(), 9, "{}", status.stdout());
    let doctor = operator.run(["doctor"]);
    assert!(doctor.stdout().contains(code), "{}", doctor.stdout());
    assert!(
        cluster.ready_answer(id).contains(code),
        "{}",
        cluster.ready_answer(id)
    );
    until("the metric shows it", PATIENCE, || {
        let label = format!("code=\"{code}\"");
        (cluster.metric_with(id, "hessra_condition", &[&label]) > 0.0).then_some(())
    });
}

fn is_healthy_again(cluster: &Cluster) {
    until("the cluster is healthy", PATIENCE, || {
        (cluster.operator().run(["status"]).code() == 0).then_some(())
    });
}

#[test]
fn certificate_files_that_are_not_taken_are_a_condition_until_they_are_right() {
    let cluster = Cluster::start("condition_certificate");
    let path = cluster.node(2).config.with_file_name("server.crt");
    let good = std::fs::read(&path).expect("read");
    std::fs::write(&path, "no certificate\n").expect("written");
    cluster.signal(2, Signal::HUP);
    is_shown(&cluster, 2, "certificate_not_read");
    std::fs::write(&path, good).expect("written");
    cluster.signal(2, Signal::HUP);
    is_healthy_again(&cluster);
}

#[test]
fn an_audit_whose_files_are_gone_is_a_condition() {
    let cluster = Cluster::start("condition_audit");
    std::fs::remove_dir_all(cluster.node(2).data.join("audit/changes")).expect("removed");
    is_shown(&cluster, 2, "audit_gone");
}

#[test]
fn a_member_that_lost_its_data_is_a_condition_of_the_others() {
    let mut cluster = Cluster::start("condition_wiped");
    let wiped = cluster.follower();
    cluster.kill(wiped);
    std::fs::remove_dir_all(&cluster.node(wiped).data).expect("removed");
    cluster.spawn(wiped);
    cluster.wait_ended(wiped);
    let operator = cluster.operator();
    until("the others say so", PATIENCE, || {
        let status = operator.run(["status"]);
        status.stdout().contains("unreachable").then_some(())
    });
}

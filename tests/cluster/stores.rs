//! Stores: a member that comes back with less than it promised is not counted, says so, and ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hessra_tests::{Cli, Cluster, Layout, binary, until};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

fn replace(directory: &Path, by: &Path) {
    std::fs::remove_dir_all(directory).expect("removed");
    copy(by, directory);
}

fn revoke(operator: &Cli, target: &str) {
    operator
        .run(["revoke", target, "--yes", "--wait", "commit"])
        .done();
}

fn listed(operator: &Cli) -> String {
    operator.run(["revocations", "list"]).done().stdout()
}

/// Leader, and two followers.
fn roles(cluster: &Cluster) -> (u64, u64, u64) {
    let leader = cluster.leader();
    let mut others = cluster.running().into_iter().filter(|id| *id != leader);
    let (one, two) = (others.next(), others.next());
    (leader, one.expect("a follower"), two.expect("another one"))
}

/// Asserts that a node ends by itself, because its store is not the one that the members know.
fn is_disowned(cluster: &mut Cluster, id: u64) -> String {
    let (code, log) = cluster.wait_ended(id);
    assert_ne!(code, 0, "{log}");
    assert!(
        log.contains("must not take part any more") && log.contains("under a new id"),
        "node {id} says:\n{log}"
    );
    log
}

#[test]
fn a_member_that_lost_its_data_elects_nobody_and_the_revocation_stands() {
    let mut cluster = Cluster::start("wiped");
    let (leader, away, wiped) = roles(&cluster);
    let operator = cluster.operator();
    cluster.kill(away);
    revoke(&operator, "urn:hessra:test:x");
    cluster.kill(leader);
    cluster.kill(wiped);
    std::fs::remove_dir_all(&cluster.node(wiped).data).expect("removed");

    cluster.spawn(away);
    cluster.spawn(wiped);
    let log = is_disowned(&mut cluster, wiped);
    assert!(log.contains("is lost"), "{log}");
    let alone = operator.run(["revocations", "list", "--timeout", "2s"]);
    assert_ne!(alone.code(), 0, "{}", alone.stdout());

    cluster.start_node(leader);
    cluster.wait_ready(away);
    assert!(listed(&operator).contains("urn:hessra:test:x"));
    cluster.spawn(wiped);
    is_disowned(&mut cluster, wiped);
}

#[test]
fn the_founder_with_the_lowest_id_begins_no_second_cluster_when_its_data_is_gone() {
    let mut cluster = Cluster::start("first_wiped");
    revoke(&cluster.operator(), "urn:hessra:test:x");
    cluster.kill_all();
    std::fs::remove_dir_all(&cluster.node(1).data).expect("removed");
    cluster.spawn(1);
    cluster.wait_live(1);
    assert!(cluster.not_ready(1).is_some(), "alone it begins nothing");
    cluster.start_nodes([2, 3]);
    is_disowned(&mut cluster, 1);
    assert!(listed(&cluster.operator()).contains("urn:hessra:test:x"));
}

#[test]
fn a_founder_that_lost_its_data_and_was_removed_meanwhile_learns_it() {
    // The one that founds, and one that does not.
    for (name, id) in [("first_removed", 1), ("last_removed", 3)] {
        let mut cluster = Cluster::start(name);
        cluster.kill(id);
        let arguments = ["cluster", "remove", &id.to_string(), "--yes"];
        until("it is removed", PATIENCE, || {
            (cluster.operator().run(arguments).code() == 0).then_some(())
        });
        std::fs::remove_dir_all(&cluster.node(id).data).expect("removed");
        cluster.spawn(id);
        let (code, log) = cluster.wait_ended(id);
        assert_ne!(code, 0, "{log}");
        assert!(log.contains("removed"), "node {id} says:\n{log}");
    }
}

#[test]
fn a_member_that_was_added_later_is_not_counted_when_its_data_is_gone() {
    let mut cluster = Layout::new("late_wiped").joining(1).prepare();
    cluster.start_nodes(1..=3);
    let operator = cluster.operator();
    cluster.spawn(4);
    let (peer, public) = (cluster.node(4).peer.clone(), cluster.node(4).public.clone());
    operator
        .run(["cluster", "add", "4", "--peer", &peer, "--public", &public])
        .done();
    operator.run(["cluster", "promote", "4"]).done();
    cluster.wait_ready(4);
    cluster.kill(4);
    std::fs::remove_dir_all(&cluster.node(4).data).expect("removed");
    cluster.spawn(4);
    is_disowned(&mut cluster, 4);
}

#[test]
fn a_store_that_is_put_back_from_a_copy_is_found() {
    let mut cluster = Cluster::start("set_back");
    let (_, _, node) = roles(&cluster);
    let copied = cluster.directory().join("copy");
    cluster.stop(node);
    copy(&cluster.node(node).data, &copied);
    cluster.start_node(node);
    revoke(&cluster.operator(), "urn:hessra:test:x");
    cluster.kill(node);
    replace(&cluster.node(node).data, &copied);
    cluster.spawn(node);
    is_disowned(&mut cluster, node);
}

#[test]
fn a_store_that_is_put_back_is_found_also_when_it_was_started_more_often_since() {
    let mut cluster = Cluster::start("started_often");
    let (asked, other, node) = roles(&cluster);
    let copied = cluster.directory().join("copy");
    cluster.stop(node);
    copy(&cluster.node(node).data, &copied);
    cluster.start_node(node);
    until("it is recorded in a line of its own", PATIENCE, || {
        let status = cluster.status()?;
        let nodes = status["nodes"].as_array()?;
        let node = nodes.iter().find(|known| known["id"] == node)?;
        (node["line"]["number"].as_u64()? > 1).then_some(())
    });
    revoke(&cluster.operator(), "urn:hessra:test:before");
    // Acknowledged by two: the one that is put back, and one that is down when it comes back.
    cluster.kill(other);
    revoke(&cluster.operator(), "urn:hessra:test:x");
    for id in [asked, node] {
        cluster.kill(id);
    }
    replace(&cluster.node(node).data, &copied);
    for _ in 0..4 {
        cluster.spawn(node);
        cluster.wait_live(node);
        cluster.kill(node);
    }
    cluster.spawn(asked);
    cluster.spawn(node);
    is_disowned(&mut cluster, node);
}

#[test]
fn a_store_that_is_put_back_from_a_copy_of_the_running_process_is_found_by_its_leader() {
    let mut cluster = Cluster::start("running_copy");
    let (_, _, node) = roles(&cluster);
    let copied = cluster.directory().join("copy");
    revoke(&cluster.operator(), "urn:hessra:test:before");
    cluster.signal(node, Signal::STOP);
    copy(&cluster.node(node).data, &copied);
    cluster.signal(node, Signal::CONT);
    cluster.wait_ready(node);
    for number in 0..5 {
        revoke(&cluster.operator(), &format!("urn:hessra:test:x{number}"));
    }
    cluster.kill(node);
    replace(&cluster.node(node).data, &copied);
    cluster.spawn(node);
    let log = is_disowned(&mut cluster, node);
    assert!(log.contains("set back"), "{log}");
}

/// A process that is ended with the test.
struct Twin(Child);

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_processes_on_copies_of_one_store_find_out() {
    let mut cluster = Cluster::start("twins");
    let (_, _, node) = roles(&cluster);
    cluster.stop(node);
    let home = cluster.directory().join("twin");
    copy(&cluster.node(node).data, &home.join("data"));
    cluster.start_node(node);

    let text = std::fs::read_to_string(&cluster.node(node).config).expect("read");
    let mut config: toml::Table = text.parse().expect("TOML");
    for port in ["public", "peer", "operations"] {
        config["listen"][port] = "127.0.0.1:0".into();
    }
    config["storage"]["path"] = home.join("data").display().to_string().into();
    let file = home.join("node.toml");
    std::fs::write(&file, config.to_string()).expect("written");
    let log = std::fs::File::create(home.join("log")).expect("a file");
    let process = Command::new(binary("hessra-node"))
        .args(["run", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn();
    let mut twin = Twin(process.expect("hessra-node can be run"));
    let ended = until("the second process ends", PATIENCE, || {
        twin.0.try_wait().ok().flatten()
    });
    let said = std::fs::read_to_string(home.join("log")).expect("read");
    assert!(
        !ended.success() && said.contains("must not take part any more"),
        "{said}"
    );
    revoke(&cluster.operator(), "urn:hessra:test:x");
    cluster.wait_ready(node);
}

#[test]
fn a_removed_member_learns_it_and_its_address_stops_nobody() {
    let mut cluster = Cluster::start("removed");
    let (leader, removed, _) = roles(&cluster);
    let operator = cluster.operator();
    operator
        .run(["cluster", "remove", &removed.to_string(), "--yes"])
        .done();
    let (code, log) = cluster.wait_ended(removed);
    assert!(
        code != 0 && log.contains("was removed from the cluster"),
        "{code}: {log}"
    );
    cluster.spawn(removed);
    let (_, log) = cluster.wait_ended(removed);
    assert!(log.contains("was removed from the cluster"), "{log}");

    // Its address is still the first that this operator knows.
    let servers = [removed, leader].map(|id| cluster.node(id).public.clone());
    let late = operator.with("HESSRA_SERVER", &servers.join(","));
    revoke(&late, "urn:hessra:test:x");

    let node = cluster.node(removed);
    let (peer, public) = (node.peer.clone(), node.public.clone());
    let id = removed.to_string();
    let again = late.run(["cluster", "add", &id, "--peer", &peer, "--public", &public]);
    let again = again.exits(7);
    assert!(
        again.stderr().contains("no id is used twice"),
        "{}",
        again.stderr()
    );
}

#[test]
fn a_leader_that_is_removed_answers_that_it_is_done() {
    let mut cluster = Cluster::start("leader_removed");
    let leader = cluster.leader();
    let at_leader = cluster
        .operator()
        .with("HESSRA_SERVER", &cluster.node(leader).public);
    at_leader
        .run(["cluster", "remove", &leader.to_string(), "--yes"])
        .done();
    let (_, log) = cluster.wait_ended(leader);
    assert!(log.contains("was removed from the cluster"), "{log}");
    revoke(&cluster.operator(), "urn:hessra:test:x");
}

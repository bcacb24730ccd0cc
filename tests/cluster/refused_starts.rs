//! Refused starts: what a node refuses to start with, and the sentence that names it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};

/// Metric of connections that a node closed before their first request.
const REFUSED: &str = "hessra_connections_refused_total";
/// Time limit that is longer than any wait in a test that passes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a node that must refuse. Returns what it said.
fn refusal(cluster: &mut Cluster, id: u64) -> String {
    cluster.spawn(id);
    let (code, said) = cluster.wait_ended(id);
    assert_ne!(code, 0, "it started: {said}");
    assert!(
        !said.contains("panicked"),
        "a refusal is not a panic: {said}"
    );
    said
}

/// Changes the configuration of one node.
pub(crate) fn edit(cluster: &Cluster, id: u64, change: impl FnOnce(&mut toml::Table)) {
    let path = &cluster.node(id).config;
    let mut table: toml::Table = std::fs::read_to_string(path)
        .expect("read")
        .parse()
        .expect("TOML");
    change(&mut table);
    std::fs::write(path, table.to_string()).expect("written");
}

#[test]
fn a_typo_in_the_configuration_is_named_with_the_nearest_word() {
    let mut cluster = Layout::new("typo").prepare();
    edit(&cluster, 1, |config| {
        let raft = config
            .entry("raft")
            .or_insert_with(|| toml::Table::new().into());
        raft.as_table_mut()
            .expect("a section")
            .insert("heartbeet".to_owned(), "150ms".into());
    });
    let said = refusal(&mut cluster, 1);
    assert!(
        said.contains("heartbeet") && said.contains("heartbeat"),
        "{said}"
    );
}

#[test]
fn a_secret_that_others_can_read_is_named() {
    let mut cluster = Layout::new("readable").prepare();
    let config: toml::Table = std::fs::read_to_string(&cluster.node(1).config)
        .expect("read")
        .parse()
        .expect("TOML");
    let key = config["keys"]["kek"]
        .as_str()
        .and_then(|source| source.strip_prefix("file:"))
        .expect("a path")
        .to_owned();
    let path = cluster
        .node(1)
        .config
        .parent()
        .expect("a folder")
        .join(&key);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let said = refusal(&mut cluster, 1);
    let name = path.file_name().expect("a name").to_str().expect("UTF-8");
    assert!(said.contains(name) && said.contains("600"), "{said}");
}

#[test]
fn a_node_that_waits_to_be_added_without_a_join_secret_does_not_start() {
    let mut cluster = Layout::new("no_secret").joining(1).prepare();
    edit(&cluster, 4, |config| {
        let cluster = config["cluster"].as_table_mut().expect("a section");
        cluster.remove("join_secret").expect("dev names one");
    });
    let said = refusal(&mut cluster, 4);
    assert!(said.contains("cluster.join_secret"), "{said}");
}

#[test]
fn a_data_directory_in_use_and_one_of_another_node_are_named() {
    let mut cluster = Cluster::start("directories");
    cluster.stop(2);
    let own = cluster.node(2).data.clone();
    let others = cluster.node(1).data.clone();
    edit(&cluster, 2, |config| {
        config["storage"]["path"] = others.display().to_string().into()
    });
    let said = refusal(&mut cluster, 2);
    assert!(said.contains("in use"), "{said}");
    cluster.stop(1);
    let said = refusal(&mut cluster, 2);
    assert!(said.contains("node 1"), "{said}");
    edit(&cluster, 2, |config| {
        config["storage"]["path"] = own.display().to_string().into()
    });
    cluster.start_node(2);
}

#[test]
fn a_node_of_another_cluster_is_not_let_in() {
    let cluster = Cluster::start("first");
    let mut stranger = Layout::new("second").prepare();
    // The first of the strangers begins their cluster, and takes node 2 of another one for its second.
    let (peer, public) = (cluster.node(2).peer.clone(), cluster.node(2).public.clone());
    edit(&stranger, 1, |config| {
        let members = config["cluster"]["initial_members"]
            .as_array_mut()
            .expect("members");
        for member in members
            .iter_mut()
            .filter(|member| member["id"].as_integer() == Some(2))
        {
            member["peer"] = peer.clone().into();
            member["public"] = public.clone().into();
        }
    });
    let refused = || cluster.metric(2, REFUSED);
    let before = refused();
    stranger.spawn(1);
    until("the stranger is refused at the peer port", PATIENCE, || {
        (refused() > before).then_some(())
    });
    let status = cluster.status().expect("the first cluster answers");
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_corrupt_record_stops_the_node_and_is_named() {
    let mut cluster = Cluster::start("corrupt");
    for number in 0..30 {
        let target = format!("urn:hessra:test:n{number}");
        cluster
            .operator()
            .run(["revoke", &target, "--yes", "--wait", "commit", "-q"])
            .done();
    }
    let victim = cluster.follower();
    cluster.kill(victim);
    flip_bits(&cluster.node(victim).data);
    cluster.spawn(victim);
    let (code, said) = cluster.wait_ended(victim);
    assert_ne!(code, 0);
    let said = said.to_lowercase();
    assert!(
        said.contains("corrupt") || said.contains("checksum") || said.contains("damaged"),
        "{said}"
    );
    cluster
        .operator()
        .run([
            "revoke",
            "urn:hessra:test:after",
            "--yes",
            "--wait",
            "commit",
        ])
        .done();
}

/// Flips a bit in every 4 KiB of the largest file, which is the store itself.
fn flip_bits(data: &std::path::Path) {
    let mut files = Vec::new();
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    let store = files
        .into_iter()
        .rfind(|file| file.file_name().is_some_and(|name| name == "db"));
    let store = store.expect("the store's file is called db");
    let mut bytes = std::fs::read(&store).expect("read");
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    for position in (512..used).step_by(1024) {
        bytes[position] ^= 0x10;
    }
    std::fs::write(&store, bytes).expect("written");
}

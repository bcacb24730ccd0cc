//! What is refused, and that nothing is left of it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

/// Node whose settings say who it is, and whose secrets can fail.
struct OfTest {
    disk_is_full: bool,
}

const SOUND: OfTest = OfTest {
    disk_is_full: false,
};

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the disk is full")]
struct DiskIsFull;

impl MachineFiles for OfTest {
    type Error = DiskIsFull;

    fn make_secret(&self, path: &Path) -> Result<(), DiskIsFull> {
        // The key-encryption key is made first: there is something to undo.
        if self.disk_is_full && path.ends_with("join-secret") {
            return Err(DiskIsFull);
        }
        hessra_files::create(path, b"secret\n", hessra_files::Mode::Private).unwrap();
        Ok(())
    }

    fn settings(&self, cluster: &str, node: &Machine, founders: &[Machine]) -> String {
        format!("{cluster} {} of {}\n", node.id, founders.len())
    }

    fn member_urn(&self, cluster: &str, id: u64) -> String {
        format!("urn:hessra:node:{cluster}:{id}")
    }
}

fn machine(text: &str) -> Machine {
    text.parse().unwrap()
}

fn plan() -> Plan {
    let machines = ["1=a.example", "2=10.0.0.2", "3=[fd00::3]"];
    let machines = machines.map(machine).to_vec();
    let operators = vec!["urn:hessra:ops:ann".parse().unwrap()];
    Plan::new("prod", machines, operators).unwrap()
}

fn adding(machines: &[&str], operators: &[&str]) -> Additions {
    Additions {
        machines: machines.iter().map(|text| machine(text)).collect(),
        operators: operators.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// A cluster in a directory of its own.
fn cluster() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("prod");
    new_cluster(&plan(), &directory, &SOUND, NOW).unwrap();
    (root, directory)
}

/// Every path below a directory, its mode, and its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, (mode, Vec::new()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, (mode, bytes));
        }
    }
    found
}

#[test]
fn a_new_cluster_has_what_each_machine_and_operator_needs_and_nobody_else_reads_it() {
    let (_root, directory) = cluster();
    let files = contents(&directory);
    for id in 1..=3 {
        for name in [
            "node.toml",
            "clients.toml",
            "resources.toml",
            "peer.pem",
            "peer.key",
            "public.pem",
            "public.key",
            "cluster-ca.pem",
            "client-ca.pem",
            "kek",
            "join-secret",
        ] {
            let path = directory.join(format!("node-{id}/{name}"));
            assert!(files.contains_key(&path), "{}", path.display());
        }
    }
    for name in [
        "env",
        "operator.pem",
        "operator.key",
        "client-ca.pem",
        "home",
    ] {
        let path = directory.join("operators/ann").join(name);
        assert!(files.contains_key(&path), "{}", path.display());
    }
    for (path, (mode, bytes)) in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_secret = name.ends_with(".key") || ["kek", "join-secret"].contains(&name);
        let holds_a_key = String::from_utf8_lossy(bytes).contains("PRIVATE KEY");
        assert!(is_secret || !holds_a_key, "{}", path.display());
        let expected = match (path.is_dir(), is_secret) {
            (true, _) => 0o700,
            (false, true) => 0o600,
            (false, false) => *mode & 0o755,
        };
        assert_eq!(*mode, expected, "{}: {mode:o}", path.display());
    }
    assert_eq!(
        directory.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    // The same secrets on every member, and keys of its own on each.
    let of = |id: u64, name: &str| {
        files[&directory.join(format!("node-{id}/{name}"))]
            .1
            .clone()
    };
    assert_eq!(of(1, "kek"), of(3, "kek"));
    assert_ne!(of(1, "peer.key"), of(2, "peer.key"));
    assert_ne!(of(1, "peer.key"), of(1, "public.key"));
}

#[test]
fn two_persons_are_demanded_when_there_are_three() {
    let (_root, directory) = cluster();
    let of_one = std::fs::read_to_string(directory.join("node-1/clients.toml")).unwrap();
    assert!(of_one.contains("two_person = false"), "{of_one}");
    let three = ["ann", "ben", "cho"].map(|name| format!("urn:hessra:ops:{name}").parse().unwrap());
    let plan = Plan::new("prod", vec![machine("1=a.example")], three.to_vec()).unwrap();
    assert!(clients_toml(&plan).contains("two_person = true"));
    let view = PolicyView::parse(&clients_toml(&plan), RESOURCES_TOML).unwrap();
    assert!(hessra_policy::shortages(&view).is_empty());
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("prod");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("mine"), "mine").unwrap();
    let refused = new_cluster(&plan(), &directory, &SOUND, NOW).unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert_eq!(contents(root.path()).len(), 2, "the directory and my file");
    std::fs::remove_file(directory.join("mine")).unwrap();
    new_cluster(&plan(), &directory, &SOUND, NOW).unwrap();
    let again = new_cluster(&plan(), &directory, &SOUND, NOW).unwrap_err();
    assert!(again.to_string().contains("--into"), "{again}");
}

#[test]
fn nothing_is_half_written() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("prod");
    let full = OfTest { disk_is_full: true };
    let refused = new_cluster(&plan(), &directory, &full, NOW).unwrap_err();
    assert_eq!(refused.to_string(), "the disk is full");
    assert!(
        contents(root.path()).is_empty(),
        "{:?}",
        contents(root.path())
    );
}

#[test]
fn what_an_ended_init_left_is_named_and_not_used() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(".prod.new")).unwrap();
    let refused = new_cluster(&plan(), &root.path().join("prod"), &SOUND, NOW).unwrap_err();
    assert!(refused.to_string().contains(".prod.new"), "{refused}");
    assert!(root.path().join(".prod.new").exists(), "it may be in use");
}

#[test]
fn a_later_node_has_an_id_that_was_never_given() {
    let (_root, directory) = cluster();
    add(&adding(&["4=d.example"], &[]), &directory, &SOUND, NOW).unwrap();
    let settings = std::fs::read_to_string(directory.join("node-4/node.toml")).unwrap();
    assert_eq!(settings, "prod 4 of 0\n", "it waits to be added");
    assert!(!directory.join("node-4/clients.toml").exists());
    // Its folder and that of a founder are gone; their ids are not free.
    for id in [2, 4] {
        std::fs::remove_dir_all(directory.join(format!("node-{id}"))).unwrap();
        let before = contents(&directory);
        let again = adding(&[&format!("{id}=e.example")], &[]);
        let refused = add(&again, &directory, &SOUND, NOW)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("id {id} was given")) && refused.contains("Choose 5"),
            "{refused}"
        );
        assert_eq!(contents(&directory), before);
    }
    let twice = adding(&["5=e.example", "5=f.example"], &[]);
    assert!(add(&twice, &directory, &SOUND, NOW).is_err());
}

#[test]
fn a_machine_is_free_again_when_the_folder_of_its_node_is_gone() {
    let (_root, directory) = cluster();
    let before = contents(&directory);
    let on_the_second = adding(&["4=10.0.0.2:1:2"], &[]);
    let refused = add(&on_the_second, &directory, &SOUND, NOW)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("nodes 2 and 4 are both on `10.0.0.2`")
            && refused.contains("hessra cluster remove 2"),
        "{refused}"
    );
    assert_eq!(contents(&directory), before);
    std::fs::remove_dir_all(directory.join("node-2")).unwrap();
    add(&on_the_second, &directory, &SOUND, NOW).unwrap();
}

#[test]
fn a_later_operator_has_a_name_of_its_own() {
    let (_root, directory) = cluster();
    let same = adding(&[], &["urn:hessra:night:ann"]);
    let refused = add(&same, &directory, &SOUND, NOW).unwrap_err().to_string();
    assert!(refused.contains("operators/ann"), "{refused}");
    add(
        &adding(&[], &["urn:hessra:ops:ben"]),
        &directory,
        &SOUND,
        NOW,
    )
    .unwrap();
    let environment = std::fs::read_to_string(directory.join("operators/ben/env")).unwrap();
    assert!(
        environment.contains("a.example:7401,10.0.0.2:7401,[fd00::3]:7401"),
        "{environment}"
    );
}

#[test]
fn a_failure_in_the_middle_adds_no_part_of_a_node() {
    let (_root, directory) = cluster();
    std::fs::remove_file(directory.join("secrets/join-secret")).unwrap();
    let before = contents(&directory);
    let refused = add(&adding(&["4=d.example"], &[]), &directory, &SOUND, NOW);
    assert!(refused.unwrap_err().to_string().contains("join-secret"));
    assert_eq!(contents(&directory), before);
}

#[test]
fn a_ca_that_lies_elsewhere_is_named() {
    let (_root, directory) = cluster();
    std::fs::remove_file(directory.join("ca/cluster.key")).unwrap();
    for refused in [
        add(&adding(&["4=d.example"], &[]), &directory, &SOUND, NOW),
        renew(&directory.join("node-1"), &SOUND, NOW),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("ca/cluster.key"), "{refused}");
    }
    let nowhere = add(
        &adding(&["4=d.example"], &[]),
        &directory.join("ca"),
        &SOUND,
        NOW,
    );
    assert!(nowhere.unwrap_err().to_string().contains("cluster.json"));
}

#[test]
fn renewing_replaces_certificates_and_keys_and_nothing_else() {
    let (_root, directory) = cluster();
    for (folder, renewed) in [
        (
            "node-2",
            &["peer.pem", "peer.key", "public.pem", "public.key"][..],
        ),
        ("operators/ann", &["operator.pem", "operator.key"][..]),
    ] {
        let folder = directory.join(folder);
        std::fs::write(folder.join("mine"), "mine").unwrap();
        let before = contents(&folder);
        // As a shell completes it.
        renew(&folder.join(""), &SOUND, NOW).unwrap();
        let after = contents(&folder);
        assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
        for (path, (mode, bytes)) in &after {
            let is_renewed = renewed.iter().any(|name| path.ends_with(name));
            assert_eq!(*bytes != before[path].1, is_renewed, "{}", path.display());
            assert_eq!(*mode, before[path].0, "{}", path.display());
        }
    }
    let left = contents(&directory);
    assert!(
        !left
            .keys()
            .any(|path| path.to_string_lossy().contains(".new")),
        "{:?}",
        left.keys()
    );
}

#[test]
fn what_init_did_not_make_is_not_renewed() {
    let (root, directory) = cluster();
    for folder in ["ca", "node-9", "operators/ben", "operators"] {
        let refused = renew(&directory.join(folder), &SOUND, NOW)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("neither a folder"), "{folder}: {refused}");
    }
    assert!(renew(root.path(), &SOUND, NOW).is_err());
}

#[test]
fn two_at_once_wait_for_nobody_and_spoil_nothing() {
    let (_root, directory) = cluster();
    let held = record::hold(&directory).unwrap();
    let refused = add(&adding(&["4=d.example"], &[]), &directory, &SOUND, NOW);
    assert!(refused.unwrap_err().to_string().contains("is in use"));
    drop(held);
    add(&adding(&["4=d.example"], &[]), &directory, &SOUND, NOW).unwrap();
}

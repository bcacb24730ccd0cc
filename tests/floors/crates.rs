//! Crates: every one is placed by hand, and uses only what lies below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every crate of the workspace, its floor, and the crates of ours that it may use. Place a new crate here.
const HOUSE: &[(&str, u8, &[&str])] = &[
    ("hessra-revocation", 0, &[]),
    ("hessra-proof", 0, &[]),
    ("hessra-files", 0, &[]),
    ("hessra-settings", 0, &[]),
    ("hessra-proto", 1, &["hessra-revocation"]),
    ("hessra-state", 1, &["hessra-proof", "hessra-revocation"]),
    ("hessra-audit", 1, &["hessra-revocation"]),
    (
        "hessra-policy",
        1,
        &["hessra-revocation", "hessra-settings"],
    ),
    ("hessra-sdk-core", 1, &["hessra-revocation"]),
    ("hessra-people", 1, &["hessra-proof"]),
    (
        "hessra-rights",
        2,
        &[
            "hessra-policy",
            "hessra-proof",
            "hessra-revocation",
            "hessra-state",
        ],
    ),
    (
        "hessra-sled",
        2,
        &[
            "hessra-files",
            "hessra-proof",
            "hessra-revocation",
            "hessra-proto",
            "hessra-state",
        ],
    ),
    (
        "hessra-sdk-rust",
        2,
        &[
            "hessra-files",
            "hessra-proof",
            "hessra-revocation",
            "hessra-proto",
            "hessra-sdk-core",
        ],
    ),
    (
        "hessra-consensus",
        3,
        &[
            "hessra-revocation",
            "hessra-proto",
            "hessra-state",
            "hessra-policy",
            "hessra-audit",
            "hessra-proof",
            "hessra-sled",
            "hessra-settings",
        ],
    ),
    ("hessra-dev", 3, &["hessra-files", "hessra-policy"]),
    (
        "hessra-node",
        4,
        &[
            "hessra-files",
            "hessra-settings",
            "hessra-revocation",
            "hessra-proto",
            "hessra-state",
            "hessra-audit",
            "hessra-policy",
            "hessra-proof",
            "hessra-rights",
            "hessra-sdk-core",
            "hessra-sled",
            "hessra-consensus",
            "hessra-dev",
        ],
    ),
    (
        "hessra-cli",
        4,
        &[
            "hessra-files",
            "hessra-settings",
            "hessra-audit",
            "hessra-policy",
            "hessra-proof",
            "hessra-sdk-rust",
        ],
    ),
    ("hessra-tests", 5, ANY),
    ("hessra-simulation", 5, ANY),
    ("hessra-bench", 5, ANY),
    ("hessra-interop", 5, ANY),
];

/// Any crate of ours: the top floor may use all of them.
const ANY: &[&str] = &["*"];

/// Crates that must stay without async, IO, clocks and randomness, and what they may use from outside.
const PURE: &[(&str, &[&str])] = &[
    ("hessra-revocation", &["sha2", "thiserror"]),
    (
        "hessra-proof",
        &[
            "data-encoding",
            "ed25519-dalek",
            "ring",
            "rustls-pki-types",
            "rustls-webpki",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "x509-parser",
        ],
    ),
    ("hessra-rights", &["thiserror"]),
    // Ed25519: a member's statement about its audit is believed by its signature, on every replica alike.
    (
        "hessra-state",
        &["ed25519-dalek", "sha2", "thiserror", "imbl"],
    ),
    (
        "hessra-audit",
        &[
            "data-encoding",
            "ed25519-dalek",
            "jiff",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
        ],
    ),
    (
        "hessra-settings",
        &["jiff", "miette", "strsim", "thiserror", "toml"],
    ),
    (
        "hessra-policy",
        &["data-encoding", "rustls-pki-types", "sha2", "thiserror"],
    ),
];

pub(crate) struct Crate {
    /// Name, as the manifest says it.
    pub name: String,
    /// Folder of the manifest.
    pub folder: PathBuf,
    ours: Vec<String>,
    outside: Vec<String>,
}

/// The root of the repository.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
        .to_path_buf()
}

fn manifest(folder: &Path) -> toml::Table {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every crate of the workspace.
pub(crate) fn crates() -> Vec<Crate> {
    let root = workspace();
    let members = manifest(&root)["workspace"]["members"]
        .as_array()
        .expect("members")
        .clone();
    members
        .iter()
        .map(|member| {
            let folder = root.join(member.as_str().expect("a member is a path"));
            let table = manifest(&folder);
            let used = dependencies(&table);
            let (ours, outside) = used
                .into_iter()
                .partition(|name| name.starts_with("hessra-"));
            Crate {
                name: table["package"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                folder,
                ours,
                outside,
            }
        })
        .collect()
}

/// Dependencies, normal and of the build: tests of a crate may reach further.
fn dependencies(table: &toml::Table) -> Vec<String> {
    let section = table.get("dependencies").and_then(toml::Value::as_table);
    section
        .map(|section| section.keys().cloned().collect())
        .unwrap_or_default()
}

fn house() -> BTreeMap<&'static str, (u8, &'static [&'static str])> {
    HOUSE
        .iter()
        .map(|(name, floor, may_use)| (*name, (*floor, *may_use)))
        .collect()
}

#[test]
fn every_crate_of_the_workspace_has_a_place_in_the_house() {
    let house = house();
    for found in crates() {
        assert!(
            house.contains_key(found.name.as_str()),
            "`{}` has no floor. Decide where it lives and place it in tests/floors/crates.rs and ARCHITECTURE.md.",
            found.name
        );
    }
}

#[test]
fn arrows_between_crates_go_downwards_only() {
    let house = house();
    for found in crates() {
        let (floor, may_use) = house[found.name.as_str()];
        for used in &found.ours {
            let (below, _) = house[used.as_str()];
            let top = may_use == ANY && below <= floor;
            assert!(
                top || below < floor,
                "`{}` (floor {floor}) uses `{used}` (floor {below}): an arrow upwards or sideways. Move the shared \
                 part down, or the user up.",
                found.name
            );
            assert!(
                top || may_use.contains(&used.as_str()),
                "`{}` uses `{used}`, an arrow that tests/floors/crates.rs does not know. If it is meant, add it there.",
                found.name
            );
        }
    }
}

#[test]
fn pure_crates_use_only_what_they_are_allowed_from_outside() {
    for (name, allowed) in PURE {
        let all = crates();
        let found = all
            .iter()
            .find(|found| found.name == *name)
            .expect("a pure crate is in the workspace");
        for used in &found.outside {
            assert!(
                allowed.contains(&used.as_str()),
                "`{name}` is pure and may not use `{used}`."
            );
        }
    }
}

#[test]
fn pure_crates_forbid_clocks_randomness_and_unordered_maps() {
    for name in [
        "hessra-revocation",
        "hessra-proof",
        "hessra-rights",
        "hessra-settings",
        "hessra-state",
        "hessra-audit",
        "hessra-policy",
        "hessra-sdk-core",
    ] {
        let all = crates();
        let found = all
            .iter()
            .find(|found| found.name == name)
            .expect("a pure crate is in the workspace");
        let path = found.folder.join("clippy.toml");
        let rules = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for forbidden in ["SystemTime::now", "Instant::now", "HashMap", "HashSet"] {
            assert!(
                rules.contains(forbidden),
                "{} must forbid {forbidden}",
                path.display()
            );
        }
    }
}

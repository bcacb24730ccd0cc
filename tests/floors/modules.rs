//! Modules of each crate: no circles anywhere, and floors inside the largest.

use std::path::{Path, PathBuf};

/// Modules of the largest crates, top floor first: each uses only what stands below it. Place a new module here.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "hessra-node",
        &[
            "node",
            "api",
            "issuer",
            "gitops",
            "keys",
            "ops",
            "audit",
            "world",
            "peers",
            "signer",
            "callers",
            "policy",
            "tls",
            "request",
            "problem",
            "conditions",
            "telemetry",
            "config",
            "seal",
            "between",
            "join",
            "edge",
        ],
    ),
    (
        "hessra-consensus",
        &[
            "inbound",
            "authors",
            "fence",
            "containment",
            "inspector",
            "feed",
            "consensus",
            "neighbours",
            "proposer",
            "confirmer",
            "raft",
            "audit",
            "clocks",
            "world",
            "stores",
            "peers",
            "askers",
            "membership",
            "policies",
            "author",
            "error",
            "pause",
            "turns",
            "status",
            "measurement",
            "trace",
            "settings",
            "plant",
        ],
    ),
];

use crate::crates::crates;
use crate::graph::Graph;

fn roots() -> Vec<(String, PathBuf)> {
    let of_crate = |found: crate::crates::Crate| {
        let candidates = ["src/lib.rs", "src/main.rs", "harness/lib.rs"];
        let roots = candidates.map(|file| found.folder.join(file));
        roots
            .into_iter()
            .filter(|root| root.exists())
            .map(move |root| (found.name.clone(), root))
    };
    crates().into_iter().flat_map(of_crate).collect()
}

#[test]
fn no_modules_of_a_crate_use_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for (name, root) in roots() {
        for circle in Graph::read(&root).circles() {
            circles.push(format!("{name}: {}", circle.join(", ")));
        }
    }
    assert!(circles.is_empty(), "{:#?}", circles);
}

/// The module right below the root that a file belongs to.
fn top(file: &str) -> &str {
    file.split("::").next().unwrap_or(file)
}

/// Edges of a crate that do not point downwards.
fn upwards(name: &str, root: &Path, floors: &[&str]) -> Vec<String> {
    let floor = |module: &str| {
        let found = floors.iter().position(|other| *other == module);
        found.unwrap_or_else(|| {
            panic!("module `{module}` of {name} has no floor: place it in tests/floors/modules.rs")
        })
    };
    let graph = Graph::read(root);
    let inside =
        |(from, to): &(&str, &str)| *from != "crate" && *to != "crate" && top(from) != top(to);
    let edges = graph.edges().filter(inside);
    edges
        .filter(|(from, to)| floor(top(from)) >= floor(top(to)))
        .map(|(from, to)| format!("{name}: {from} uses {to}"))
        .collect()
}

#[test]
fn modules_of_the_largest_crates_use_only_what_stands_below_them() {
    let crates = crates();
    let found = FLOORS.iter().flat_map(|(name, floors)| {
        let found = crates.iter().find(|found| found.name == *name);
        let root = found
            .expect("it is in the workspace")
            .folder
            .join("src/lib.rs");
        upwards(name, &root, floors)
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// A crate of three modules, in a folder of its own.
fn planted(lower: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let files = [
        (
            "lib.rs",
            "pub mod upper; pub mod lower; pub use upper::Roof;",
        ),
        (
            "upper.rs",
            "use crate::lower::Floor; pub struct Roof(pub Floor);",
        ),
        ("lower.rs", lower),
    ];
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file for a moment");
    }
    let root = folder.path().join("lib.rs");
    (folder, root)
}

#[test]
fn an_arrow_upwards_is_seen_however_it_is_written() {
    const FLOORS: &[&str] = &["upper", "lower"];
    let (_folder, root) = planted("pub struct Floor;");
    assert!(upwards("house", &root, FLOORS).is_empty());
    assert!(Graph::read(&root).circles().is_empty());
    for planted_use in [
        "use crate::upper::Roof;",
        "use super::upper;",
        "use crate::Roof as Top;",
        "use crate::upper::*;",
        "fn look(_: crate::upper::Roof) {}",
        "fn look() { println!(\"{}\", size_of::<crate::upper::Roof>()); }",
        "mod inner { use super::super::upper::Roof; }",
    ] {
        let (_folder, root) = planted(&format!("pub struct Floor; {planted_use}"));
        let found = upwards("house", &root, FLOORS);
        assert_eq!(found, ["house: lower uses upper"], "{planted_use}");
        assert_eq!(
            Graph::read(&root).circles(),
            [["lower", "upper"]],
            "{planted_use}"
        );
    }
    let (_folder, root) =
        planted("pub struct Floor; #[cfg(test)] mod tests { use crate::upper::Roof; }");
    assert!(
        upwards("house", &root, FLOORS).is_empty(),
        "tests may reach further"
    );
}

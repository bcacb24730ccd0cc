//! Modules of each crate: no circles anywhere, and floors inside the largest.

use std::path::PathBuf;

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
            "policy",
            "tls",
            "request",
            "problem",
            "telemetry",
            "config",
            "seal",
            "edge",
        ],
    ),
    (
        "hessra-consensus",
        &[
            "inbound",
            "containment",
            "inspector",
            "feed",
            "consensus",
            "neighbours",
            "proposer",
            "confirmer",
            "raft",
            "audit",
            "world",
            "peers",
            "membership",
            "error",
            "pause",
            "status",
            "measurement",
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

#[test]
fn modules_of_the_largest_crates_use_only_what_stands_below_them() {
    let mut upwards = Vec::new();
    for (name, floors) in FLOORS {
        let floor = |module: &str| {
            let found = floors.iter().position(|other| *other == module);
            found.unwrap_or_else(|| {
                panic!(
                    "module `{module}` of {name} has no floor: place it in tests/floors/modules.rs"
                )
            })
        };
        let found = crates().into_iter().find(|found| found.name == *name);
        let root = found
            .expect("it is in the workspace")
            .folder
            .join("src/lib.rs");
        for (from, to) in Graph::read(&root).edges() {
            let inside = [from, to].iter().all(|file| *file != "crate") && top(from) != top(to);
            if inside && floor(top(from)) >= floor(top(to)) {
                upwards.push(format!("{name}: {from} uses {to}"));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

//! Rolling replacement: every member goes and another one comes, while an operator writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hessra_tests::{Cli, Layout};

/// Members that are replaced: 4 in the gate, more by `HESSRA_REPLACEMENTS`.
fn count() -> u64 {
    let wanted = std::env::var("HESSRA_REPLACEMENTS").ok();
    wanted.map_or(4, |text| text.parse().expect("a number"))
}

/// Revokes one name after the other until it is told to stop, and returns those that were acknowledged.
fn write(operator: &Cli, stop: &AtomicBool) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let name = format!("urn:hessra:test:n{number}");
        let arguments = [
            "revoke",
            &name,
            "--yes",
            "--wait",
            "commit",
            "--timeout",
            "20s",
        ];
        if operator.run(arguments).code() == 0 {
            acknowledged.insert(name);
        }
    }
    acknowledged
}

#[test]
fn members_are_replaced_one_after_the_other_and_nothing_acknowledged_is_lost() {
    let count = count();
    let layout = Layout::new("replaced").short_log();
    let joining = usize::try_from(count).expect("a few");
    let mut cluster = layout.joining(joining).prepare();
    cluster.start_nodes(1..=3);
    let operator = cluster.operator();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (operator, stop) = (operator.clone(), Arc::clone(&stop));
        std::thread::spawn(move || write(&operator, &stop))
    };
    for oldest in 1..=count {
        let new = oldest + 3;
        cluster.spawn(new);
        cluster.wait_live(new);
        let node = cluster.node(new);
        let (peer, public) = (node.peer.clone(), node.public.clone());
        let id = new.to_string();
        let add = ["cluster", "add", &id, "--peer", &peer, "--public", &public];
        operator.run(add).done();
        operator
            .run(["cluster", "promote", &id, "--timeout", "30s"])
            .done();
        cluster.wait_ready(new);
        let id = oldest.to_string();
        operator
            .run(["cluster", "remove", &id, "--yes", "--timeout", "30s"])
            .done();
        let (_, log) = cluster.wait_ended(oldest);
        assert!(log.contains("was removed from the cluster"), "{log}");
    }
    stop.store(true, Ordering::Release);
    let acknowledged = writer.join().expect("the writer ends");
    assert!(acknowledged.len() as u64 > count, "{}", acknowledged.len());
    for id in cluster.running() {
        let asked = operator
            .clone()
            .with("HESSRA_SERVER", &cluster.node(id).public);
        let listed = asked
            .run(["revocations", "list", "-o", "json"])
            .done()
            .stdout();
        for name in &acknowledged {
            assert!(
                listed.contains(&format!("\"{name}\"")),
                "node {id} has lost {name}"
            );
        }
    }
    println!(
        "{count} members replaced, {} revocations kept",
        acknowledged.len()
    );
}

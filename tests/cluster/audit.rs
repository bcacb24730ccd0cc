//! The audit: durable before the answer, whole after a crash, and found again from any node.

use std::path::PathBuf;
use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};
use serde_json::Value;

use crate::disks::SmallDisk;
/// Lines of all segments of both chains of a node, each in order.
fn lines(cluster: &Cluster, node: u64) -> Vec<Value> {
    let chains = ["changes", "refusals"].into_iter();
    chains
        .flat_map(|chain| lines_of(cluster, node, chain))
        .collect()
}

fn segments(cluster: &Cluster, node: u64, chain: &str) -> Vec<PathBuf> {
    let folder = cluster.node(node).data.join("audit").join(chain);
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let is_segment = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(is_segment)
        .collect();
    files.sort();
    files
}

/// Lines of all segments of a chain, in order.
fn lines_of(cluster: &Cluster, node: u64, chain: &str) -> Vec<Value> {
    let files = segments(cluster, node, chain);
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("a segment"));
    texts
        .flat_map(|text| {
            text.lines()
                .map(|line| serde_json::from_str(line).expect("a record is JSON"))
                .collect::<Vec<Value>>()
        })
        .collect()
}

fn folder(cluster: &Cluster, node: u64) -> String {
    cluster.node(node).data.join("audit").display().to_string()
}

fn of_event<'a>(records: &'a [Value], event: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["event"] == event)
        .collect()
}

#[test]
fn what_was_done_is_found_from_any_node_and_the_chains_are_whole() {
    let cluster = Cluster::start("audit");
    let operator = cluster.operator();
    operator
        .run([
            "revoke",
            "urn:hessra:mycompany:bob",
            "--yes",
            "--wait",
            "commit",
            "--ticket",
            "SEC-7",
        ])
        .done();
    let alice = cluster.person("alice");
    alice
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    alice
        .run(["authorize", "request", "-r", "api", "-o", "read"])
        .done();
    alice
        .run(["authorize", "request", "-r", "api", "-o", "launch"])
        .exits(5);
    cluster.person("alice").run(["status"]).exits(5);

    let found = |conditions: &[&str]| {
        let mut command = vec!["audit", "search", "-o", "json"];
        command.extend(conditions);
        let answer = operator.run(command).done().json();
        answer["records"].as_array().expect("records").clone()
    };
    let revoked = found(&["event=revocation.created"]);
    assert_eq!(revoked.len(), 1, "in three chains, shown once: {revoked:?}");
    assert_eq!(revoked[0]["target"]["subject"], "urn:hessra:mycompany:bob");
    assert_eq!(revoked[0]["ticket"], "SEC-7");
    assert_eq!(revoked[0]["actor"]["subject"], "urn:hessra:operator");
    assert_eq!(revoked[0]["actor"]["ip"], "127.0.0.1");
    assert_eq!(
        revoked[0]["actor"]["cert_fp"].as_str().map(str::len),
        Some(64)
    );
    let issued = found(&["event=identity.issued", "subject=urn:hessra:alice"]);
    assert_eq!(issued.len(), 1);
    let token_id = issued[0]["target"]["token_ids"][0]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(token_id.len(), 128);
    assert_eq!(found(&[&format!("token={token_id}")]).len(), 1);
    let denied = found(&["event=authz.denied"]);
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["target"]["resource"], "api");
    assert_eq!(denied[0]["target"]["operation"], "launch");
    assert_eq!(denied[0]["outcome"], "denied");
    assert!(!found(&["event=access.denied", "actor.subject=urn:hessra:alice"]).is_empty());
    assert_eq!(found(&["event=authz.issued"]).len(), 1);
    assert_eq!(found(&["event=cluster.initialized"]).len(), 1);
    assert_eq!(found(&["event=member.added"]).len(), 3);

    let verified = operator
        .run(["audit", "verify", "-o", "json"])
        .done()
        .json();
    assert_eq!(verified["chains"].as_array().map(Vec::len), Some(6));
    alice.run(["audit", "search"]).exits(5);
    let tail = operator.run(["audit", "tail", "-n", "5"]).done().stdout();
    assert!(tail.lines().count() >= 5, "{tail}");
    let ocsf = operator
        .run(["audit", "export", "--format", "ocsf", "--node", "1"])
        .done();
    for line in ocsf.stdout().lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert!(event["class_uid"].is_u64(), "{line}");
    }
}

#[test]
fn a_kill_loses_no_record_whose_answer_was_seen() {
    let mut cluster = Cluster::start("audit-kill");
    let operator = cluster.operator();
    let mut seen = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let name = format!("urn:hessra:test:r{round}n{number}");
            operator
                .run(["revoke", &name, "--yes", "--wait", "commit"])
                .done();
            seen.push(name);
        }
        let victim = cluster.leader();
        cluster.kill(victim);
        cluster.start_node(victim);
    }
    let all_have = |node: u64| {
        let records = lines(&cluster, node);
        let revoked = of_event(&records, "revocation.created");
        seen.iter().all(|name| {
            let copies = revoked
                .iter()
                .filter(|record| record["target"]["subject"] == name.as_str());
            copies.count() == 1
        })
    };
    for node in 1..=3 {
        until(
            &format!("every revocation is once in the chain of node {node}"),
            Duration::from_secs(30),
            || all_have(node).then_some(()),
        );
        operator
            .run(["audit", "verify", &folder(&cluster, node)])
            .done();
    }
    let ids = |node: u64| -> Vec<String> {
        let records = lines(&cluster, node);
        let revoked = of_event(&records, "revocation.created");
        revoked
            .iter()
            .map(|record| record["id"].to_string())
            .collect()
    };
    assert_eq!(
        ids(1),
        ids(2),
        "the same changes have the same ids, in the same order"
    );
    assert_eq!(ids(1), ids(3));
    cluster.stop_all();
}

#[test]
fn an_answer_that_a_client_got_before_a_kill_is_in_the_chain() {
    let mut cluster = Layout::new("audit-issue").nodes(1).start();
    let alice = cluster.person("alice");
    let mut tokens = Vec::new();
    for number in 0..10 {
        let name = format!("t{number}");
        alice
            .run(["identity", "authenticate", "--save-as", &name])
            .done();
        let inspected = alice.run(["identity", "inspect", "--token-name", &name, "-o", "json"]);
        tokens.push(inspected.done().json());
        if number % 5 == 4 {
            cluster.kill(1);
            cluster.start_node(1);
        }
    }
    let records = lines(&cluster, 1);
    let issued = of_event(&records, "identity.issued");
    assert_eq!(issued.len(), 10);
    let text = serde_json::to_string(&tokens).expect("JSON");
    for record in issued {
        let id = record["target"]["token_ids"][0].as_str().expect("an id");
        assert!(text.contains(id), "{id} is the id of one of the tokens");
    }
    cluster
        .operator()
        .run(["audit", "verify", &folder(&cluster, 1)])
        .done();
    cluster.stop_all();
}

#[test]
fn damage_is_named_with_exit_code_3() {
    let mut cluster = Layout::new("audit-damage").nodes(1).start();
    let alice = cluster.person("alice");
    for _ in 0..3 {
        alice
            .run(["identity", "authenticate", "--save-as", "alice"])
            .done();
    }
    cluster.stop_all();
    let operator = cluster.operator();
    let folder = folder(&cluster, 1);
    operator.run(["audit", "verify", &folder]).done();
    let segment = segments(&cluster, 1, "changes").remove(0);
    let whole = std::fs::read_to_string(&segment).expect("read");
    let count = whole.lines().count();
    let mut damages: Vec<(&str, String, String)> = Vec::new();
    let flipped = whole.replacen("urn:hessra:alice", "urn:hessra:alicf", 1);
    let number = whole
        .lines()
        .position(|line| line.contains("urn:hessra:alice"))
        .expect("alice")
        + 1;
    damages.push(("a flipped byte", flipped, format!("record {number}")));
    let without = |skip: usize| -> String {
        let kept = whole
            .lines()
            .enumerate()
            .filter(|(place, _)| *place != skip);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    damages.push(("a removed line", without(2), "record 3".to_owned()));
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.swap(2, 3);
    let swapped: String = lines.iter().map(|line| format!("{line}\n")).collect();
    damages.push(("a moved line", swapped, "record 3".to_owned()));
    damages.push((
        "a cut line",
        whole[..whole.len() - 40].to_owned(),
        format!("record {count}"),
    ));
    damages.push((
        "a missing end",
        without(count - 1),
        format!("record {count}"),
    ));
    for (what, text, named) in damages {
        std::fs::write(&segment, text).expect("write");
        let said = operator.run(["audit", "verify", &folder]).exits(3).stderr();
        assert!(said.contains(&named), "{what}: {said}");
    }
}

#[test]
fn a_node_that_is_away_is_named_and_the_others_answer() {
    let mut cluster = Cluster::start("audit-away");
    let operator = cluster.operator();
    cluster.kill(3);
    let finished = operator.run([
        "audit",
        "search",
        "event=cluster.initialized",
        "--timeout",
        "5s",
    ]);
    let finished = finished.exits(9);
    assert!(
        finished.stderr().contains("node 3"),
        "{}",
        finished.stderr()
    );
    assert!(finished.stdout().contains("cluster.initialized"));
    cluster.stop_all();
}

#[test]
fn a_chain_that_begins_anew_has_every_change_that_the_log_still_has() {
    let mut cluster = Cluster::start("audit-anew");
    let operator = cluster.operator();
    for number in 0..10 {
        let name = format!("urn:hessra:test:n{number}");
        operator
            .run(["revoke", &name, "--yes", "--wait", "commit", "--quiet"])
            .done();
    }
    let node = cluster.follower();
    let changes = |cluster: &Cluster| -> Vec<String> {
        let records = lines(cluster, node);
        let ids = records.iter().filter_map(|record| record["id"].as_str());
        ids.filter(|id| id.starts_with("log-"))
            .map(str::to_owned)
            .collect()
    };
    wait_witnessed(&cluster, node);
    cluster.stop(node);
    let before = changes(&cluster);
    assert!(before.len() > 10, "{before:?}");
    let folder = folder(&cluster, node);
    std::fs::rename(&folder, format!("{folder}.kept")).expect("the folder is moved away");
    let id = node.to_string();
    operator
        .run(["audit", "accept-loss", &id, "--yes", "--ticket", "SEC-8"])
        .done();
    cluster.start_node(node);
    until(
        "the new chain has what the old one had",
        Duration::from_secs(30),
        // It has more, when this member was stopped before it had applied the last of them.
        || changes(&cluster).starts_with(&before).then_some(()),
    );
    operator.run(["audit", "verify", &folder]).done();
    cluster.stop_all();
}

/// Waits until the cluster knows the heads of both chains of a node.
fn wait_witnessed(cluster: &Cluster, node: u64) {
    let operator = cluster.operator();
    until("the audit is witnessed", Duration::from_secs(60), || {
        let heads = operator.run(["audit", "heads", "-o", "json"]).done().json();
        let heads = heads["heads"].as_array().expect("a list").clone();
        let of_node = heads.iter().filter(|head| head["node"] == node);
        (of_node.count() == 2).then_some(())
    });
}

/// Exit code and answer of `audit verify` for a folder against the cluster.
fn verified_by_cluster(cluster: &Cluster, folder: &std::path::Path) -> (i32, String) {
    let path = folder.display().to_string();
    let verified = cluster
        .operator()
        .run(["audit", "verify", &path, "--witnessed"]);
    (verified.code(), verified.stderr())
}

#[test]
fn a_node_whose_audit_is_gone_issues_nothing_until_an_operator_accepts_the_loss() {
    let mut cluster = Cluster::start("audit-gone");
    let node = cluster.follower();
    wait_witnessed(&cluster, node);
    cluster.stop(node);
    let folder = cluster.node(node).data.join("audit");
    let kept = folder.with_extension("kept");
    std::fs::rename(&folder, &kept).expect("the folder is moved away");
    assert_eq!(verified_by_cluster(&cluster, &kept).0, 0);
    cluster.spawn(node);
    let reason = until("the node is not ready", Duration::from_secs(60), || {
        let reason = cluster.not_ready(node)?;
        reason.contains("audit_failing").then_some(reason)
    });
    assert!(
        reason.contains("accept-loss") && reason.contains("it is empty"),
        "{reason}"
    );
    let alice = cluster
        .person("alice")
        .with("HESSRA_SERVER", &cluster.node(node).public);
    let ask = ["identity", "authenticate", "--save-as", "alice"];
    alice
        .run(ask.into_iter().chain(["--timeout", "3s"]))
        .exits(8);
    let operator = cluster.operator();
    let id = node.to_string();
    operator.run(["audit", "accept-loss", &id, "--yes"]).done();
    cluster.wait_ready(node);
    alice.run(ask).done();
    let found = operator.run(["audit", "search", "event=audit.loss_accepted", "-o", "json"]);
    let found = found.done().json();
    assert_eq!(found["records"][0]["target"]["id"], format!("node {node}"));
    until("the new audit is known", Duration::from_secs(60), || {
        (verified_by_cluster(&cluster, &kept).0 == 3).then_some(())
    });
    operator.run(["audit", "verify"]).done();
    cluster.stop_all();
}

#[test]
fn an_audit_that_was_set_back_is_found_from_another_member_and_not_continued() {
    let mut cluster = Cluster::start("audit-set-back");
    let node = cluster.follower();
    let folder = cluster.node(node).data.join("audit");
    let early = folder.with_extension("early");
    wait_witnessed(&cluster, node);
    cluster.stop(node);
    copy(&folder, &early);
    cluster.start_node(node);
    let operator = cluster.operator();
    for number in 0..3 {
        let name = format!("urn:hessra:test:n{number}");
        operator
            .run(["revoke", &name, "--yes", "--wait", "commit", "--quiet"])
            .done();
    }
    // A head is stated as soon as a node starts.
    cluster.stop(node);
    cluster.start_node(node);
    let (code, said) = until("a later head is known", Duration::from_secs(60), || {
        let (code, said) = verified_by_cluster(&cluster, &early);
        (code != 0).then_some((code, said))
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("was taken away"), "{said}");
    cluster.stop(node);
    std::fs::rename(&folder, folder.with_extension("late")).expect("moved");
    copy(&early, &folder);
    cluster.spawn(node);
    let reason = until("the node is not ready", Duration::from_secs(60), || {
        let reason = cluster.not_ready(node)?;
        reason.contains("audit_failing").then_some(reason)
    });
    assert!(reason.contains("it ends at record"), "{reason}");
    cluster.stop_all();
}

/// Copies a folder and all below it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &target),
            false => _ = std::fs::copy(&path, &target).expect("copied"),
        }
    }
}

#[test]
fn a_whole_audit_that_another_key_has_signed_is_not_the_one_that_is_known() {
    let mut cluster = Layout::new("audit-signed-anew").nodes(1).start();
    wait_witnessed(&cluster, 1);
    let mut other = Layout::new("audit-other").nodes(1).start();
    other.stop_all();
    let forged = folder(&other, 1);
    cluster.operator().run(["audit", "verify", &forged]).done();
    let (code, said) = verified_by_cluster(&cluster, std::path::Path::new(&forged));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("begun anew or replaced"), "{said}");
    cluster.stop_all();
}

#[test]
fn a_file_that_is_moved_away_stops_issuing_and_readiness_says_why() {
    let mut cluster = Layout::new("audit-moved").nodes(1).start();
    let alice = cluster.person("alice");
    let ask = ["identity", "authenticate", "--save-as", "alice"];
    alice.run(ask).done();
    let segment = segments(&cluster, 1, "changes").remove(0);
    let moved = segment.with_extension("moved");
    std::fs::rename(&segment, &moved).expect("moved");
    let refused = alice.run(ask.into_iter().chain(["--timeout", "3s"]));
    let refused = refused.exits(8).stderr();
    assert!(refused.contains("cannot record"), "{refused}");
    let reason = cluster.not_ready(1).expect("not ready");
    assert!(
        reason.contains("audit_failing") && reason.contains("is gone"),
        "{reason}"
    );
    // Put back where it was, it is the audit again.
    std::fs::rename(&moved, &segment).expect("moved back");
    cluster.stop(1);
    cluster.start_node(1);
    alice.run(ask).done();
    cluster.stop_all();
}

/// Asks for tokens so often, fifty at a time; the number of answers with this status.
fn ask_often(
    cluster: &Cluster,
    person: Option<&str>,
    count: usize,
    path: &str,
    wanted: u16,
) -> usize {
    let client = crate::https::Https::new(cluster, person);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let body = serde_json::json!({"resource": "api", "operation": "read"});
    let mut found = 0;
    for _ in 0..count / 50 {
        let asked = (0..50).map(|_| client.post(1, path, &body));
        let answers = runtime.block_on(futures::future::join_all(asked));
        let answers = answers.into_iter().flatten();
        found += answers.filter(|(status, _)| *status == wanted).count();
    }
    found
}

#[test]
fn refusals_of_strangers_displace_no_record_of_a_change() {
    let mut cluster = Layout::new("audit-flood")
        .nodes(1)
        .set("audit", "segment_size", "64KiB")
        .set("audit", "keep_size", "256KiB")
        .set("audit", "refusals_keep_size", "256KiB")
        .start();
    let operator = cluster.operator();
    operator
        .run(["revoke", "urn:hessra:test:bob", "--yes", "--wait", "commit"])
        .done();
    let refused = ask_often(&cluster, None, 4_000, "/request_token", 401);
    // The rest is answered 429, which has no record.
    assert!(refused > 1_000, "{refused}");
    cluster.stop_all();
    let records = lines_of(&cluster, 1, "changes");
    assert_eq!(of_event(&records, "revocation.created").len(), 1);
    let counted: u64 = lines_of(&cluster, 1, "refusals")
        .iter()
        .filter(|record| record["outcome"] == "denied")
        .map(|record| record["change"]["summed"].as_u64().unwrap_or(1))
        .sum();
    // A caller that lost the answer counts none: there may be more records than answers.
    let asked = refused as u64..=4_000;
    assert!(
        asked.contains(&counted),
        "{counted} are counted, {refused} were answered"
    );
    let sizes = segments(&cluster, 1, "refusals");
    let sizes = sizes
        .iter()
        .map(|path| path.metadata().expect("a file").len());
    let written: u64 = sizes.sum();
    println!("{refused} refusals took {written} bytes");
    assert!(written < 256 * 1024, "{written} bytes");
    operator
        .run(["audit", "verify", &folder(&cluster, 1)])
        .done();
}

/// A node that has deleted old records; they were exported before, or not.
fn pruned(name: &'static str, exported: bool) -> Cluster {
    let mut cluster = Layout::new(name)
        .nodes(1)
        .set("audit", "segment_size", "64KiB")
        .set("audit", "keep_size", "256KiB")
        .start();
    // In parts smaller than what is kept: on a slow machine the first ones may be deleted before the last ones are issued.
    let mut issued = 0;
    for _ in 0..5 {
        let path = "/request_identity_token";
        issued += ask_often(&cluster, Some("alice"), 300, path, 200);
        if exported {
            cluster.operator().run(["audit", "export"]).done();
        }
    }
    assert!(issued > 1_000, "{issued}");
    // What is deleted must be witnessed; a head is stated as soon as a node starts, and a stop deletes.
    cluster.stop(1);
    cluster.start_node(1);
    until("the head is witnessed", Duration::from_secs(60), || {
        let heads = cluster.operator().run(["audit", "heads", "-o", "json"]);
        let heads = heads.done().json()["heads"]
            .as_array()
            .expect("a list")
            .clone();
        let changes = heads.iter().find(|head| head["chain"] == "changes");
        (changes?["seq"].as_u64() > Some(1_000)).then_some(())
    });
    cluster.stop(1);
    let oldest = segments(&cluster, 1, "changes").remove(0);
    assert!(
        !oldest.ends_with("00000000000000000001.jsonl"),
        "nothing was deleted"
    );
    cluster
}

#[test]
fn records_that_were_deleted_before_anybody_exported_them_fail_the_check() {
    let cluster = pruned("audit-lost", false);
    let operator = cluster.operator();
    let folder = folder(&cluster, 1);
    let said = operator.run(["audit", "verify", &folder]).exits(3).stderr();
    assert!(
        said.contains("records 1 to ") && said.contains("nobody had exported them"),
        "{said}"
    );
    let passed = operator.run(["audit", "verify", &folder, "--allow-lost"]);
    assert!(passed.done().stdout().contains("were deleted by retention"));
}

#[test]
fn records_that_were_exported_may_be_deleted_and_the_check_says_which() {
    let cluster = pruned("audit-exported", true);
    let verified = cluster
        .operator()
        .run(["audit", "verify", &folder(&cluster, 1)]);
    let said = verified.done().stdout();
    assert!(
        said.contains("were deleted by retention; exported are those through"),
        "{said}"
    );
}

#[test]
fn a_full_disk_issues_nothing_says_why_and_recovers() {
    let mut cluster = Layout::new("audit-full")
        .nodes(1)
        .set("storage", "free_min", "64MiB")
        .prepare();
    let data = cluster.node(1).data.clone();
    let Some(_disk) = SmallDisk::mount(data.clone(), "256m") else {
        println!("skipped: a small file system needs root and tmpfs");
        return;
    };
    cluster.start_all();
    let alice = cluster.person("alice");
    alice
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    let ballast = data.join("ballast");
    fill(&ballast, &data, 24 << 20);
    let refused = alice
        .run([
            "identity",
            "authenticate",
            "--save-as",
            "alice",
            "--timeout",
            "3s",
        ])
        .exits(8);
    assert!(
        refused.stderr().contains("cannot record"),
        "{}",
        refused.stderr()
    );
    let operator = cluster.operator();
    let refused = operator.run([
        "revoke",
        "urn:hessra:test:full",
        "--yes",
        "--wait",
        "commit",
        "--timeout",
        "3s",
    ]);
    assert_ne!(refused.code(), 0);
    assert!(refused.stderr().contains("disk"), "{}", refused.stderr());
    operator.run(["revocations", "list"]).done();
    std::fs::remove_file(&ballast).expect("the ballast goes");
    until("tokens are issued again", Duration::from_secs(30), || {
        let issued = alice.run(["identity", "authenticate", "--save-as", "alice"]);
        (issued.code() == 0).then_some(())
    });
    cluster.stop_all();
    operator
        .run(["audit", "verify", &folder(&cluster, 1)])
        .done();
}

/// Writes until only so much is left.
fn fill(ballast: &std::path::Path, disk: &std::path::Path, left: u64) {
    let stat = rustix::fs::statvfs(disk).expect("a file system");
    let free = stat.f_bavail * stat.f_frsize;
    let size = usize::try_from(free.saturating_sub(left)).expect("it fits");
    std::fs::write(ballast, vec![0; size]).expect("room for the ballast");
}

#[test]
fn a_name_with_a_line_feed_makes_no_line_and_a_token_in_the_wrong_field_is_not_kept() {
    let mut cluster = Layout::new("audit-hostile").nodes(1).start();
    let alice = cluster.person("alice");
    let token = alice
        .run(["identity", "authenticate", "--token-only"])
        .done()
        .stdout();
    let token = token.trim();
    let resource = "api\n{\"event\":\"authz.issued\"}";
    alice
        .run(["authorize", "request", "-r", resource, "-o", "read"])
        .exits(5);
    alice
        .run(["authorize", "request", "-r", "api", "-o", &token[..200]])
        .exits(5);
    let records = lines(&cluster, 1);
    assert_eq!(of_event(&records, "authz.issued").len(), 0);
    assert_eq!(of_event(&records, "authz.denied").len(), 2);
    for path in ["changes", "refusals"]
        .map(|chain| segments(&cluster, 1, chain))
        .concat()
    {
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(!text.contains(&token[..100]), "{}", path.display());
        assert!(!text.contains("PRIVATE KEY"));
    }
    cluster.stop_all();
}

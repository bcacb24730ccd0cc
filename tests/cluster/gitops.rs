//! A cluster that follows a git repository: real repositories, real signatures, real processes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};
use serde_json::Value;

/// Time limit of a wait: nodes look every second, and an election may lie between.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repository whose branch `main` is followed, and the keys that sign in it.
struct Repository {
    folder: tempfile::TempDir,
    /// Dates that commits claim, instead of now.
    dates: std::cell::RefCell<Vec<(&'static str, String)>>,
}

impl Repository {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hessra-policy-")
            .tempdir()
            .expect("a folder");
        let repository = Self {
            folder,
            dates: std::cell::RefCell::default(),
        };
        repository.git(
            &["init", "--quiet", "--initial-branch=main", "work"],
            repository.folder.path(),
        );
        for name in ["keeper", "stranger", "former"] {
            let key = repository.key(name).display().to_string();
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key];
            let made = Command::new("ssh-keygen")
                .args(arguments)
                .status()
                .expect("ssh-keygen runs");
            assert!(made.success());
        }
        let public = |name: &str| {
            let path = repository.key(name).with_extension("pub");
            std::fs::read_to_string(path).expect("a key")
        };
        let signers = format!(
            "keeper@example.com namespaces=\"git\" {}former@example.com namespaces=\"git\",valid-before=\"20240601Z\" {}",
            public("keeper"),
            public("former")
        );
        std::fs::write(repository.signers(), signers).expect("written");
        repository
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signers(&self) -> PathBuf {
        self.folder.path().join("allowed_signers")
    }

    /// Runs git as its author would, without the configuration of the machine.
    fn git(&self, arguments: &[&str], folder: &Path) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Ann",
                "-c",
                "user.email=ann@example.com",
                "-c",
                "gpg.format=ssh",
            ])
            .args(arguments)
            .current_dir(folder)
            .envs(self.dates.borrow().iter().cloned())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits the files of `production/`, for the branch `main`, signed by one of the keys or not at all; the id.
    fn commit(&self, message: &str, signer: Option<&str>) -> String {
        let message = format!("{message}\n\nHessra-Policy: dev/main\n");
        self.commit_for(&message, signer)
    }

    /// Commits as [`Self::commit`] does, with this whole message.
    fn commit_for(&self, message: &str, signer: Option<&str>) -> String {
        let work = self.work();
        self.git(&["add", "--all"], &work);
        let key = signer.map(|name| format!("user.signingKey={}", self.key(name).display()));
        let signing = match &key {
            Some(key) => vec!["-c", key, "commit", "--quiet", "-S", "-m", message],
            None => vec!["commit", "--quiet", "-m", message],
        };
        self.git(&signing, &work);
        self.git(&["rev-parse", "HEAD"], &work)
    }

    /// Lets commits claim this date.
    fn claim(&self, date: &str) {
        let names = ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"];
        *self.dates.borrow_mut() = names.map(|name| (name, date.to_owned())).into();
    }

    /// Lets commits be of now.
    fn claim_nothing(&self) {
        self.dates.borrow_mut().clear();
    }

    fn write(&self, name: &str, text: &str) {
        let folder = self.work().join("production");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join(name), text).expect("written");
    }

    /// Writes the clients of a cluster with another depth, so that versions can be told apart.
    fn write_clients(&self, cluster: &Cluster, depth: u8) {
        let text =
            std::fs::read_to_string(cluster.directory().join("clients.toml")).expect("clients");
        let depth = format!("min_revocation_depth = {depth}");
        self.write(
            "clients.toml",
            &text.replace("min_revocation_depth = 3", &depth),
        );
        let resources = std::fs::read_to_string(cluster.directory().join("resources.toml"));
        self.write("resources.toml", &resources.expect("resources"));
    }

    fn settings(&self) -> toml::Table {
        let mut git = toml::Table::new();
        git.insert("url".into(), self.work().display().to_string().into());
        git.insert("directory".into(), "production".into());
        git.insert("interval".into(), "1s".into());
        git.insert(
            "allowed_signers".into(),
            self.signers().display().to_string().into(),
        );
        git
    }
}

fn show(cluster: &Cluster, node: u64) -> Value {
    let server = &cluster.node(node).public;
    let shown = cluster
        .operator()
        .with("HESSRA_SERVER", server)
        .run(["policy", "show", "-o", "json"]);
    serde_json::from_str(&shown.stdout()).unwrap_or_default()
}

fn history(cluster: &Cluster) -> Vec<Value> {
    let history = cluster
        .operator()
        .run(["policy", "history", "-o", "json"])
        .done()
        .json();
    history["versions"].as_array().expect("a list").clone()
}

/// Waits until the commit stands, and every node says that nothing differs.
fn wait_applied(cluster: &Cluster, commit: &str) {
    for node in cluster.running() {
        until(&format!("node {node} follows {commit}"), PATIENCE, || {
            let shown = show(cluster, node);
            let in_sync = shown["git"]["commit"] == commit && shown["git"]["drift"] == false;
            (in_sync && shown["git"]["error"] == "").then_some(())
        });
    }
}

/// Waits until the node says that it does not follow, and why.
fn wait_error(cluster: &Cluster, node: u64, part: &str) -> String {
    until(&format!("node {node} says `{part}`"), PATIENCE, || {
        let error = show(cluster, node)["git"]["error"].as_str()?.to_owned();
        error.contains(part).then_some(error)
    })
}

/// One node that has applied a signed commit of the repository.
fn following(name: &'static str, repository: &Repository) -> Cluster {
    let mut cluster = Layout::new(name)
        .nodes(1)
        .set("policy", "git", repository.settings())
        .prepare();
    repository.write_clients(&cluster, 4);
    let good = repository.commit("good", Some("keeper"));
    cluster.start_all();
    wait_applied(&cluster, &good);
    cluster
}

#[test]
fn a_signed_commit_is_applied_once_for_the_cluster_also_after_the_leader_is_killed() {
    let repository = Repository::new();
    let mut cluster = Layout::new("gitops")
        .set("policy", "git", repository.settings())
        .prepare();
    repository.write_clients(&cluster, 4);
    let first = repository.commit("the first policy", Some("keeper"));
    cluster.start_all();
    wait_applied(&cluster, &first);
    let leader = cluster.leader();
    cluster.kill(leader);
    repository.write_clients(&cluster, 5);
    let second = repository.commit("depth five", Some("keeper"));
    wait_applied(&cluster, &second);
    cluster.start_all();
    wait_applied(&cluster, &second);
    let versions = history(&cluster);
    let commits: Vec<&str> = versions
        .iter()
        .filter_map(|version| version["commit"].as_str())
        .collect();
    assert_eq!(
        commits,
        [second.as_str(), first.as_str()],
        "each once, newest first"
    );
    assert_eq!(versions[0]["message"], "depth five (Ann <ann@example.com>)");
    // The files that git wrote are the node's alone to read, and nothing was checked out.
    let copy = cluster.node(leader).data.join("policy.git");
    assert!(copy.join("HEAD").is_file() && !copy.join("production").exists());
    let copied = std::fs::metadata(&copy).expect("git made it");
    let mode = copied.permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    for node in cluster.running() {
        assert_eq!(cluster.metric(node, "hessra_policy_drift_ratio"), 0.0);
    }
}

#[test]
fn what_is_not_signed_by_an_allowed_signer_or_not_valid_or_a_link_is_never_applied() {
    let repository = Repository::new();
    let cluster = following("gitops_refused", &repository);
    let revision = show(&cluster, 1)["revision"].clone();

    repository.write_clients(&cluster, 5);
    repository.commit("by a stranger", Some("stranger"));
    wait_error(&cluster, 1, "not signed by an allowed signer");
    repository.write_clients(&cluster, 6);
    repository.commit("by nobody", None);
    wait_error(&cluster, 1, "not signed by an allowed signer");
    repository.write("clients.toml", "[limits]\nmin_revocation_depht = 2\n");
    repository.commit("a typo", Some("keeper"));
    let error = wait_error(&cluster, 1, "clients.toml:2:1");
    assert!(
        error.contains("Did you mean `min_revocation_depth`?"),
        "{error}"
    );
    let clients = repository.work().join("production/clients.toml");
    std::fs::remove_file(&clients).expect("removed");
    std::os::unix::fs::symlink(cluster.directory().join("clients.toml"), &clients).expect("linked");
    repository.commit("a link out of the repository", Some("keeper"));
    wait_error(&cluster, 1, "is not a plain file");
    std::fs::remove_file(&clients).expect("removed");
    repository.commit("no clients", Some("keeper"));
    wait_error(&cluster, 1, "has no file `production/clients.toml`");

    let shown = show(&cluster, 1);
    assert_eq!(shown["revision"], revision, "nothing of it was applied");
    assert!(
        shown["clients_toml"]
            .as_str()
            .expect("a text")
            .contains("min_revocation_depth = 4")
    );
    repository.write_clients(&cluster, 2);
    let fixed = repository.commit("fixed", Some("keeper"));
    wait_applied(&cluster, &fixed);
    assert!(cluster.metric(1, "hessra_policy_git_looks_total") >= 2.0);
}

#[test]
fn a_push_that_weakens_the_rule_of_two_persons_waits_for_an_operator() {
    let repository = Repository::new();
    let layout = Layout::new("gitops_two").set("policy", "git", repository.settings());
    let mut cluster = crate::two_persons::prepared(layout);
    repository.write_clients(&cluster, 4);
    let first = repository.commit("the first policy", Some("keeper"));
    cluster.start_all();
    wait_applied(&cluster, &first);
    repository.write_clients(&cluster, 2);
    let weaker = repository.commit("nearer to the root", Some("keeper"));
    let leader = cluster.leader();
    let said = wait_error(&cluster, leader, "waits for an operator");
    assert!(said.contains(&weaker), "{said}");
    assert_eq!(history(&cluster)[0]["commit"], first);
    let alice = cluster.person("alice");
    let list = alice.run(["approvals", "list", "-o", "json"]).done().json();
    let waiting = list["approvals"].as_array().expect("a list");
    assert_eq!(waiting.len(), 1, "it is asked for once: {list}");
    let id = waiting[0]["id"].as_str().expect("an id");
    let shown = alice.run(["approvals", "show", id]).done().stdout();
    assert!(shown.contains("min_revocation_depth: 4 → 2"), "{shown}");
    alice.run(["approvals", "approve", id, "--yes"]).done();
    wait_applied(&cluster, &weaker);
    assert_eq!(history(&cluster)[0]["commit"], weaker);
}

#[test]
fn a_rewritten_branch_is_refused_and_a_change_by_hand_is_reported_until_the_next_commit() {
    let repository = Repository::new();
    let mut cluster = Layout::new("gitops_drift")
        .nodes(1)
        .set("policy", "git", repository.settings())
        .prepare();
    repository.write_clients(&cluster, 4);
    let first = repository.commit("four", Some("keeper"));
    repository.write_clients(&cluster, 5);
    let second = repository.commit("five", Some("keeper"));
    cluster.start_all();
    wait_applied(&cluster, &second);

    repository.git(&["reset", "--hard", "--quiet", &first], &repository.work());
    let error = wait_error(&cluster, 1, "does not descend from");
    assert!(error.contains(&second), "{error}");
    repository.git(&["reset", "--hard", "--quiet", &second], &repository.work());
    wait_applied(&cluster, &second);

    let folder = cluster.directory().join("by-hand");
    let out = folder.display().to_string();
    let operator = cluster.operator();
    operator.run(["policy", "show", "--out", &out]).done();
    let clients = folder.join("clients.toml");
    let text = std::fs::read_to_string(&clients).expect("clients");
    std::fs::write(
        &clients,
        text.replace("min_revocation_depth = 5", "min_revocation_depth = 6"),
    )
    .expect("written");
    operator
        .run(["policy", "apply", &out, "--yes", "-m", "an emergency"])
        .done();
    until("the node reports drift", PATIENCE, || {
        let drift = cluster.metric(1, "hessra_policy_drift_ratio");
        (drift == 1.0 && show(&cluster, 1)["git"]["drift"] == true).then_some(())
    });
    let warned = operator.run(["policy", "show"]).done();
    assert!(
        warned.stderr().contains("the policy is not that of"),
        "{}",
        warned.stderr()
    );
    assert_eq!(history(&cluster)[0]["message"], "an emergency", "it stands");
    repository.write_clients(&cluster, 7);
    let third = repository.commit("seven", Some("keeper"));
    wait_applied(&cluster, &third);
}

#[test]
fn hooks_and_settings_of_the_repository_and_the_machine_are_never_used() {
    let repository = Repository::new();
    let mut settings = repository.settings();
    settings.remove("allowed_signers");
    settings.insert("accept_unsigned".into(), true.into());
    let mut cluster = Layout::new("gitops_locked")
        .nodes(1)
        .set("policy", "git", settings)
        .prepare();
    let trap = cluster.directory().join("sprung");
    let script = format!("#!/bin/sh\ntouch {}\n", trap.display());
    // Wherever git would look for something to run: hooks of our copy, and attributes with a filter in the tree.
    let hooks = cluster.node(1).data.join("policy.git/hooks");
    std::fs::create_dir_all(&hooks).expect("made");
    for hook in [
        "post-checkout",
        "reference-transaction",
        "post-merge",
        "fsmonitor-watchman",
    ] {
        let path = hooks.join(hook);
        std::fs::write(&path, &script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("set");
    }
    repository.write_clients(&cluster, 4);
    repository.write(
        ".gitattributes",
        "*.toml filter=evil diff=evil textconv=evil\n",
    );
    let commit = repository.commit("with attributes", None);
    cluster.start_all();
    wait_applied(&cluster, &commit);
    assert!(!trap.exists(), "something of the repository was run");
}

#[test]
fn a_signed_commit_is_applied_only_where_and_when_it_was_signed_for() {
    let repository = Repository::new();
    let cluster = following("gitops_bound", &repository);
    let revision = show(&cluster, 1)["revision"].clone();

    // Signed on another branch, and pushed as the head of this one.
    repository.write_clients(&cluster, 5);
    repository.commit_for("a feature\n\nHessra-Policy: dev/feature\n", Some("keeper"));
    wait_error(&cluster, 1, "was not signed for `dev/main`");
    repository.write_clients(&cluster, 6);
    repository.commit_for("work in progress", Some("keeper"));
    wait_error(&cluster, 1, "was not signed for `dev/main`");
    repository.write_clients(&cluster, 7);
    repository.commit_for("staging\n\nHessra-Policy: staging/main\n", Some("keeper"));
    wait_error(&cluster, 1, "was not signed for `dev/main`");
    // Signed, and then given up.
    repository.write_clients(&cluster, 8);
    repository.claim("2026-01-02T00:00:00Z");
    repository.commit("an old release", Some("keeper"));
    wait_error(&cluster, 1, "is not within");
    repository.claim("2099-01-02T00:00:00Z");
    repository.write_clients(&cluster, 3);
    repository.commit("for later", Some("keeper"));
    wait_error(&cluster, 1, "is not within");
    // A key that has ended signs with a date before its end: git alone believes it.
    repository.claim("2024-05-01T00:00:00Z");
    repository.write_clients(&cluster, 9);
    let backdated = repository.commit("back-dated", Some("former"));
    let signers = format!(
        "gpg.ssh.allowedSignersFile={}",
        repository.signers().display()
    );
    let verify = ["-c", &signers, "verify-commit", &backdated];
    repository.git(&verify, &repository.work());
    wait_error(&cluster, 1, "not signed by a key that is valid now");
    assert_eq!(
        show(&cluster, 1)["revision"],
        revision,
        "nothing of it was applied"
    );

    repository.claim_nothing();
    repository.write_clients(&cluster, 2);
    let fixed = repository.commit("fixed", Some("keeper"));
    wait_applied(&cluster, &fixed);
}

#[test]
fn unsigned_commits_need_a_setting_that_says_so() {
    let repository = Repository::new();
    let mut settings = repository.settings();
    settings.remove("allowed_signers");
    let mut cluster = Layout::new("gitops_unsigned")
        .nodes(1)
        .set("policy", "git", settings)
        .prepare();
    cluster.spawn(1);
    let (code, said) = cluster.wait_ended(1);
    assert_ne!(code, 0);
    assert!(
        said.contains("policy.git.allowed_signers") && said.contains("accept_unsigned"),
        "{said}"
    );
}

#[test]
fn a_commit_that_needs_much_memory_is_refused_and_the_node_goes_on() {
    let repository = Repository::new();
    let mut settings = repository.settings();
    settings.insert("memory_max".into(), "128MiB".into());
    let mut cluster = Layout::new("gitops_memory")
        .nodes(1)
        .set("policy", "git", settings)
        .prepare();
    repository.write_clients(&cluster, 4);
    let good = repository.commit("good", Some("keeper"));
    cluster.start_all();
    wait_applied(&cluster, &good);
    // A message of 160 MB that takes some hundred kilobytes in the repository.
    let message = repository.work().with_extension("message");
    std::fs::write(&message, "word\n".repeat(32 << 20)).expect("written");
    repository.write_clients(&cluster, 5);
    let work = repository.work();
    repository.git(&["add", "--all"], &work);
    let path = message.display().to_string();
    repository.git(
        &["commit", "--quiet", "--cleanup=verbatim", "-F", &path],
        &work,
    );
    wait_error(&cluster, 1, "git cannot");
    repository.git(&["reset", "--quiet", "--hard", &good], &work);
    repository.write_clients(&cluster, 6);
    let next = repository.commit("next", Some("keeper"));
    wait_applied(&cluster, &next);
}

#[test]
fn a_repository_that_is_too_large_is_refused_and_does_not_fill_the_disk() {
    let repository = Repository::new();
    let mut settings = repository.settings();
    settings.insert("size_max".into(), "64KiB".into());
    let mut cluster = Layout::new("gitops_large")
        .nodes(1)
        .set("policy", "git", settings)
        .prepare();
    repository.write_clients(&cluster, 4);
    // What does not compress: the digits of a keyed counter.
    let noise: String = (0..60_000u64)
        .map(|n| {
            format!(
                "{:016x}\n",
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
            )
        })
        .collect();
    repository.write("noise", &noise);
    repository.commit("a large file", Some("keeper"));
    cluster.start_all();
    let error = until("the node says why", PATIENCE, || {
        let error = show(&cluster, 1)["git"]["error"].as_str()?.to_owned();
        (!error.is_empty()).then_some(error)
    });
    assert!(
        error.contains("git cannot fetch") || error.contains("takes more than"),
        "{error}"
    );
    assert_eq!(history(&cluster).len(), 1);
    let copy = cluster.node(1).data.join("policy.git");
    let kept: u64 = walk(&copy)
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|data| data.len())
        .sum();
    assert!(kept <= 64 * 1024 + 16 * 1024, "{kept} bytes are kept");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path],
        })
        .collect()
}

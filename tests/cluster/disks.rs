//! Disks: what is on them, what must not be, and what happens when there is no room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// A secret as it could be written: raw, hex, base64.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    vec![
        secret.to_vec(),
        data_encoding::HEXLOWER.encode(secret).into_bytes(),
        data_encoding::HEXUPPER.encode(secret).into_bytes(),
        data_encoding::BASE64
            .encode(secret)
            .trim_end_matches('=')
            .as_bytes()
            .to_vec(),
    ]
}

#[test]
fn after_a_thousand_tokens_no_private_key_is_on_disk_in_the_clear() {
    let cluster = Cluster::start("secrets");
    let alice = cluster.person("alice");
    for _ in 0..25 {
        alice
            .run(["identity", "authenticate", "--save-as", "alice"])
            .done();
    }
    issue_many(&cluster, 975);
    let config: toml::Table = std::fs::read_to_string(&cluster.node(1).config)
        .expect("read")
        .parse()
        .expect("TOML");
    let key_file = cluster.node(1).config.parent().expect("a folder").join(
        config["keys"]["kek"]
            .as_str()
            .and_then(|source| source.strip_prefix("file:"))
            .expect("a path"),
    );
    let key_encryption_key = std::fs::read(&key_file).expect("the key-encryption key");
    let mut needles = vec![
        b"PRIVATE KEY".to_vec(),
        data_encoding::HEXLOWER
            .decode(b"302e020100300506032b6570")
            .expect("hex"),
    ];
    needles.extend(spellings(key_encryption_key.trim_ascii()));
    let mut searched = 0;
    for node in cluster.nodes() {
        for file in files(&node.data).into_iter().chain([node.log.clone()]) {
            let bytes = std::fs::read(&file).expect("read");
            searched += bytes.len();
            for needle in &needles {
                assert!(
                    !contains(&bytes, needle),
                    "{} contains a secret",
                    file.display()
                );
            }
        }
    }
    assert!(searched > 10_000, "there was something to search");
}

/// Issues authorization tokens over one connection: a command each would take minutes.
fn issue_many(cluster: &Cluster, count: usize) {
    let read =
        |name: &str| std::fs::read(cluster.directory().join(name)).expect("a file of the cluster");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut pem = read("clients/alice.crt");
    pem.extend(read("clients/alice.key"));
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.crt")).expect("a CA")])
        .identity(reqwest::Identity::from_pem(&pem).expect("a certificate and its key"))
        .build()
        .expect("a client");
    let port = cluster
        .node(2)
        .public
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let url = format!("https://localhost:{port}/request_identity_token");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for number in 0..count {
            loop {
                let request = client
                    .post(&url)
                    .header("content-type", "application/json")
                    .body("{\"identifier\":null}");
                let answer = request.send().await.expect("an answer");
                match answer.status().as_u16() {
                    200 | 201 => break,
                    // A client may be told to go slower; that is no failure to issue.
                    429 => tokio::time::sleep(Duration::from_millis(50)).await,
                    status => panic!(
                        "token {number}: {status} {}",
                        answer.text().await.unwrap_or_default()
                    ),
                }
            }
        }
    });
}

/// A small file system of its own, unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts the file system; `None` where it needs rights that this user does not have.
    pub(crate) fn mount(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).ok()?;
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .output()
            .ok()?;
        mounted.status.success().then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_writes_keeps_denials_and_recovers() {
    let mut cluster = Layout::new("full")
        .set("storage", "free_min", "32MiB")
        .prepare();
    let folders: Vec<PathBuf> = cluster.nodes().map(|node| node.data.clone()).collect();
    let mut disks = Vec::new();
    for folder in &folders {
        let Some(disk) = SmallDisk::mount(folder.clone(), "128m") else {
            println!("skipped: a small file system needs root and tmpfs");
            return;
        };
        disks.push(disk);
    }
    cluster.start_all();
    let operator = cluster.operator();
    operator
        .run([
            "revoke",
            "urn:hessra:test:before",
            "--yes",
            "--wait",
            "commit",
        ])
        .done();
    let ballast: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.join("ballast"))
        .collect();
    for file in &ballast {
        std::fs::write(file, vec![0; 110 << 20]).expect("room for the ballast");
    }
    until(
        "writes are refused with a reason",
        Duration::from_secs(30),
        || {
            let finished = operator.run([
                "revoke",
                "urn:hessra:test:full",
                "--yes",
                "--wait",
                "commit",
                "--timeout",
                "3s",
            ]);
            (finished.code() != 0 && finished.stderr().contains("disk")).then_some(())
        },
    );
    let list = operator
        .run(["revocations", "list", "-o", "json"])
        .done()
        .stdout();
    assert!(
        list.contains("urn:hessra:test:before"),
        "reads go on: {list}"
    );
    for file in &ballast {
        std::fs::remove_file(file).expect("the ballast goes");
    }
    until("writes are accepted again", Duration::from_secs(30), || {
        let finished = operator.run([
            "revoke",
            "urn:hessra:test:after",
            "--yes",
            "--wait",
            "commit",
            "--timeout",
            "3s",
        ]);
        (finished.code() == 0).then_some(())
    });
    cluster.stop_all();
}

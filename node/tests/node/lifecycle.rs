//! A dev cluster over its life: made, stopped, resumed, broken.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::running::{Running, START, answer, binary, is_alive, said, until};

async fn public_key(running: &Running) -> Value {
    let (status, body) = answer(running.client(None).get(running.url("/public_key"))).await;
    assert_eq!(status, StatusCode::OK);
    body["public_key"].clone()
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_resumes_keys_ports_and_data() {
    let owned = tempfile::tempdir().unwrap();
    let directory = owned.path().join("dev");
    let running = Running::start_in(&directory, &["--nodes", "1", "--base-port", "0"]);
    let (key, address) = (public_key(&running).await, running.address("public"));
    running.stop();
    let running = Running::start_in(&directory, &[]);
    assert_eq!(
        (public_key(&running).await, running.address("public")),
        (key, address)
    );
}

#[test]
fn everything_private_is_private() {
    let running = super::running::shared();
    let mode = |path: &str| {
        std::fs::metadata(running.directory().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for secret in [
        "kek",
        "ca.key",
        "cluster-ca.key",
        "clients/alice.key",
        "node-1/peer.key",
        "chain/edge.pem",
    ] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    assert_eq!(mode("node-1/data"), 0o700);
}

#[test]
fn the_directory_has_what_people_and_scripts_look_for() {
    let running = super::running::shared();
    let directory = running.directory();
    for name in ["operator", "responder", "alice", "gateway", "mycompany"] {
        assert!(
            directory.join(format!("clients/{name}.crt")).exists(),
            "{name}"
        );
    }
    let env = std::fs::read_to_string(directory.join("env")).unwrap();
    for variable in [
        "HESSRA_SERVER",
        "HESSRA_PORT",
        "HESSRA_CA",
        "HESSRA_CERT",
        "HESSRA_KEY",
        "HESSRA_HOME",
    ] {
        assert!(env.contains(&format!("export {variable}='")), "{variable}");
    }
    let node = &running.nodes()[0];
    for key in ["id", "pid", "public", "peer", "ops", "data_dir"] {
        assert!(!node[key].is_null(), "{key}");
    }
    let checked = binary()
        .args(["config", "check", "--config"])
        .arg(directory.join("node-1/node.toml"))
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn no_private_key_is_in_the_data_directory_or_the_log() {
    let running = super::running::shared();
    // PKCS#8 of Ed25519 begins so; the key-encryption key is known.
    let pkcs8 = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70,
    ];
    let hexadecimal = std::fs::read_to_string(running.directory().join("kek")).unwrap();
    let hexadecimal = hexadecimal.trim().as_bytes();
    let raw = data_encoding::HEXLOWER.decode(hexadecimal).unwrap();
    let mut looked_at = 0;
    walk(&running.directory().join("node-1"), &mut |path, bytes| {
        if path.extension().is_some_and(|extension| extension == "key") {
            return;
        }
        looked_at += 1;
        for secret in [pkcs8.as_slice(), hexadecimal, &raw, b"PRIVATE KEY"] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{}",
                path.display()
            );
        }
    });
    assert!(looked_at > 3, "there was nothing to look at");
}

fn walk(directory: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, look);
        } else {
            look(&path, &std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let running = super::running::shared();
    let refused = |arguments: &[&str]| {
        let output = binary()
            .args(["dev", "--dir"])
            .arg(running.directory())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        said(&output)
    };
    let said = refused(&[]);
    assert!(
        said.contains("is in use by another `hessra-node dev`"),
        "{said}"
    );
}

#[test]
fn a_node_on_a_data_directory_in_use_or_of_another_node_is_refused() {
    let running = Running::start();
    let settings = running.directory().join("node-1/node.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    // Free ports: what is refused is the directory, not an address.
    let free = |text: &str| {
        ["public", "peer", "ops"]
            .iter()
            .fold(text.to_owned(), |text, port| {
                text.replace(
                    &format!("= \"{}\"\n", running.address(port)),
                    "= \"127.0.0.1:0\"\n",
                )
            })
    };
    let again = running.directory().join("node-1/again.toml");
    std::fs::write(&again, free(&text)).unwrap();
    let output = binary()
        .args(["run", "--config"])
        .arg(&again)
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("in use by process") && said.contains("storage.path"),
        "{said}"
    );
}

#[test]
fn the_node_ends_with_the_process_that_started_it() {
    let running = Running::start();
    let node = running.node_pid();
    kill_process(running.dev_pid(), Signal::KILL).unwrap();
    until(Duration::from_secs(30), "the node ends", || {
        (!is_alive(node)).then_some(())
    });
}

#[test]
fn a_dead_node_is_reported_and_with_restart_started_again() {
    let owned = tempfile::tempdir().unwrap();
    let directory = owned.path().join("dev");
    let running = Running::start_in(
        &directory,
        &["--nodes", "1", "--base-port", "0", "--restart"],
    );
    let first = running.node_pid();
    kill_process(first, Signal::KILL).unwrap();
    let second = until(START, "another process id", || {
        let pid = running.nodes()[0]["pid"].as_u64()?;
        (pid != u64::from(first.as_raw_nonzero().get().cast_unsigned())).then_some(pid)
    });
    assert!(second > 0);
    let errors = std::fs::read_to_string(directory.with_extension("err")).unwrap();
    assert!(
        errors.contains("node 1 ended") && errors.contains("node 1 started again"),
        "{errors}"
    );
}

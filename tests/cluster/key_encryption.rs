//! The key-encryption key: changed while the cluster runs, in a hardware module, from a passphrase.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hessra_tests::{Cli, Cluster, Layout, binary, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const ACTOR: &str = "urn:hessra:gateway";

fn keys(cli: &Cli) -> Vec<Value> {
    let list = cli.run(["keys", "list", "-o", "json"]).done().json();
    list["keys"].as_array().expect("keys").clone()
}

fn token(cluster: &Cluster) -> String {
    let finished = cluster
        .person("gateway")
        .run(["identity", "authenticate", "--token-only"])
        .done();
    finished.stdout().trim().to_owned()
}

fn kek_of(cluster: &Cluster, id: u64) -> String {
    let text = std::fs::read_to_string(&cluster.node(id).config).expect("read");
    let table: toml::Table = text.parse().expect("TOML");
    table["keys"]["kek"].as_str().expect("a source").to_owned()
}

fn keygen(path: &Path) {
    let made = Command::new(binary("hessra-node"))
        .arg("keygen")
        .arg(path)
        .status();
    assert!(made.expect("hessra-node can be run").success());
}

#[test]
fn the_key_encryption_key_changes_and_signing_keys_do_not() {
    let mut cluster = Cluster::start("orders-rewrapped");
    let operator = cluster.operator();
    let before = keys(&operator);
    let old = kek_of(&cluster, 1);
    let new = cluster.directory().join("kek2");
    keygen(&new);
    let set = |cluster: &Cluster, id: u64, kek: &str, previous: &str| {
        let path = &cluster.node(id).config;
        let text = std::fs::read_to_string(path).expect("read");
        let mut table: toml::Table = text.parse().expect("TOML");
        let keys = table["keys"].as_table_mut().expect("a section");
        keys.insert("kek".to_owned(), kek.into());
        keys.insert("kek_previous".to_owned(), previous.into());
        std::fs::write(path, table.to_string()).expect("written");
    };
    let new = format!("file:{}", new.display());
    for id in [1, 2] {
        cluster.stop(id);
        set(&cluster, id, &new, &old);
        cluster.start_node(id);
    }
    let at_the_first = operator
        .clone()
        .with("HESSRA_SERVER", &cluster.node(1).public);
    until("node 3 has not the new one", PATIENCE, || {
        let refused = at_the_first.run(["keys", "rewrap"]);
        (refused.code() == 7 && refused.stderr().contains("node 3")).then_some(())
    });
    cluster.stop(3);
    set(&cluster, 3, &new, &old);
    cluster.start_node(3);
    until("every member answers", PATIENCE, || {
        (operator.run(["keys", "rewrap"]).code() == 0).then_some(())
    });
    for id in [1, 2, 3] {
        cluster.stop(id);
        set(&cluster, id, &new, "");
        cluster.start_node(id);
    }
    let after = keys(&operator);
    let public = |keys: &[Value]| -> Vec<Value> {
        keys.iter().map(|key| key["public_key"].clone()).collect()
    };
    assert_eq!(public(&before), public(&after));
    assert_ne!(before[0]["kek"], after[0]["kek"]);
    let mut probe = cluster.probe("orders-rewrapped", &[1, 2, 3]);
    let token = token(&cluster);
    until("tokens are allowed", PATIENCE, || {
        (probe.check(&token, ACTOR).verdict == "allow").then_some(())
    });
}

/// A module of its own: a token `hessra` with an AES key `kek`, and the file that names it all to the module.
struct Module {
    directory: tempfile::TempDir,
}

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "246813579";

impl Module {
    /// Prepares a module; `None` where SoftHSM is not installed, unless this run must have it.
    fn new() -> Option<Self> {
        if !Path::new(MODULE).is_file() {
            let required = std::env::var("HESSRA_REQUIRE_SOFTHSM").is_ok_and(|set| set == "1");
            assert!(
                !required,
                "{MODULE} is missing. Install it: apt-get install softhsm2"
            );
            println!("skipped: SoftHSM is not installed (apt-get install softhsm2)");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let module = Self { directory };
        std::fs::create_dir(module.path("tokens")).expect("a directory");
        let settings = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            module.path("tokens").display()
        );
        std::fs::write(module.configuration(), settings).expect("written");
        std::fs::write(module.path("aes"), [0x5a; 32]).expect("written");
        module.secret("pin", PIN);
        module.secret("wrong-pin", "000000000");
        let token = ["--token", "hessra", "--pin", PIN];
        module.run(&[
            "--init-token",
            "--free",
            "--label",
            "hessra",
            "--so-pin",
            "1234567",
            "--pin",
            PIN,
        ]);
        let aes = module.path("aes").display().to_string();
        let import = ["--import", &aes, "--aes", "--label", "kek", "--id", "01"];
        module.run(&[&token[..], &import].concat());
        Some(module)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.path("softhsm2.conf")
    }

    fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path(name), text).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), private).expect("chmod");
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .expect("softhsm2-util is installed with the module");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "softhsm2-util {arguments:?}: {said}"
        );
    }

    fn source(&self, object: &str, pin: &str) -> String {
        let pin = self.path(pin);
        format!(
            "pkcs11:token=hessra;object={object}?module-path={MODULE}&pin-source=file:{}",
            pin.display()
        )
    }

    /// One node whose keys are sealed by this module.
    fn layout(&self, name: &'static str, object: &str, pin: &str) -> Layout {
        Layout::new(name)
            .nodes(1)
            .set("keys", "kek", self.source(object, pin))
            .environment("SOFTHSM2_CONF", self.configuration().display().to_string())
    }
}

#[test]
fn a_hardware_module_seals_keys_and_opens_them_after_a_restart() {
    let Some(module) = Module::new() else { return };
    let mut cluster = module.layout("orders-module", "kek", "pin").start();
    let operator = cluster.operator();
    let rotated = operator
        .run(["keys", "prepare", "-o", "json"])
        .done()
        .json();
    let id = rotated["id"].to_string();
    operator.run(["keys", "activate", &id, "--force"]).done();
    cluster.stop(1);
    cluster.start_node(1);
    let mut probe = cluster.probe("orders-module", &[1]);
    let token = token(&cluster);
    until("tokens are allowed", PATIENCE, || {
        (probe.check(&token, ACTOR).verdict == "allow").then_some(())
    });
}

#[test]
fn a_module_without_the_key_or_with_another_pin_stops_the_node_and_is_named() {
    let Some(module) = Module::new() else { return };
    for (object, pin, word) in [("kek", "wrong-pin", "PIN"), ("other", "pin", "no AES key")] {
        let mut cluster = module.layout("module_refused", object, pin).prepare();
        cluster.spawn(1);
        let (code, said) = cluster.wait_ended(1);
        assert_ne!(code, 0, "{said}");
        assert!(
            said.contains("token `hessra`") || said.contains("hessra"),
            "{said}"
        );
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{said}");
        assert!(
            !said.contains("000000000") && !said.contains(PIN),
            "no PIN is said"
        );
    }
}

#[test]
fn a_key_from_the_environment_and_one_from_a_credential_open_what_they_sealed() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("hessra-kek");
    keygen(&file);
    let key = std::fs::read_to_string(&file)
        .expect("a key")
        .trim()
        .to_owned();
    let mut cluster = Layout::new("credential")
        .nodes(1)
        .set("keys", "kek", "credential:hessra-kek")
        .environment(
            "CREDENTIALS_DIRECTORY",
            directory.path().display().to_string(),
        )
        .environment("HESSRA_KEK", key)
        .start();
    cluster.stop(1);
    let path = cluster.node(1).config.clone();
    let text = std::fs::read_to_string(&path).expect("read");
    let changed = text.replace("credential:hessra-kek", "env:HESSRA_KEK");
    assert_ne!(text, changed);
    std::fs::write(&path, changed).expect("written");
    cluster.start_node(1);
    assert!(
        !token(&cluster).is_empty(),
        "it is the same key from another place"
    );
}

//! Command line from outside: real processes, a home of their own, no cluster.
//!
//! Commands that need a cluster are tested in `tests/` of the workspace.

mod material;
mod offline;
mod policy;
mod surface;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A home directory and the command in it, without anything of the environment that runs the tests.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// End of a command.
pub(crate) struct Ended {
    /// Exit code.
    pub(crate) code: i32,
    /// Output that programs read.
    pub(crate) stdout: String,
    /// Output that people read.
    pub(crate) stderr: String,
}

impl Home {
    /// Home that is empty.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Path in the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the home.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    /// Writes a self-signed certificate as `ca.crt` and its key as `me.key`, mode 0600.
    pub(crate) fn write_certificate(&self) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        self.write("ca.crt", &made.cert.pem());
        let key = self.write("me.key", &made.signing_key.serialize_pem());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
    }

    /// Runs a command line, split at spaces.
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_with(&line.split_whitespace().collect::<Vec<_>>(), &[], "")
    }

    /// Runs with arguments as they are, further environment, and a text on stdin.
    pub(crate) fn run_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        stdin: &str,
    ) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hessra"))
            .args(arguments)
            .env_clear()
            .env("HESSRA_HOME", self.path("home"))
            .env("HOME", self.folder.path())
            .envs(environment.iter().copied())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        // A command that does not read its stdin may be gone already.
        let _ = child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(stdin.as_bytes());
        let output = child.wait_with_output().expect("the command ends");
        Ended {
            code: output.status.code().expect("ended by itself"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ended {
    /// Asserts the exit code, and shows what was said when it is another.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\nstdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The error object that programs get on stderr: its last line.
    pub(crate) fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        value["error"].clone()
    }
}

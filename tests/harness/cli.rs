//! The command `hessra`, run against a cluster as a person would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::binary;

/// A way to run `hessra`: whose certificate, against which nodes, with which home.
#[derive(Clone, Debug)]
pub struct Cli {
    environment: Vec<(String, String)>,
}

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    command: String,
    output: Output,
}

impl Cli {
    /// Command of `person` (a certificate of the cluster's directory), against these servers, with a home of its own.
    pub fn new(directory: &Path, person: &str, servers: &[String], home: PathBuf) -> Self {
        let file = |name: String| directory.join(name).display().to_string();
        let environment = vec![
            ("HESSRA_SERVER".to_owned(), servers.join(",")),
            ("HESSRA_CA".to_owned(), file("ca.crt".to_owned())),
            (
                "HESSRA_CERT".to_owned(),
                file(format!("clients/{person}.crt")),
            ),
            (
                "HESSRA_KEY".to_owned(),
                file(format!("clients/{person}.key")),
            ),
            ("HESSRA_HOME".to_owned(), home.display().to_string()),
        ];
        Self { environment }
    }

    /// Adds one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the command to its end.
    pub fn run<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        Self::ended(self.command(&arguments), &arguments)
    }

    /// Runs the command to its end, with its stdout somewhere else.
    pub fn run_into<S: AsRef<str>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        stdout: Stdio,
    ) -> Finished {
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let mut command = self.command(&arguments);
        command.stdout(stdout);
        Self::ended(command, &arguments)
    }

    fn ended(mut command: Command, arguments: &[String]) -> Finished {
        Finished {
            command: format!("hessra {}", arguments.join(" ")),
            output: command.output().expect("hessra can be run"),
        }
    }

    /// Starts the command and returns: the caller reads and ends it.
    pub fn start<S: AsRef<str>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> std::process::Child {
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let mut command = self.command(&arguments);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hessra can be run")
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(binary("hessra"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }
}

impl Finished {
    /// The exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    /// Result that the command printed.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Messages that the command printed for a person.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Asserts that the command exited with this code.
    ///
    /// # Panics
    /// With everything that it printed, when it did not.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "`{}` exited with {} instead of {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code(),
            self.stdout(),
            self.stderr()
        );
        self
    }

    /// Asserts that the command succeeded.
    pub fn done(self) -> Self {
        self.exits(0)
    }

    /// Result as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|error| {
            panic!(
                "`{}` printed no JSON ({error}): {}",
                self.command,
                self.stdout()
            )
        })
    }
}

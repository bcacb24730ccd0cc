//! A verifier in a process of its own: the SDK's example `verifier_probe`, driven line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::binary;

/// Time limit of an answer: after it the probe hangs.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Credential that a verifier shows.
pub enum Proof {
    /// Nothing.
    Nothing,
    /// Certificate of this client of the cluster's directory.
    Certificate(&'static str),
    /// Identity token.
    Token(String),
}

impl Proof {
    fn show(&self, directory: &Path, command: &mut Command) {
        match self {
            Self::Nothing => command,
            Self::Certificate(name) => command
                .env("HESSRA_CERT", directory.join(format!("clients/{name}.crt")))
                .env("HESSRA_KEY", directory.join(format!("clients/{name}.key"))),
            Self::Token(token) => command.env("HESSRA_IDENTITY_TOKEN", token),
        };
    }

    /// Part of the name of the state directory: two processes under one id do not share one.
    fn suffix(&self) -> String {
        match self {
            Self::Certificate("verifier") => String::new(),
            Self::Certificate(name) => format!("-as-{name}"),
            Self::Nothing => "-as-nobody".to_owned(),
            Self::Token(_) => "-by-token".to_owned(),
        }
    }
}

/// A running verifier.
pub struct Probe {
    process: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
}

/// Answer of the verifier about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Verdict: `allow`, `deny` or `unknown`.
    pub verdict: String,
    /// Reason, when not allowed.
    pub reason: String,
    /// The revision it was decided at.
    pub revision: u64,
}

impl Probe {
    /// Follows `servers` under the name `id`, with its state in the cluster's directory.
    pub fn start(directory: &Path, id: &str, servers: &[String]) -> Self {
        Self::start_as(directory, id, &Proof::Certificate("verifier"), servers)
    }

    /// Follows `servers` under the name `id` beside another process that does, with a state of its own.
    pub fn replica(directory: &Path, id: &str, servers: &[String]) -> Self {
        let state = format!("verifier-{id}-replica");
        let proof = Proof::Certificate("verifier");
        Self::start_with(directory, (id, &state), &proof, servers)
    }

    /// Follows `servers` under the name `id`, with this proof of who it is.
    pub fn start_as(directory: &Path, id: &str, proof: &Proof, servers: &[String]) -> Self {
        let state = format!("verifier-{id}{}", proof.suffix());
        Self::start_with(directory, (id, &state), proof, servers)
    }

    fn start_with(
        directory: &Path,
        (id, state): (&str, &str),
        proof: &Proof,
        servers: &[String],
    ) -> Self {
        let mut command = Command::new(binary("examples/verifier_probe"));
        proof.show(directory, &mut command);
        let mut process = command
            .env("HESSRA_SERVER", servers.join(","))
            .env("HESSRA_CA", directory.join("ca.crt"))
            .env("HESSRA_VERIFIER_ID", id)
            .env("HESSRA_STATE_DIR", directory.join(state))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the probe can be run");
        let input = process.stdin.take().expect("stdin is a pipe");
        let output = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let value: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("probe: {error}: {line}"));
                // Events say what changed by itself; tests poll for conditions instead.
                if value.get("event").is_none() && sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            input,
            answers,
        }
    }

    /// Asks whether `token` is good for `actor`.
    pub fn check(&mut self, token: &str, actor: &str) -> Answer {
        let said = self.ask(&format!("check {token} {actor}"));
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        Answer {
            verdict: text("verdict"),
            reason: text("reason"),
            revision: said["revision"].as_u64().unwrap_or_default(),
        }
    }

    /// Stops as a service does: what is known is on disk afterwards.
    pub fn stop(mut self) {
        writeln!(self.input, "exit").expect("the probe reads");
        crate::until("the probe stops", ANSWER_MAX, || {
            self.process.try_wait().ok().flatten()
        });
    }

    /// The status of the verifier.
    pub fn status(&mut self) -> Value {
        self.ask("status")
    }

    /// Stops the process where it is (`SIGSTOP`): its streams stay open, and it takes and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        let pid = Pid::from_raw(pid).expect("a process id");
        kill_process(pid, signal).expect("the probe runs");
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.input, "{line}").expect("the probe reads");
        self.answers
            .recv_timeout(ANSWER_MAX)
            .expect("the probe answers")
    }

    /// Kills the probe (`kill -9`), as when its service dies.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end();
    }
}

//! A dev cluster of one node for a test: started, asked, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder, Identity, RequestBuilder, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest start. A busy machine builds other crates beside us.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster. Ends its processes when dropped.
pub(crate) struct Running {
    dev: Child,
    directory: PathBuf,
    // Removed after the processes have ended.
    _owned: Option<TempDir>,
}

/// The binary under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hessra-node"))
}

impl Running {
    /// A new cluster of one node in a directory of its own.
    pub(crate) fn start() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let directory = owned.path().join("dev");
        let mut running = Self::start_in(&directory, &["--nodes", "1", "--base-port", "0"]);
        running._owned = Some(owned);
        running
    }

    /// Starts `hessra-node dev --dir DIR ARGUMENTS`; returns when it is ready.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        let errors = directory.with_extension("err");
        let mut dev = binary()
            .arg("dev")
            .arg("--dir")
            .arg(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
        let running = Self {
            dev,
            directory: directory.into(),
            _owned: None,
        };
        // The first line of stdout is the promise; an end before it is the failure.
        match lines.next() {
            Some(Ok(line)) if line == "ready" => running,
            other => panic!(
                "not ready: {other:?}\n{}",
                std::fs::read_to_string(errors).unwrap_or_default()
            ),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn nodes(&self) -> Vec<Value> {
        serde_json::from_str(&std::fs::read_to_string(self.directory.join("nodes.json")).unwrap())
            .unwrap()
    }

    /// Log of the first node so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("node-1/node.log")).unwrap()
    }

    /// Address of the first node: its port `public`, `peer` or `ops`.
    pub(crate) fn address(&self, port: &str) -> String {
        self.nodes()[0][port].as_str().unwrap().to_owned()
    }

    pub(crate) fn node_pid(&self) -> Pid {
        pid(u32::try_from(self.nodes()[0]["pid"].as_u64().unwrap()).unwrap())
    }

    pub(crate) fn dev_pid(&self) -> Pid {
        pid(self.dev.id())
    }

    /// A client of the public port; `name`: whose certificate it shows.
    pub(crate) fn client(&self, name: Option<&str>) -> Client {
        let identity =
            name.map(|name| self.certificate(&self.directory.join("clients").join(name)));
        self.client_with(identity)
    }

    pub(crate) fn client_with(&self, identity: Option<Identity>) -> Client {
        match identity {
            Some(identity) => self.builder().identity(identity).build().unwrap(),
            None => self.builder().build().unwrap(),
        }
    }

    /// A builder of clients that trust this cluster's CA and no other.
    pub(crate) fn builder(&self) -> ClientBuilder {
        // Ignored when another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = std::fs::read(self.directory.join("ca.crt")).unwrap();
        Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .timeout(Duration::from_secs(20))
    }

    /// Client certificate from `PATH.crt` and `PATH.key`.
    pub(crate) fn certificate(&self, path: &Path) -> Identity {
        let mut pem = std::fs::read(path.with_extension("key")).unwrap();
        pem.extend(std::fs::read(path.with_extension("crt")).unwrap());
        Identity::from_pem(&pem).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address("public"))
    }

    /// Sends SIGTERM to the dev process; returns when it and its node have ended.
    pub(crate) fn stop(mut self) {
        let node = self.node_pid();
        kill_process(self.dev_pid(), Signal::TERM).unwrap();
        until(STOP_TIMEOUT, "dev ends", || self.dev.try_wait().unwrap());
        assert!(!is_alive(node), "the node outlived its dev process");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(self.dev_pid(), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT {
            if matches!(self.dev.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::yield_now();
        }
        let _ = self.dev.kill();
        let _ = self.dev.wait();
    }
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// True when there is such a process, and not only its remains.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z'))
}

/// Polls until there is a value.
pub(crate) fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Status and JSON body of the answer.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (
        status,
        serde_json::from_str(&response.text().await.unwrap()).unwrap(),
    )
}

/// Standard error on one line, without the frame that a terminal gets: its width is not what is tested.
pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace()
        .filter(|word| !matches!(*word, "│" | "×"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A cluster that lasts as long as one test needs it; shared by the tests that only ask.
pub(crate) fn shared() -> Arc<Running> {
    use std::sync::{Mutex, Weak};
    static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let running = Arc::new(Running::start());
        *shared = Arc::downgrade(&running);
        running
    })
}

/// Longest that a start may take.
pub(crate) const START: Duration = START_TIMEOUT;

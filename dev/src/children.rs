//! The node processes: started, watched, stopped.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::{join_all, select_all};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::error::DevError;
use crate::layout::Layout;

/// Time for a node to stop: it hands leadership over and ends its streams in well under a second; after ten it hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks at `/readyz` while starting.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time for one look.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before a restart: a node that dies at once must not be started in a loop without one.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are shown of the end of a dead node's log.
const TAIL_BYTES: u64 = 2_000;

/// Ends this process, a child, by SIGTERM when the process that started it ends.
///
/// # Errors
/// The parent is gone already, or the system does not offer it.
pub fn watch_parent(parent: u32) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have died before the line above: then no signal comes.
    let still_there = getppid().is_some_and(|pid| pid.as_raw_pid().unsigned_abs() == parent);
    if still_there {
        Ok(())
    } else {
        Err(std::io::Error::other(
            "the process that started this one is gone",
        ))
    }
}

pub(crate) struct Children {
    layout: Layout,
    restart: bool,
    /// Processes in the order of `layout.nodes`; `None` once it ended and is not started again.
    running: Vec<Option<Child>>,
}

impl Children {
    pub(crate) fn start(layout: Layout, restart: bool) -> Result<Self, DevError> {
        let running = (0..layout.nodes.len()).map(|_| None).collect();
        let mut children = Self {
            layout,
            restart,
            running,
        };
        for position in 0..children.running.len() {
            children.start_one(position)?;
        }
        children.layout.save()?;
        Ok(children)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_one(&mut self, position: usize) -> Result<(), DevError> {
        let id = self.layout.nodes[position].id;
        let directory = self.layout.node_directory(id);
        let failed = |reason: std::io::Error| DevError::Start {
            id,
            reason: reason.to_string(),
        };
        let log = directory.join("node.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .map_err(failed)?;
        let child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["run", "--config"])
            .arg(directory.join("node.toml"))
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C goes to the terminal's whole group: the nodes are to be stopped in order, by this process.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.layout.nodes[position].pid = child.id();
        self.running[position] = Some(child);
        Ok(())
    }

    /// Returns when every node says that it is ready.
    pub(crate) async fn until_ready(&mut self, limit: Duration) -> Result<(), DevError> {
        let started = Instant::now();
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| DevError::Ports(error.to_string()))?;
        loop {
            self.refuse_the_dead()?;
            let answers = join_all(
                self.layout
                    .nodes
                    .iter()
                    .map(|node| why_not_ready(&node.ops)),
            )
            .await;
            let missing: Vec<String> = self
                .layout
                .nodes
                .iter()
                .zip(answers)
                .filter_map(|(node, answer)| Some(format!("node {}: {}", node.id, answer?)))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let not_ready = || DevError::NotReady {
                waited: started.elapsed(),
                reasons: missing.join("; "),
                directory: self.layout.directory.clone(),
            };
            if started.elapsed() > limit {
                return Err(not_ready());
            }
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                _ = terminate.recv() => return Err(not_ready()),
                _ = tokio::signal::ctrl_c() => return Err(not_ready()),
            }
        }
    }

    fn refuse_the_dead(&mut self) -> Result<(), DevError> {
        for (node, child) in self.layout.nodes.iter().zip(&mut self.running) {
            let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) else {
                continue;
            };
            let log = self.layout.node_directory(node.id).join("node.log");
            return Err(DevError::Died {
                id: node.id,
                status: status.to_string(),
                tail: tail(&log),
                log,
            });
        }
        Ok(())
    }

    /// Watches until a signal asks to stop, then stops all.
    pub(crate) async fn until_stopped(&mut self) {
        let (Ok(mut terminate), Ok(mut hang_up)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) else {
            return self.stop().await;
        };
        loop {
            tokio::select! {
                (position, status) = next_death(&mut self.running) => self.report(position, &status).await,
                _ = terminate.recv() => break,
                _ = hang_up.recv() => break,
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        eprintln!("hessra dev: stopping");
        self.stop().await;
    }

    async fn report(&mut self, position: usize, status: &std::io::Result<ExitStatus>) {
        let id = self.layout.nodes[position].id;
        let status = status
            .as_ref()
            .map_or_else(ToString::to_string, ToString::to_string);
        let directory = self.layout.node_directory(id);
        eprintln!(
            "hessra dev: node {id} ended ({status}). Its log: {}/node.log",
            directory.display()
        );
        self.running[position] = None;
        self.layout.nodes[position].pid = None;
        if self.restart {
            sleep(RESTART_PAUSE).await;
            match self.start_one(position) {
                Ok(()) => eprintln!("hessra dev: node {id} started again"),
                Err(error) => eprintln!("hessra dev: {error}"),
            }
        } else {
            eprintln!(
                "hessra dev: start it again: hessra-node run --config {}/node.toml",
                directory.display()
            );
        }
        if let Err(error) = self.layout.save() {
            eprintln!("hessra dev: {error}");
        }
    }

    /// Stops all: SIGTERM to each, SIGKILL to those that are left after [`STOP_TIMEOUT`].
    pub(crate) async fn stop(&mut self) {
        for child in self.running.iter().flatten() {
            if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        join_all(self.running.iter_mut().flatten().map(end)).await;
        for node in &mut self.layout.nodes {
            node.pid = None;
        }
        if let Err(error) = self.layout.save() {
            eprintln!("hessra dev: {error}");
        }
    }
}

async fn end(child: &mut Child) {
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// The next child that ends; never returns while none runs.
async fn next_death(running: &mut [Option<Child>]) -> (usize, std::io::Result<ExitStatus>) {
    let waits: Vec<_> = running
        .iter_mut()
        .enumerate()
        .filter_map(|(position, child)| Some((position, child.as_mut()?)))
        .map(|(position, child)| Box::pin(async move { (position, child.wait().await) }))
        .collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    select_all(waits).await.0
}

/// Reason why a node is not ready; `None` when it is.
async fn why_not_ready(operations: &str) -> Option<String> {
    match timeout(POLL_TIMEOUT, ask(operations)).await {
        Ok(Ok(reasons)) if reasons.is_empty() => None,
        Ok(Ok(reasons)) => Some(reasons.join(", ")),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer from its operations listener".to_owned()),
    }
}

#[derive(Deserialize)]
struct Answer {
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

/// Asks `GET /readyz`, by HTTP/1.0, so that the answer ends with the connection.
async fn ask(operations: &str) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(operations).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let answer: Answer = serde_json::from_str(body)?;
    Ok(answer
        .reasons
        .into_iter()
        .map(|reason| reason.message)
        .collect())
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

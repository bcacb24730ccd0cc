//! Profile of the CPU time inside the processes: perf, in a turn of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::failure::BenchError;

/// Rows that are worth reading.
const ROWS_MAX: usize = 30;
/// Samples per second of CPU: enough for one per cent in a turn of five seconds, and little to disturb.
const FREQUENCY: &str = "397";

/// Running perf, which records while the value lives.
pub(crate) struct Recording {
    perf: Child,
    output: std::path::PathBuf,
}

/// True when perf can be run.
pub(crate) fn available() -> bool {
    let version = Command::new("perf")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

impl Recording {
    /// Records every member for `duration`.
    ///
    /// # Errors
    /// perf cannot be started.
    pub(crate) fn start(
        cluster: &Cluster,
        directory: &Path,
        duration: Duration,
    ) -> Result<Self, BenchError> {
        let output = directory.join(format!("perf-{}.data", cluster.side));
        let ids: Vec<String> = cluster
            .members
            .iter()
            .map(|member| member.process.id().to_string())
            .collect();
        let mut command = Command::new("perf");
        command
            .args(["record", "-q", "-F", FREQUENCY, "-p", &ids.join(","), "-o"])
            .arg(&output);
        command.args(["--", "sleep", &duration.as_secs().to_string()]);
        let perf = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let perf =
            perf.map_err(|error| BenchError::Tool(format!("perf cannot be started: {error}")))?;
        Ok(Self { perf, output })
    }

    /// The functions that most of the time was spent in, a line each.
    ///
    /// # Errors
    /// perf recorded nothing: it may need root.
    pub(crate) fn report(mut self) -> Result<Vec<String>, BenchError> {
        let _ = self.perf.wait();
        let mut command = Command::new("perf");
        command.args([
            "report",
            "--stdio",
            "-q",
            "--no-children",
            "--sort",
            "comm,dso,symbol",
            "-i",
        ]);
        let output = command.arg(&self.output).stdin(Stdio::null()).output();
        let output = output.map_err(|error| BenchError::Tool(format!("perf report: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows = text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains('%') && !line.contains("] 0x"));
        let rows: Vec<String> = rows.take(ROWS_MAX).map(str::to_owned).collect();
        if rows.is_empty() {
            return Err(BenchError::Tool(
                "perf recorded nothing. Run as root to profile".to_owned(),
            ));
        }
        Ok(rows)
    }
}

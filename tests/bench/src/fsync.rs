//! Syncs of one write, each a wait for the disk: system calls counted by strace, in a turn of their own.
//!
//! strace stops a process at every system call, so the rate of that turn means nothing; how many calls one write needs
//! does. Slower processes coalesce more, so the count is a lower bound of that at full speed.

pub(crate) mod series;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::failure::BenchError;

/// System calls that make data durable, or claim to.
const CALLS: &str = "fsync,fdatasync,sync_file_range,msync";
/// Time for strace to attach to some dozens of threads.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

/// Running strace, which counts while the value lives.
pub(crate) struct Counting(Attached);

/// Running strace, which writes down every call while the value lives.
pub(crate) struct Tracing(Attached);

/// strace, attached to every member.
struct Attached {
    strace: Child,
    output: PathBuf,
}

/// Calls of all members together, by name.
pub(crate) type Counts = Vec<(String, u64)>;

/// True when strace can be run.
pub(crate) fn available() -> bool {
    let version = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

impl Counting {
    /// Attaches to every member.
    ///
    /// # Errors
    /// strace may not: it needs root, or a kernel that lets a process trace its siblings.
    pub(crate) fn start(cluster: &Cluster, directory: &Path) -> Result<Self, BenchError> {
        Attached::start(cluster, directory, &["-c"]).map(Self)
    }

    /// Detaches and counts.
    ///
    /// # Errors
    /// strace left no summary.
    pub(crate) fn stop(self) -> Result<Counts, BenchError> {
        self.0.stop().map(|text| summary(&text))
    }
}

impl Tracing {
    /// Attaches to every member.
    ///
    /// # Errors
    /// As [`Counting::start`].
    pub(crate) fn start(cluster: &Cluster, directory: &Path) -> Result<Self, BenchError> {
        Attached::start(cluster, directory, &["-ttt", "-T"]).map(Self)
    }

    /// Detaches; the calls as strace writes them: instant in Unix seconds, call, seconds that it took.
    ///
    /// # Errors
    /// strace left no trace.
    pub(crate) fn stop(self) -> Result<String, BenchError> {
        self.0.stop()
    }
}

impl Attached {
    fn start(cluster: &Cluster, directory: &Path, how: &[&str]) -> Result<Self, BenchError> {
        let output = directory.join(format!("strace-{}.txt", cluster.side));
        let mut command = Command::new("strace");
        command
            .arg("-f")
            .args(how)
            .args(["-e", &format!("trace={CALLS}"), "-o"])
            .arg(&output);
        for member in &cluster.members {
            command.args(["-p", &member.process.id().to_string()]);
        }
        let strace = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let strace = strace
            .map_err(|error| BenchError::Tool(format!("strace cannot be started: {error}")))?;
        let mut attached = Self { strace, output };
        attached.until_attached(cluster)?;
        Ok(attached)
    }

    fn until_attached(&mut self, cluster: &Cluster) -> Result<(), BenchError> {
        let began = Instant::now();
        while !cluster
            .members
            .iter()
            .all(|member| is_traced(member.process.id()))
        {
            let ended = self.strace.try_wait().is_ok_and(|status| status.is_some());
            if ended || began.elapsed() > ATTACH_TIMEOUT {
                return Err(BenchError::Tool(
                    "strace cannot attach. Run as root to count system calls".to_owned(),
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn stop(mut self) -> Result<String, BenchError> {
        // A process that strace lets go of on SIGINT runs on; one whose strace was killed may stay stopped.
        let id = i32::try_from(self.strace.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        }
        let _ = self.strace.wait();
        std::fs::read_to_string(&self.output)
            .map_err(|error| BenchError::file(&self.output, &error))
    }
}

fn is_traced(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

/// Counts by call, from lines `% time  seconds  usecs/call  calls  [errors]  syscall`, under a rule and above a total.
fn summary(text: &str) -> Counts {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let calls = rows.filter_map(|fields| {
        let name = *fields.last()?;
        let count = fields.get(3)?.parse().ok()?;
        CALLS
            .split(',')
            .any(|known| known == name)
            .then(|| (name.to_owned(), count))
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_strace_is_read_with_and_without_errors() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 80.00    0.800000         400      2000           fdatasync
 20.00    0.200000         400       500         3 sync_file_range
------ ----------- ----------- --------- --------- ----------------
100.00    1.000000         400      2500         3 total
";
        let expected = vec![
            ("fdatasync".to_owned(), 2000),
            ("sync_file_range".to_owned(), 500),
        ];
        assert_eq!(summary(text), expected);
    }
}

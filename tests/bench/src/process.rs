//! The processes under measurement: started, sampled from `/proc`, and ended with the run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::BenchError;

/// One process that this run started. Ends with the value.
pub(crate) struct Process {
    /// Name: `hessra 1`, `etcd 3`, …
    pub name: String,
    /// Path of its log.
    pub log: PathBuf,
    child: Child,
}

/// Resources that a process has used so far, and holds now (proc(5)).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU seconds in user mode.
    pub user: f64,
    /// CPU seconds in the kernel.
    pub system: f64,
    /// Bytes of resident memory, now.
    pub resident: u64,
}

impl Process {
    /// Starts a process with its output in `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        name: String,
        command: &mut Command,
        log: &Path,
    ) -> Result<Self, BenchError> {
        let output = File::create(log).map_err(|error| BenchError::file(log, &error))?;
        let errors = output
            .try_clone()
            .map_err(|error| BenchError::file(log, &error))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        let child = child.map_err(|error| BenchError::Start {
            what: name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            name,
            log: log.to_owned(),
            child,
        })
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the process still runs.
    ///
    /// # Errors
    /// It has ended: the error has the end of its log.
    pub(crate) fn alive(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(BenchError::Ended {
                what: self.name.clone(),
                status: status.to_string(),
                log: tail(&self.log),
            }),
            Err(error) => Err(BenchError::Start {
                what: self.name.clone(),
                reason: error.to_string(),
            }),
        }
    }

    /// Resources used so far.
    pub(crate) fn usage(&self) -> Usage {
        usage(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resources used so far by this process, the clients of both sides.
pub(crate) fn own_usage() -> Usage {
    usage("self")
}

/// Resources used by a process; zeroes when it is gone: the turn then fails for another reason, which says more.
fn usage(id: &str) -> Usage {
    let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let (stat, statm) = (read("stat"), read("statm"));
    // Field 2 is the program's name in parentheses and may hold spaces: what follows it starts at field 3.
    let after_name: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let seconds = |field: usize| {
        let ticks: f64 = after_name
            .get(field - 3)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        ticks / rustix::param::clock_ticks_per_second() as f64
    };
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    Usage {
        user: seconds(14),
        system: seconds(15),
        resident: pages * rustix::param::page_size() as u64,
    }
}

impl Usage {
    /// Usage since `before`; memory as it is now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            resident: self.resident,
        }
    }

    /// CPU seconds of both kinds.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_use_time_and_memory() {
        let before = own_usage();
        let began = std::time::Instant::now();
        let mut sum = 0_u64;
        while began.elapsed().as_millis() < 100 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let used = own_usage().since(before);
        assert!(used.cpu() > 0.0 && used.resident > 1024 * 1024, "{used:?}");
    }

    #[test]
    fn a_process_that_ended_is_reported_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo why it ended; exit 3"]);
        let mut process =
            Process::start("sh".into(), &mut command, &folder.path().join("log")).expect("started");
        let error = loop {
            if let Err(error) = process.alive() {
                break error.to_string();
            }
        };
        assert!(
            error.contains("why it ended") && error.contains('3'),
            "{error}"
        );
    }
}

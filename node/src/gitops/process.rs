//! Runs a foreign program so that it cannot do more than asked: without our environment, in bounded time and memory, with
//! bounded files and output, and with everything that it started gone when it is over.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// Bytes that are kept of what the program says on stderr, for the log.
const COMPLAINT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a block of `ulimit -f`, as POSIX has it.
const BLOCK: u64 = 512;
/// Bytes of the unit of `ulimit -v`.
const KIBIBYTE: u64 = 1_024;
/// Search path of programs when this process has none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Limits of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    /// Bytes of each file that it writes.
    pub(super) file_bytes: u64,
    /// Bytes of address space of each process (`RLIMIT_AS`).
    pub(super) memory_bytes: u64,
    /// Bytes of what it prints.
    pub(super) output_bytes: usize,
}

/// Outcome of a run.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) success: bool,
    /// Exit code; `None` = it was killed.
    pub(super) code: Option<i32>,
    pub(super) output: Vec<u8>,
    /// The last line of its stderr that says something, made printable.
    pub(super) complaint: String,
}

/// Error of a run that could not start, or did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RunError {
    #[error("`{0}` cannot be started: {1}. Install it on this machine")]
    Start(&'static str, String),
    #[error("`{0}` took longer than {1:?} and was ended")]
    Time(&'static str, Duration),
    #[error("`{0}` printed more than {1} bytes and was ended")]
    Output(&'static str, usize),
}

/// A program, and what it is given.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) program: &'static str,
    pub(super) arguments: &'a [String],
    /// Its environment, and no other.
    pub(super) environment: &'a [(&'static str, String)],
    /// The folder that it runs in.
    pub(super) folder: &'a Path,
    /// The file that it reads from; `None` = nothing.
    pub(super) input: Option<File>,
}

/// Runs a program within bounds.
pub(super) async fn run(asked: Run<'_>, bounds: Bounds) -> Result<Ended, RunError> {
    let Run {
        program,
        arguments,
        environment,
        folder,
        input,
    } = asked;
    // The shell sets the limits and becomes the program: a limit cannot be set between fork and exec from safe code.
    let script = "ulimit -f \"$1\" && ulimit -v \"$2\" && shift 2 && exec \"$@\"";
    let blocks = bounds.file_bytes.div_ceil(BLOCK).to_string();
    let kibibytes = bounds.memory_bytes.div_ceil(KIBIBYTE).to_string();
    let path = std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    let child = Command::new("/bin/sh")
        .args(["-c", script, "sh", &blocks, &kibibytes, program])
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| RunError::Start(program, error.to_string()))?;
    // Dropped at the end of this function, and when nobody waits for it any more.
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (output, complaint) = tokio::join!(
            read(stdout, bounds.output_bytes + 1),
            read_end(stderr, COMPLAINT_BYTES_MAX)
        );
        if output.len() > bounds.output_bytes {
            return Err(RunError::Output(program, bounds.output_bytes));
        }
        let status = child.wait().await;
        let status = status.map_err(|error| RunError::Start(program, error.to_string()))?;
        // Its number may be another's from now on.
        group.0 = None;
        Ok(Ended {
            success: status.success(),
            code: status.code(),
            output,
            complaint: last_line(&complaint),
        })
    };
    timeout(bounds.time, ended)
        .await
        .unwrap_or(Err(RunError::Time(program, bounds.time)))
}

/// The processes that were started, all of them: ssh and the like must not outlive what started them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Gone already is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads up to `most` bytes, then closes the pipe. A pipe that breaks has ended.
async fn read(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let mut bounded = pipe.take(most as u64);
        let _ = bounded.read_to_end(&mut bytes).await;
    }
    bytes
}

/// Reads all of it, so that the writer is never held up; keeps the last `most` bytes.
async fn read_end(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut end = Vec::new();
    let Some(mut pipe) = pipe else {
        return end;
    };
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        end.extend_from_slice(&chunk[..length]);
        end.drain(..end.len().saturating_sub(most));
    }
    end
}

fn last_line(bytes: &[u8]) -> String {
    /// Characters that fit a log line.
    const MOST: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let printable = line.unwrap_or_default().trim().chars();
    printable
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        time: Duration::from_secs(20),
        file_bytes: 4096,
        memory_bytes: 256 << 20,
        output_bytes: 1000,
    };

    async fn shell(script: &str, bounds: Bounds) -> Result<Ended, RunError> {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let asked = Run {
            program: "sh",
            arguments: &arguments,
            environment: &[("GIVEN", "1".to_owned())],
            folder: folder.path(),
            input: None,
        };
        run(asked, bounds).await
    }

    #[tokio::test]
    async fn what_needs_more_memory_than_it_may_is_ended_with_all_that_it_started() {
        // `tail` keeps a line until it ends.
        let hungry = |bytes: u64| format!("head -c {bytes} /dev/zero | tail -n 1 > /dev/null");
        assert!(shell(&hungry(1 << 20), BOUNDS).await.unwrap().success);
        let ended = shell(&hungry(600 << 20), BOUNDS).await.unwrap();
        assert!(!ended.success, "{ended:?}");
    }

    #[tokio::test]
    async fn a_program_sees_the_environment_that_it_is_given_and_no_other() {
        let ended = shell("env | cut -d= -f1 | sort", BOUNDS).await.unwrap();
        let names = String::from_utf8(ended.output).unwrap();
        let ours = ["GIVEN", "LC_ALL", "PATH"];
        // Shells set some themselves.
        let foreign = |name: &&str| {
            !ours.contains(name) && !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_")
        };
        assert_eq!(names.lines().filter(foreign).count(), 0, "{names}");
        assert!(ours.iter().all(|name| names.contains(name)), "{names}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_everything_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", mark.display());
        let running = shell(
            &script,
            Bounds {
                time: Duration::from_secs(2),
                ..BOUNDS
            },
        );
        assert!(matches!(running.await, Err(RunError::Time("sh", _))));
        let started: i32 = std::fs::read_to_string(&mark)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // Killed it is a zombie at most, until the process that inherits it looks.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{started}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_writes_or_prints_too_much_is_ended() {
        let ended = shell(
            "dd if=/dev/zero of=large bs=1k count=64 2>/dev/null",
            BOUNDS,
        )
        .await
        .unwrap();
        assert!(!ended.success);
        let printing = shell("yes", BOUNDS).await;
        assert_eq!(printing.unwrap_err(), RunError::Output("sh", 1000));
        let complaining = shell("yes | head -c 100000 >&2; echo the end >&2; exit 3", BOUNDS);
        let ended = complaining.await.unwrap();
        assert_eq!((ended.code, ended.complaint.as_str()), (Some(3), "the end"));
    }

    #[test]
    fn a_complaint_is_one_printable_line() {
        assert_eq!(last_line(b"first\nfatal: \x1b[31mno\n\n"), "fatal:  [31mno");
        assert_eq!(last_line(b""), "");
    }
}

//! On what it ran: figures of a busy machine say so.

use std::fs;

/// Cores, memory, kernel and file system of `directory`, on one line.
pub fn description(directory: &std::path::Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let build = if cfg!(debug_assertions) {
        "DEBUG BUILD: figures mean nothing"
    } else {
        "release build"
    };
    let (memory, kernel, directory) = (
        kibibytes / (1024 * 1024),
        kernel.trim(),
        directory.display(),
    );
    format!("{cores} cores, {memory} GiB, Linux {kernel}, data below {directory}, {build}")
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

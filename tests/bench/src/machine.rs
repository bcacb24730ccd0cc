//! Machine that a run was on: figures of a busy machine say so.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Cores, memory, kernel and file system of `directory`, on one line.
pub(crate) fn description(directory: &Path) -> String {
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

/// Bytes that reached the block device under `directory` so far, from any process (iostats.rst of the kernel, field 7);
/// `None` where there is no such device. The count that the kernel keeps per process, `write_bytes`, is no measure: a
/// small write into a large folio of the page cache counts as the whole folio.
pub(crate) fn written(directory: &Path) -> Option<u64> {
    const SECTOR_BYTES: u64 = 512;
    let device = fs::metadata(directory).ok()?.dev();
    let device =
        [rustix::fs::major(device), rustix::fs::minor(device)].map(|part| part.to_string());
    let table = fs::read_to_string("/proc/diskstats").ok()?;
    let sectors = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(..2)? == device;
        is_it.then(|| fields.get(9)?.parse::<u64>().ok())?
    });
    sectors.map(|sectors| sectors * SECTOR_BYTES)
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

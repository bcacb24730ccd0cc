//! Filesystems on images of their own, which can be shut down under a writer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` have one number (fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h).
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// Flag of a shutdown after which nothing is written any more, not even the journal: what a power cut does.
const NO_LOG_FLUSH: u32 = 2;
/// The least that xfs takes is 300 MB; the file is sparse.
const IMAGE_BYTES: u64 = 512 * 1024 * 1024;

/// A mounted filesystem in a file.
pub(crate) struct Filesystem {
    directory: TempDir,
}

impl Filesystem {
    /// Kinds that this machine can make.
    pub(crate) fn kinds() -> Vec<&'static str> {
        ["ext4", "xfs"]
            .into_iter()
            .filter(|kind| runs(Command::new(format!("mkfs.{kind}")).arg("-V")))
            .collect()
    }

    /// Makes and mounts a filesystem of this kind.
    ///
    /// # Errors
    /// The command that did not work: loop devices may be missing in a container.
    pub(crate) fn make(kind: &str) -> Result<Self, String> {
        let filesystem = Self {
            directory: TempDir::new().unwrap(),
        };
        let image = filesystem.image();
        File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        fs::create_dir(filesystem.path()).unwrap();
        let quiet = if kind == "ext4" {
            vec!["-q", "-F"]
        } else {
            vec!["-q"]
        };
        run(Command::new(format!("mkfs.{kind}")).args(quiet).arg(&image))?;
        filesystem.mount()?;
        Ok(filesystem)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.path()))
    }

    pub(crate) fn unmount(&self) -> Result<(), String> {
        // The process that was writing may need a moment to be gone.
        let attempts = (0..100).map(|_| run(Command::new("umount").arg(self.path())));
        let mut last = Ok(());
        for attempt in attempts {
            last = attempt;
            if last.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        last
    }

    /// Cuts the power: from now on nothing reaches the disk, and what was not there yet is lost.
    #[allow(unsafe_code)]
    pub(crate) fn shut_down(&self) {
        let root = File::open(self.path()).unwrap();
        // The kernel asks for root, and for this number on this filesystem.
        // SAFETY: this opcode of ext4 and xfs reads one u32 through the pointer, which is what the setter passes.
        unsafe {
            rustix::ioctl::ioctl(
                &root,
                rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH),
            )
        }
        .unwrap();
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

/// Memory as a filesystem of a fixed size.
pub(crate) struct Tmpfs(TempDir);

impl Tmpfs {
    pub(crate) fn make(mebibytes: u32) -> Result<Self, String> {
        let directory = TempDir::new().unwrap();
        let size = format!("size={mebibytes}m");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "hessra-test"])
            .arg(directory.path()))?;
        Ok(Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn resize(&self, mebibytes: u32) {
        run(Command::new("mount")
            .args(["-o", &format!("remount,size={mebibytes}m")])
            .arg(self.path()))
        .unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

/// Reason for which tests that need root cannot run here, if they cannot.
pub(crate) fn cannot_mount() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it mounts filesystems, which needs root".to_owned());
    }
    Tmpfs::make(1).err()
}

fn runs(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

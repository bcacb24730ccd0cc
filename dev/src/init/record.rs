//! Record of a cluster's files, `cluster.json`: which ids were given, so that none is given twice.

use std::fs::File;
use std::path::{Path, PathBuf};

use hessra_files::{FileError, Mode, Writers};
use serde::{Deserialize, Serialize};

use super::error::InitError;
use super::plan::{Machine, OperatorName};

/// Name of the file.
const FILE: &str = "cluster.json";

/// Cluster, as its directory knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub cluster: String,
    /// Every node that there ever was, in the order in which they came.
    pub nodes: Vec<Machine>,
    pub operators: Vec<OperatorName>,
}

impl Record {
    /// Reads the record of a directory.
    pub(crate) fn read(directory: &Path) -> Result<Self, InitError> {
        let path = directory.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(InitError::NoCluster {
                    directory: directory.into(),
                });
            }
            Err(error) => return Err(InitError::file(&path, &error)),
        };
        serde_json::from_str(&text).map_err(|error| InitError::File {
            path,
            reason: format!("not the record of a cluster: {error}"),
        })
    }

    /// Writes the record in one step.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), InitError> {
        let path = directory.join(FILE);
        let text = serde_json::to_string_pretty(self).expect("a record is plain text and numbers");
        let written = hessra_files::replace(
            &path,
            format!("{text}\n").as_bytes(),
            Mode::Readable,
            Writers::One,
        );
        written.map_err(|FileError { source, .. }| InitError::file(&path, &source))
    }

    /// Checks that an id was never given.
    pub(crate) fn is_new(&self, machine: &Machine) -> Result<(), InitError> {
        let ids = || self.nodes.iter().map(|node| node.id);
        if ids().all(|id| id != machine.id) {
            return Ok(());
        }
        Err(InitError::UsedId {
            id: machine.id,
            cluster: self.cluster.clone(),
            free: ids().max().unwrap_or(0).saturating_add(1),
        })
    }
}

/// Holds a directory for this process, until it is dropped.
pub(crate) struct Held(#[allow(dead_code, reason = "the lock is the open file")] File);

/// Holds a directory that has a record.
pub(crate) fn hold(directory: &Path) -> Result<Held, InitError> {
    let path: PathBuf = directory.to_owned();
    let folder = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => InitError::NoCluster {
            directory: path.clone(),
        },
        _ => InitError::file(&path, &error),
    })?;
    match folder.try_lock() {
        Ok(()) => Ok(Held(folder)),
        Err(std::fs::TryLockError::WouldBlock) => Err(InitError::InUse { directory: path }),
        Err(std::fs::TryLockError::Error(error)) => Err(InitError::file(&path, &error)),
    }
}

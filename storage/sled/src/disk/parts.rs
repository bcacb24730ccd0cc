//! Parts of a data directory: `IDENTITY`, `MARK` and `sled/`, and whether they were made together.
//!
//! Each part alone can be whole and say nothing about the others: sled of one directory and `MARK` of another would
//! together let a node start without what it acknowledged. All three carry the directory's id, and a directory that was
//! finished once has all three. What is gone or foreign is named, because putting it back is better than a new node.

use std::fs;

use super::derived;
use super::directory::Directory;
use super::high_water;
use super::identity::{self, Claim, Identity};
use super::seal::{DirectoryId, Seal};
use crate::StoreError;

const DATA: &str = "sled/db";

/// Parts as they are on disk.
pub(super) struct Parts {
    claim: Option<Claim>,
    marked: Option<Seal>,
    has_data: bool,
}

impl Parts {
    /// Looks at the parts, and checks them as far as that is possible before sled is opened.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], [`StoreError::Mixed`], [`StoreError::Incomplete`]; what reading the files answers.
    pub(super) fn look(
        directory: &Directory,
        owner: Option<&Identity>,
    ) -> Result<Self, StoreError> {
        let claim = Claim::read(directory)?;
        let is_made = claim.as_ref().is_some_and(|claim| claim.is_made);
        let parts = Self {
            marked: high_water::read(directory, !is_made)?,
            has_data: directory.data_path().exists(),
            claim,
        };
        if let (Some(claim), Some(marked)) = (&parts.claim, parts.marked) {
            same(
                directory,
                (identity::FILE, claim.id),
                (high_water::FILE, marked.id),
            )?;
        }
        match (&parts.claim, owner) {
            (Some(claim), Some(owner)) if claim.owner != *owner => {
                return Err(StoreError::Foreign {
                    path: directory.path().to_owned(),
                    found: claim.owner.to_string(),
                    expected: owner.to_string(),
                });
            }
            (Some(claim), _) if claim.is_made => parts.all(directory)?,
            (Some(_), _) => parts.nothing_acknowledged(directory, parts.marked)?,
            // A tool makes directories without an owner: its `MARK` is the last part.
            (None, None) if parts.marked.is_some() && !parts.has_data => {
                return Err(parts.incomplete(directory, &[DATA]));
            }
            (None, None) => {}
            (None, Some(_)) if parts.marked.is_some() || has_traces(directory) => {
                return Err(parts.incomplete(directory, &parts.missing()));
            }
            (None, Some(_)) => {}
        }
        Ok(parts)
    }

    /// Begins a new directory with an owner: from now on it is known that it is not finished.
    pub(super) fn begin(
        &mut self,
        directory: &Directory,
        owner: Option<Identity>,
        new_id: DirectoryId,
    ) -> Result<(), StoreError> {
        if let (None, Some(owner)) = (&self.claim, owner) {
            let claim = Claim {
                owner,
                id: new_id,
                is_made: false,
            };
            claim.write(directory)?;
            self.claim = Some(claim);
        }
        Ok(())
    }

    /// Finishes a new directory: `MARK` and sled carry its id.
    pub(super) fn finish(self, directory: &Directory) -> Result<(), StoreError> {
        match self.claim {
            Some(claim) if !claim.is_made => Claim {
                is_made: true,
                ..claim
            }
            .write(directory),
            _ => Ok(()),
        }
    }

    /// Id of the directory, as far as the parts outside of sled say it.
    pub(super) fn id(&self) -> Option<DirectoryId> {
        let claimed = self.claim.as_ref().map(|claim| claim.id);
        claimed.or(self.marked.map(|seal| seal.id))
    }

    /// True when sled has a data file.
    pub(super) fn has_data(&self) -> bool {
        self.has_data
    }

    /// Checks what sled has against the other parts: it is of this directory, and nothing that was acknowledged is
    /// missing.
    ///
    /// # Errors
    /// [`StoreError::Mixed`], [`StoreError::Incomplete`], [`StoreError::Corrupt`].
    pub(super) fn check(
        &self,
        directory: &Directory,
        stored: Option<Seal>,
    ) -> Result<(), StoreError> {
        if let (Some(stored), Some(id)) = (stored, self.id()) {
            let other = if self.claim.is_some() {
                identity::FILE
            } else {
                high_water::FILE
            };
            same(directory, (other, id), (DATA, stored.id))?;
        }
        let Some(marked) = self.marked else {
            return self.nothing_acknowledged(directory, stored);
        };
        let reached = stored.map(|seal| seal.sequence);
        if reached >= Some(marked.sequence) {
            return Ok(());
        }
        let has = match reached {
            Some(reached) => format!("what was written up to flush {reached}"),
            None => "nothing of what was written".to_owned(),
        };
        let what = format!(
            "sled has {has}, but flush {} was acknowledged: the end of its file is damaged, or it is of an earlier time",
            marked.sequence
        );
        let file = directory.data_path().display().to_string();
        Err(StoreError::corrupt(file, "sequence", what))
    }

    /// Checks that a part of a directory that was never finished says the same: it is not another directory's.
    fn nothing_acknowledged(
        &self,
        directory: &Directory,
        found: Option<Seal>,
    ) -> Result<(), StoreError> {
        let Some(seal) = found.filter(|seal| seal.sequence > 0) else {
            return Ok(());
        };
        if self.claim.is_none() {
            return Err(self.incomplete(directory, &[high_water::FILE]));
        }
        let what = format!(
            "{} says that the directory was never finished, and flush {} of it was acknowledged",
            identity::FILE,
            seal.sequence
        );
        Err(mixed(directory, what))
    }

    /// Checks that nothing is gone.
    fn all(&self, directory: &Directory) -> Result<(), StoreError> {
        match self.missing().as_slice() {
            [] => Ok(()),
            missing => Err(self.incomplete(directory, missing)),
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        self.names(false)
    }

    fn names(&self, there: bool) -> Vec<&'static str> {
        let parts = [
            (identity::FILE, self.claim.is_some()),
            (high_water::FILE, self.marked.is_some()),
            (DATA, self.has_data),
        ];
        let wanted = parts.into_iter().filter(|(_, is_there)| *is_there == there);
        wanted.map(|(name, _)| name).collect()
    }

    fn incomplete(&self, directory: &Directory, missing: &[&str]) -> StoreError {
        let there = self.names(true);
        StoreError::Incomplete {
            path: directory.path().to_owned(),
            missing: missing.join(" and "),
            there: if there.is_empty() {
                "another file of it".to_owned()
            } else {
                there.join(" and ")
            },
        }
    }
}

/// True when there was a directory here before: sled has left something, or its derived files were recorded.
fn has_traces(directory: &Directory) -> bool {
    let entries = fs::read_dir(directory.sled_path());
    entries.is_ok_and(|mut entries| entries.next().is_some()) || derived::is_recorded(directory)
}

fn same(
    directory: &Directory,
    (left, left_id): (&str, DirectoryId),
    (right, right_id): (&str, DirectoryId),
) -> Result<(), StoreError> {
    if left_id == right_id {
        return Ok(());
    }
    let what = format!("{left} is of directory {left_id}, {right} of directory {right_id}");
    Err(mixed(directory, what))
}

fn mixed(directory: &Directory, what: String) -> StoreError {
    StoreError::Mixed {
        path: directory.path().to_owned(),
        what,
    }
}

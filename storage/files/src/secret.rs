//! Secrets in files: private keys, key-encryption keys, PINs, tokens. One rule says who may read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// The users that may have access to a secret. "Access" is any of reading, writing, executing or entering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Owner alone: for what a program keeps for itself.
    Owner,
    /// Owner and the members of its group: service managers and container platforms hand out secrets like this.
    OwnerAndGroup,
}

impl Readers {
    fn refused_bits(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::OwnerAndGroup => 0o007,
        }
    }
}

/// Reason for which a secret is not used. `Display` does not name the file: the caller knows what it is for.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secret that cannot be opened or read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Secret to which users have access that must not.
    #[error("others have access to it (mode {mode:04o})")]
    Exposed {
        /// All permission bits of the file, 0 to 0o7777.
        mode: u32,
    },
}

/// Checks that nobody else has access to a file or a directory, without opening it.
///
/// # Errors
/// [`SecretError::Exposed`]; [`SecretError::Unreadable`] when it is not there.
pub fn check_secret(path: &Path, readers: Readers) -> Result<(), SecretError> {
    check(&fs::metadata(path)?, readers)
}

/// Opens a secret for reading. The check is on the opened file, so that nothing can be put in its place in between.
///
/// # Errors
/// [`SecretError::Exposed`]; [`SecretError::Unreadable`] when it cannot be opened.
pub fn open_secret(path: &Path, readers: Readers) -> Result<File, SecretError> {
    let file = File::open(path)?;
    check(&file.metadata()?, readers)?;
    Ok(file)
}

/// Reads all of a secret, at most `bytes_max` bytes, into memory that is wiped.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when there are more; the reason of the system.
pub fn read_bounded(from: impl Read, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it: a vector that grows leaves copies behind.
    let room = usize::try_from(bytes_max)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() == room {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

fn check(metadata: &fs::Metadata, readers: Readers) -> Result<(), SecretError> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & readers.refused_bits() == 0 {
        Ok(())
    } else {
        Err(SecretError::Exposed { mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hunter2").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_mode_decides_who_may_read() {
        let cases = [
            (0o600, true, true),
            (0o400, true, true),
            (0o700, true, true),
            (0o640, false, true),
            (0o660, false, true),
            (0o610, false, true),
            (0o604, false, false),
            (0o602, false, false),
            (0o601, false, false),
            (0o644, false, false),
        ];
        for (mode, owner, group) in cases {
            let file = file(mode);
            for (readers, allowed) in [(Readers::Owner, owner), (Readers::OwnerAndGroup, group)] {
                for checked in [
                    check_secret(file.path(), readers),
                    open_secret(file.path(), readers).map(drop),
                ] {
                    match checked {
                        Ok(()) => assert!(allowed, "{mode:o} {readers:?}"),
                        Err(SecretError::Exposed { mode: found }) => {
                            assert!(!allowed && found == mode, "{mode:o} {readers:?}");
                        }
                        Err(error) => panic!("{mode:o} {readers:?}: {error}"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_secret_of_the_longest_length_is_read_and_a_longer_one_refused() {
        let open = || open_secret(file(0o600).path(), Readers::Owner).unwrap();
        assert_eq!(read_bounded(open(), 7).unwrap().as_slice(), b"hunter2");
        let error = read_bounded(open(), 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it has more than 6 bytes");
    }

    #[test]
    fn a_secret_that_is_not_there_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        for checked in [
            check_secret(&path, Readers::Owner),
            open_secret(&path, Readers::Owner).map(drop),
        ] {
            let Err(SecretError::Unreadable(error)) = checked else {
                panic!("{checked:?}");
            };
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}

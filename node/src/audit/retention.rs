//! Retention: which segments of a chain are deleted.
//!
//! The oldest go while all take more than they may, and those whose last record is too old. Never the newest, and never
//! what the cluster has not witnessed: what goes must be covered by a head that other members know.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use super::folder::{Folder, Segment, first_prev, segments};
use super::settings::ChainSettings;

/// A segment that is deleted.
pub(super) struct Expired {
    pub(super) segment: Segment,
    /// Number of its last record.
    pub(super) through: u64,
    /// Hash of its last record.
    pub(super) hash: String,
}

/// Segments that are no longer kept at `now` (Unix milliseconds), oldest first. `witnessed`: the last record that the
/// cluster has witnessed.
pub(super) fn expired(
    folder: &Folder,
    settings: &ChainSettings,
    now: u64,
    witnessed: u64,
) -> io::Result<Vec<Expired>> {
    let found = segments(folder.path())?;
    let mut sizes = Vec::new();
    for segment in &found {
        let metadata = std::fs::metadata(&segment.path)?;
        sizes.push((metadata.len(), metadata.modified()?));
    }
    let mut total: u64 = sizes.iter().map(|(size, _)| size).sum();
    let age = Duration::from_millis(now).saturating_sub(settings.keep_age);
    let oldest_kept = UNIX_EPOCH + age;
    let mut expired = Vec::new();
    for (pair, (size, modified)) in found.windows(2).zip(sizes) {
        let through = pair[1].first - 1;
        let is_kept = total <= settings.keep_bytes && modified >= oldest_kept;
        if is_kept || through >= witnessed {
            break;
        }
        total -= size;
        expired.push(Expired {
            segment: pair[0].clone(),
            through,
            hash: first_prev(&pair[1].path)?,
        });
    }
    Ok(expired)
}

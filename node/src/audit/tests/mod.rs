//! The audit of one node over real files: what a crash leaves, what damage is said, what retention keeps.

mod crash;
mod retention;
mod sharing;

use std::path::Path;
use std::time::Duration;

use hessra_audit::{Event, Outcome, Record, Walk};

use super::folder::{known_head, segments};
use super::{AuditSettings, Auditor, FolderError, HeadSigner};
use crate::edge::Clock;
use crate::telemetry::Metrics;

fn settings(folder: &Path) -> AuditSettings {
    AuditSettings {
        folder: folder.join("audit"),
        node: 7,
        segment_bytes: 64 * 1024,
        keep_age: Duration::from_secs(3_600),
        keep_bytes: 1 << 30,
        free_min: 0,
    }
}

fn open(folder: &Path) -> Auditor {
    open_with(settings(folder)).unwrap()
}

fn open_with(settings: AuditSettings) -> Result<Auditor, FolderError> {
    let (clock, signer) = (Clock::start(), Box::new(Unsigned));
    Auditor::open(settings, clock, signer, Metrics::unrecorded())
}

/// A signer that signs no checkpoint.
struct Unsigned;

impl HeadSigner for Unsigned {
    fn cluster(&self) -> String {
        String::new()
    }

    fn sign(&self, _: &[u8]) -> Option<(u32, [u8; 64])> {
        None
    }
}

fn issued(auditor: &Auditor, subject: &str) -> Record {
    let mut record = auditor.record(Event::IdentityIssued, Outcome::Success);
    record.actor.subject = subject.to_owned();
    record
}

/// Every line of every segment, in order.
fn all_lines(folder: &Path) -> Vec<String> {
    let found = segments(&folder.join("audit")).unwrap();
    let texts = found
        .iter()
        .map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn is_whole(folder: &Path) -> Result<u64, String> {
    let mut walk = Walk::new(Vec::new(), known_head(&folder.join("audit")));
    for line in all_lines(folder) {
        walk.line(&line).map_err(|fault| fault.to_string())?;
    }
    let walked = walk.finish().map_err(|fault| fault.to_string())?;
    Ok(walked.records)
}

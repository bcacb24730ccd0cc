//! The audit of one node over real files: what a crash leaves, what damage is said, what retention keeps.

mod crash;
mod retention;
mod sharing;
mod strangers;
mod witnessed;

use std::path::Path;
use std::time::Duration;

use std::sync::{Arc, Mutex};

use hessra_audit::{Chain, Event, Known, Outcome, Record, Walk};
use hessra_revocation::FeedId;
use hessra_state::{Witness, Witnessed};

use super::folder::{known_head, segments};
use super::{AuditError, AuditLog as _, AuditSettings, Auditor, ClusterSide, FolderError, NodeKey};
use crate::edge::Clock;
use crate::telemetry::Metrics;

fn settings(folder: &Path) -> AuditSettings {
    AuditSettings {
        folder: folder.join("audit"),
        node: 7,
        segment_bytes: 64 * 1024,
        keep_age: Duration::from_secs(3_600),
        keep_bytes: 1 << 30,
        refusals_keep_bytes: 1 << 30,
        free_min: 0,
    }
}

fn open(folder: &Path) -> Auditor {
    open_with(settings(folder)).unwrap()
}

fn open_with(settings: AuditSettings) -> Result<Auditor, FolderError> {
    open_in(settings, &Side::default(), 7)
}

/// Opens the audit in a cluster, with the audit key of this number.
fn open_in(settings: AuditSettings, side: &Side, key: u8) -> Result<Auditor, FolderError> {
    let (clock, key) = (Clock::start(), NodeKey::new(&[key; 32]));
    Auditor::open(
        settings,
        clock,
        Arc::new(side.clone()),
        key,
        Metrics::unrecorded(),
    )
}

/// A cluster without an audit key, which has witnessed what it is told.
#[derive(Clone, Default)]
struct Side(Arc<Mutex<Vec<Witnessed>>>);

impl Side {
    /// Takes a head as the state does; what was known of the chain goes.
    fn witness(&self, witness: Witness) {
        let mut known = self.0.lock().unwrap();
        known.retain(|one| one.name != witness.name);
        known.push(Witnessed {
            name: witness.name,
            head: witness.head,
            key: witness.key,
            at: hessra_revocation::UnixMillis(1),
            loss_accepted: false,
            former: None,
        });
    }

    /// Takes all that another one knows.
    fn learn_from(&self, other: &Self) {
        let known = other.0.lock().unwrap().clone();
        *self.0.lock().unwrap() = known;
    }

    fn accept_loss(&self) {
        let mut known = self.0.lock().unwrap();
        known.iter_mut().for_each(|one| one.loss_accepted = true);
    }
}

impl ClusterSide for Side {
    fn cluster(&self) -> FeedId {
        FeedId([1; 16])
    }

    fn sign(&self, _: &[u8]) -> Option<(u32, [u8; 64])> {
        None
    }

    fn witnessed(&self, chain: Chain) -> Option<Witnessed> {
        let known = self.0.lock().unwrap();
        let mut of_chain = known.iter().filter(|one| one.name.chain == chain.as_str());
        of_chain.next().cloned()
    }
}

/// Folder of the chain of changes.
fn changes(folder: &Path) -> std::path::PathBuf {
    folder.join("audit/changes")
}

fn issued(auditor: &Auditor, subject: &str) -> Record {
    let mut record = auditor.record(Event::IdentityIssued, Outcome::Success);
    record.actor.subject = subject.to_owned();
    record
}

/// Writes a record of alice's identity token.
async fn write_one(auditor: &Auditor) -> Result<(), AuditError> {
    let record = issued(auditor, "urn:hessra:alice");
    auditor.write(record).await.map(drop)
}

/// Waits until the audit cannot be written (`true`), or can be again.
async fn until_failing(auditor: &Auditor, failing: bool) {
    let mut written = auditor.written();
    let changed = written.wait_for(|written| written.failing.is_some() == failing);
    tokio::time::timeout(Duration::from_secs(30), changed)
        .await
        .unwrap()
        .unwrap();
}

/// Every line of every segment, in order.
fn all_lines(folder: &Path) -> Vec<String> {
    lines_of(&changes(folder))
}

/// Every line of every segment of a chain, in order.
fn lines_of(chain: &Path) -> Vec<String> {
    let found = segments(chain).unwrap();
    let texts = found
        .iter()
        .map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn is_whole(folder: &Path) -> Result<u64, String> {
    let known = Known {
        heads: known_head(&changes(folder)).into_iter().collect(),
        ..Known::default()
    };
    let mut walk = Walk::new(known);
    for line in all_lines(folder) {
        walk.line(&line).map_err(|fault| fault.to_string())?;
    }
    let walked = walk.finish().map_err(|fault| fault.to_string())?;
    Ok(walked.records)
}

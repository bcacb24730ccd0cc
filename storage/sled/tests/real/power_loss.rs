//! Real power cuts: a filesystem is shut down under a process that writes; all that it had reported as acknowledged
//! must be there afterwards, and the store must open.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use hessra_sled::codec;
use hessra_state::Machine;
use openraft::storage::RaftLogStorage;
use openraft::{EntryPayload, RaftLogReader};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::filesystem::{Filesystem, cannot_mount};
use crate::support::{block_on, entry, open, open_sled};
use crate::writer;

const CYCLES: u64 = 40;
/// Power cuts that one filesystem and its store go through.
const CYCLES_PER_IMAGE: u64 = 10;
/// Time for which a process may live on a disk that is gone.
const LAST_GASP: Duration = Duration::from_secs(3);

#[test]
fn acknowledged_writes_survive_real_power_cuts() {
    if let Some(reason) = cannot_mount() {
        println!("skipped: {reason}");
        return;
    }
    let cycles =
        std::env::var("HESSRA_POWER_LOSS_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());
    let kinds = Filesystem::kinds();
    assert!(
        !kinds.is_empty(),
        "neither mkfs.ext4 nor mkfs.xfs is installed"
    );
    let begin = Instant::now();
    let (mut acknowledged, mut unacknowledged) = (0, 0);
    for image in 0..cycles.div_ceil(CYCLES_PER_IMAGE) {
        let kind = kinds[image as usize % kinds.len()];
        let mut victim = match Filesystem::make(kind) {
            Ok(filesystem) => Victim::new(filesystem, image),
            Err(reason) => {
                println!("skipped: {reason}");
                return;
            }
        };
        for cycle in 0..CYCLES_PER_IMAGE.min(cycles - image * CYCLES_PER_IMAGE) {
            let context = format!("{kind}, image {image}, cycle {cycle}");
            let report = victim.write_until_the_power_goes();
            acknowledged += report.appends;
            unacknowledged += victim.check(&report, &context);
        }
    }
    let seconds = begin.elapsed().as_secs_f64() / cycles as f64;
    println!(
        "{cycles} power cuts on {kinds:?}, {seconds:.1} s each: {acknowledged} acknowledged appends, none lost; {unacknowledged} entries more were found"
    );
    assert!(acknowledged > cycles, "the writer hardly wrote anything");
}

struct Victim {
    filesystem: Filesystem,
    random: SmallRng,
    /// The state up to what was durably applied when it was last looked at.
    reference: Machine,
    applied: u64,
}

/// Output of the writer.
#[derive(Default)]
struct Report {
    appends: u64,
    last: u64,
    settled: u64,
    voting: u64,
    voted: u64,
}

impl Victim {
    fn new(filesystem: Filesystem, seed: u64) -> Self {
        let directory = filesystem.path().join("data");
        drop(open(open_sled(&directory).unwrap()).unwrap());
        Self {
            filesystem,
            random: SmallRng::seed_from_u64(seed),
            reference: Machine::new(),
            applied: 0,
        }
    }

    fn write_until_the_power_goes(&mut self) -> Report {
        let mut child = writer::start(&self.filesystem.path().join("data"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut report = Report::default();
        let wait = Duration::from_millis(self.random.gen_range(30..500));
        let mut begin = None;
        while begin.is_none_or(|begin: Instant| begin.elapsed() < wait) {
            let line = lines
                .next()
                .expect("the writer ended before the power did")
                .unwrap();
            report.hear(&line);
            begin = begin.or((report.appends > 0).then(Instant::now));
        }
        self.filesystem.shut_down();
        // The writer ends when it meets the dead disk; where sled misses the failure of its own write and waits for ever,
        // it ends with the power, like any process.
        let dead = Instant::now();
        while child.try_wait().unwrap().is_none() && dead.elapsed() < LAST_GASP {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        // What was still printed was acknowledged before the writer met the dead disk.
        lines.for_each(|line| report.hear(&line.unwrap()));
        child.wait().unwrap();
        self.filesystem.unmount().unwrap();
        self.filesystem.mount().unwrap();
        report
    }

    /// Returns how many entries were found that were never acknowledged.
    fn check(&mut self, report: &Report, context: &str) -> u64 {
        let engine = open_sled(&self.filesystem.path().join("data"));
        let engine = engine.unwrap_or_else(|error| panic!("{context}: {error}"));
        let (mut log, machine) = open(engine).unwrap_or_else(|error| panic!("{context}: {error}"));
        let (state, vote, found) = block_on(async {
            let found = log.try_get_log_entries(..).await.unwrap();
            (
                log.get_log_state().await.unwrap(),
                log.read_vote().await.unwrap(),
                found,
            )
        });
        let last = state.last_log_id.map_or(0, |id| id.index);
        assert!(
            last >= report.last,
            "{context}: entry {} was acknowledged, the log ends at {last}",
            report.last
        );
        let purged = state.last_purged_log_id.map_or(0, |id| id.index);
        assert!(
            found
                .iter()
                .map(|entry| entry.log_id.index)
                .eq(purged + 1..=last),
            "{context}: a hole"
        );
        for entry_found in &found {
            let expected = entry(1, entry_found.log_id.index);
            assert_eq!(
                codec::encode_entry(entry_found),
                codec::encode_entry(&expected),
                "{context}"
            );
        }
        let term = vote.map_or(0, |vote| vote.leader_id().term);
        assert!(
            (report.voted..=report.voting.max(term)).contains(&term),
            "{context}: vote {} became {term}",
            report.voted
        );
        let found = machine.remembered().image();
        let applied = found.applied.map_or(0, |id| id.index);
        assert!(
            applied >= report.settled.max(self.applied) && applied >= purged,
            "{context}: applied {applied}"
        );
        self.advance(applied);
        assert_eq!(
            found.machine.digest(),
            self.reference.digest(),
            "{context}: another state"
        );
        last - report.last
    }

    fn advance(&mut self, applied: u64) {
        for index in self.applied + 1..=applied {
            if let EntryPayload::Normal(proposal) = entry(1, index).payload {
                proposal
                    .0
                    .iter()
                    .for_each(|stamped| _ = self.reference.apply(stamped, &crate::support::Anyone));
            }
        }
        self.applied = applied;
    }
}

impl Report {
    fn hear(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse() else { return };
        match what {
            "ack" => (self.appends, self.last) = (self.appends + 1, number),
            "settled" => self.settled = number,
            "voting" => self.voting = number,
            "voted" => self.voted = number,
            _ => {}
        }
    }
}

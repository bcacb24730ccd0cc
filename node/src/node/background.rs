//! The work beside requests: follows keys, reads certificates anew, samples gauges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_revocation::{KeyPurpose, KeyState};
use hessra_settings::duration::rounded;
use hessra_sled::{Engine as _, Published, SledEngine};
use hessra_state::State;
use hessra_state::limits::{REVOCATIONS_ALARM, REVOCATIONS_MAX};

use super::material::Material;
use crate::conditions::{Code, Noticed};
use crate::policy::Policies;
use crate::signer::Keyholder;
use crate::telemetry::Metrics;
use crate::tls::inspect::ENDS_SOON_SECONDS;
use crate::tls::material::Fingerprint;
use crate::tls::{TlsError, TlsFiles, ends_at};
use crate::world::{Consensus, Inspector};

/// Time between looks at the files. Certificates are replaced days before they end.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Time between samples. Prometheus scrapes every 15 s at most often in practice.
const SAMPLE: Duration = Duration::from_secs(5);
/// Time between samples of consensus. A change of the leader is seen, and counted, within about so long.
const SAMPLE_CONSENSUS: Duration = Duration::from_secs(1);

/// Opens keys as soon as the state makes them active.
pub(super) async fn follow_keys(
    mut published: watch::Receiver<Arc<Published>>,
    keys: Keyholder,
    stop: CancellationToken,
) {
    loop {
        let state = Arc::clone(&published.borrow_and_update().state);
        keys.follow(&state);
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Everything that is made of certificate files, and what tells that it must be made anew.
pub(super) struct Certified {
    pub(super) material: Material,
    pub(super) consensus: Consensus,
    pub(super) policies: Policies,
    pub(super) metrics: Arc<Metrics>,
    pub(super) noticed: Noticed,
}

/// Reads certificates anew when their files change, on SIGHUP, and when the policy names other CAs. Connections whose CA is
/// still trusted are left alone; files that do not fit together change nothing.
pub(super) async fn follow_certificates(certified: Certified, stop: CancellationToken) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        return;
    };
    let mut look = interval(LOOK_AT_FILES);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = certified.consensus.raft().watch();
    // Nothing has been read with the policy's CAs yet.
    let mut seen = None;
    loop {
        let now = certified.seen();
        if seen.as_ref() != Some(&now) {
            certified.reload();
            seen = Some(now);
        }
        certified.look_at_ends();
        tokio::select! {
            _ = hang_up.recv() => seen = None,
            _ = look.tick() => {}
            changed = policy_changed(&mut published) => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn policy_changed(
    published: &mut watch::Receiver<Arc<Published>>,
) -> Result<(), watch::error::RecvError> {
    let before = published.borrow_and_update().state.policy().0;
    published
        .wait_for(|published| published.state.policy().0 != before)
        .await
        .map(|_| ())
}

impl Certified {
    fn seen(&self) -> (Fingerprint, Fingerprint, [u8; 32]) {
        let digest = self.consensus.state().policy().1.digest;
        (
            self.material.public_files.fingerprint(),
            self.material.peer_files.fingerprint(),
            digest,
        )
    }

    fn reload(&self) {
        let policy = self.policies.of(&self.consensus.state());
        let public = self
            .material
            .public_files
            .public_server(policy.client_authorities());
        self.report(
            "public",
            public.map(|tls| self.material.public_port.replace(tls)),
        );
        match self.material.public_files.authorities() {
            Ok(authorities) => self.material.operators.replace(authorities),
            Err(reason) => {
                warn!(%reason, "authorities of operators not read: those in use stay");
            }
        }
        let peer = self.material.peer_files.peer_server().and_then(|tls| {
            self.material.peer_tls.reload(&self.material.peer_files)?;
            self.material.peer_port.replace(tls);
            Ok(())
        });
        self.report("peer", peer);
        for (port, files) in [
            ("public", &self.material.public_files),
            ("peer", &self.material.peer_files),
        ] {
            if let Some(seconds) = expiry(files) {
                self.metrics
                    .certificate_expiry
                    .record(seconds, &[KeyValue::new("port", port)]);
            }
        }
    }

    /// Notices certificates that end soon: early enough to get others.
    fn look_at_ends(&self) {
        let now = self.consensus.world().clock.wall().seconds().0;
        for (port, files) in [
            ("public", &self.material.public_files),
            ("peer", &self.material.peer_files),
        ] {
            let left = expiry(files).map(|end| end.saturating_sub(now));
            let message = left.filter(|left| *left < ENDS_SOON_SECONDS).map(|left| {
                let left = rounded(Duration::from_secs(left));
                let path = files.certificate.display();
                format!("`{path}` ({port} port) ends in {left}: get another one; it is read without a restart")
            });
            self.noticed.set(Code::CertificateEnds, port, message);
        }
    }

    fn report(&self, port: &'static str, outcome: Result<(), TlsError>) {
        let refused = outcome.as_ref().err();
        let message = refused.map(|reason| {
            format!("certificates of the {port} port were not read: {reason}. What was in use stays; put the files right")
        });
        self.noticed.set(Code::CertificateNotRead, port, message);
        let word = match outcome {
            Ok(()) => {
                info!(port, "certificates read");
                "read"
            }
            Err(reason) => {
                warn!(port, %reason, "certificates not read: what was in use stays");
                "refused"
            }
        };
        self.metrics
            .certificate_reloads
            .add(1, &[KeyValue::new("outcome", word)]);
    }
}

/// Unix seconds at which the certificate of a port ends.
fn expiry(files: &TlsFiles) -> Option<u64> {
    ends_at(files.chain().ok()?.first()?)
}

/// Samples gauges.
pub(super) async fn sample(
    consensus: Consensus,
    store: SledEngine,
    inspector: Inspector,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let (mut slow, mut quick) = (interval(SAMPLE), interval(SAMPLE_CONSENSUS));
    slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
    quick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leader = None;
    let mut conditions = BTreeSet::new();
    metrics
        .process_start
        .record(consensus.world().clock.wall().seconds().0, &[]);
    loop {
        tokio::select! {
            _ = slow.tick() => {
                sample_state(&metrics, &consensus.state());
                sample_store(&metrics, &store);
                sample_process(&metrics);
                sample_conditions(&metrics, &inspector, &mut conditions);
            }
            _ = quick.tick() => sample_consensus(&metrics, &consensus, &mut leader),
            () = stop.cancelled() => return,
        }
    }
}

/// Shows each condition that is there as 1, and one that is over as 0. `known`: those that were shown as 1.
fn sample_conditions(metrics: &Metrics, inspector: &Inspector, known: &mut BTreeSet<String>) {
    let found: BTreeSet<String> = inspector
        .conditions()
        .into_iter()
        .map(|condition| condition.code)
        .collect();
    for code in known.union(&found) {
        let value = u64::from(found.contains(code));
        let code = KeyValue::new("code", code.clone());
        metrics.condition.record(value, &[code]);
    }
    *known = found;
}

fn sample_consensus(metrics: &Metrics, consensus: &Consensus, leader: &mut Option<u64>) {
    let raft = consensus.raft();
    let status = raft.status();
    metrics.raft_term.record(status.term, &[]);
    metrics
        .raft_has_leader
        .record(u64::from(status.leader.is_some()), &[]);
    metrics
        .raft_is_leader
        .record(u64::from(raft.is_leader()), &[]);
    metrics.raft_last_index.record(status.last_index, &[]);
    metrics.raft_applied_index.record(status.applied_index, &[]);
    metrics
        .raft_snapshot_index
        .record(status.snapshot_index, &[]);
    if status.leader.is_some() && status.leader != *leader {
        *leader = status.leader;
        metrics.raft_leader_changes.add(1, &[]);
        info!(leader = status.leader, term = status.term, "leader known");
    }
    if raft.is_leader() {
        for id in raft.members().nodes.keys() {
            let lag = status.last_index.saturating_sub(raft.matched_index(*id));
            metrics
                .raft_peer_lag
                .record(lag, &[KeyValue::new("peer", id.to_string())]);
        }
    }
}

fn sample_state(metrics: &Metrics, state: &State) {
    let view = state.view();
    metrics.revision.record(view.revision.0, &[]);
    metrics.rules.record(view.set.len() as u64, &[]);
    let remembered = state.revocations().len();
    metrics.revocations.record(remembered as u64, &[]);
    if remembered > REVOCATIONS_ALARM {
        warn!(
            remembered,
            most = REVOCATIONS_MAX,
            "more than half of the revocations that the cluster takes: look for an operator that revokes too much, and revoke subtrees"
        );
    }
    metrics.policy_revision.record(state.policy().0.0, &[]);
    for purpose in KeyPurpose::ALL {
        for key_state in KeyState::ALL {
            let count = state
                .keys()
                .values()
                .filter(|key| key.purpose == purpose && key.state == key_state)
                .count();
            let labels = [
                KeyValue::new("purpose", purpose.word()),
                KeyValue::new("state", key_state.word()),
            ];
            metrics.keys.record(count as u64, &labels);
        }
    }
}

fn sample_store(metrics: &Metrics, store: &SledEngine) {
    if let Ok(size) = store.size_on_disk() {
        metrics.store_size.record(size, &[]);
    }
    if let Ok(free) = store.free_space() {
        metrics.store_free.record(free, &[]);
    }
}

/// Samples the process from `/proc`, which may be absent.
fn sample_process(metrics: &Metrics) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    if let Some(kibibytes) = kibibytes {
        metrics.process_memory.record(kibibytes * 1024, &[]);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        metrics
            .process_descriptors
            .record(descriptors.count() as u64, &[]);
    }
}

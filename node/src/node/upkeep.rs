//! What goes on beside requests: keys followed, certificates read anew, gauges sampled.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_revocation::{KeyPurpose, KeyState};
use hessra_sled::{Engine as _, Published, SledEngine};
use hessra_state::State;

use super::material::Material;
use crate::api::tls::material::Fingerprint;
use crate::api::tls::{TlsError, TlsFiles, ends_at};
use crate::authority::Authority;
use crate::policy::Policies;
use crate::raft::RaftHandle;
use crate::signer::Keyholder;
use crate::telemetry::metrics;

/// Certificates are replaced days before they end.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Prometheus scrapes every 15 s at most often in practice.
const SAMPLE: Duration = Duration::from_secs(5);
/// An interrupted change of the members is completed within about so long.
const TIDY: Duration = Duration::from_secs(1);

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
    pub(super) raft: RaftHandle,
    pub(super) policies: Policies,
}

/// Reads certificates anew when their files change, on SIGHUP, and when the policy names other CAs. Connections that
/// stand are left alone; files that do not fit together change nothing.
pub(super) async fn follow_certificates(certified: Certified, stop: CancellationToken) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        return;
    };
    let mut look = interval(LOOK_AT_FILES);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = certified.raft.watch();
    // Nothing has been read with the policy's CAs yet.
    let mut seen = None;
    loop {
        let now = certified.seen();
        if seen.as_ref() != Some(&now) {
            certified.reload();
            seen = Some(now);
        }
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
        let digest = self.raft.state().policy().1.digest;
        (
            self.material.public_files.fingerprint(),
            self.material.peer_files.fingerprint(),
            digest,
        )
    }

    fn reload(&self) {
        let policy = self.policies.of(&self.raft.state());
        let public = self
            .material
            .public_files
            .public_server(policy.client_authorities());
        report(
            "public",
            public.map(|config| self.material.public_config.store(Arc::new(config))),
        );
        let peer = self.material.peer_files.peer_server().and_then(|config| {
            self.material.peer_tls.reload(&self.material.peer_files)?;
            self.material.peer_config.store(Arc::new(config));
            Ok(())
        });
        report("peer", peer);
        for (port, files) in [
            ("public", &self.material.public_files),
            ("peer", &self.material.peer_files),
        ] {
            if let Some(seconds) = expiry(files) {
                metrics()
                    .certificate_expiry
                    .record(seconds, &[KeyValue::new("port", port)]);
            }
        }
    }
}

/// Unix seconds at which the certificate of a port ends.
fn expiry(files: &TlsFiles) -> Option<u64> {
    ends_at(files.chain().ok()?.first()?)
}

fn report(port: &'static str, outcome: Result<(), TlsError>) {
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
    metrics()
        .certificate_reloads
        .add(1, &[KeyValue::new("outcome", word)]);
}

/// Samples gauges, and completes what an earlier leader left half done.
pub(super) async fn look_after(authority: Authority, store: SledEngine, stop: CancellationToken) {
    let (mut sample, mut tidy) = (interval(SAMPLE), interval(TIDY));
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leader = None;
    metrics()
        .process_start
        .record(authority.clock().wall().seconds().0, &[]);
    loop {
        tokio::select! {
            _ = sample.tick() => {
                sample_state(&authority.state());
                sample_store(&store);
                sample_process();
            }
            _ = tidy.tick() => {
                sample_consensus(&authority, &mut leader);
                authority.tend().await;
            }
            () = stop.cancelled() => return,
        }
    }
}

fn sample_consensus(authority: &Authority, leader: &mut Option<u64>) {
    let (raft, metrics) = (authority.raft(), metrics());
    let standing = raft.standing();
    metrics.raft_term.record(standing.term, &[]);
    metrics
        .raft_has_leader
        .record(u64::from(standing.leader.is_some()), &[]);
    metrics
        .raft_is_leader
        .record(u64::from(raft.is_leader()), &[]);
    metrics.raft_last_index.record(standing.last_index, &[]);
    metrics
        .raft_applied_index
        .record(standing.applied_index, &[]);
    metrics
        .raft_snapshot_index
        .record(standing.snapshot_index, &[]);
    if standing.leader.is_some() && standing.leader != *leader {
        *leader = standing.leader;
        metrics.raft_leader_changes.add(1, &[]);
        info!(
            leader = standing.leader,
            term = standing.term,
            "leader known"
        );
    }
    if raft.is_leader() {
        for id in raft.members().nodes.keys() {
            let lag = standing.last_index.saturating_sub(raft.matched_index(*id));
            metrics
                .raft_peer_lag
                .record(lag, &[KeyValue::new("peer", id.to_string())]);
        }
    }
}

fn sample_state(state: &State) {
    let (view, metrics) = (state.view(), metrics());
    metrics.revision.record(view.revision.0, &[]);
    metrics.rules.record(view.set.len() as u64, &[]);
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

fn sample_store(store: &SledEngine) {
    if let Ok(size) = store.size_on_disk() {
        metrics().store_size.record(size, &[]);
    }
    if let Ok(free) = store.free_space() {
        metrics().store_free.record(free, &[]);
    }
}

/// From `/proc`, which may be absent.
fn sample_process() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    if let Some(kibibytes) = kibibytes {
        metrics().process_memory.record(kibibytes * 1024, &[]);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        metrics()
            .process_descriptors
            .record(descriptors.count() as u64, &[]);
    }
}

//! What a node consists of behind its doors: store, consensus, authority, feed, policy.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use hessra_revocation::KeyPurpose;
use hessra_sled::{LogReader, LogStore, OpenOptions, SledEngine, Store};
use openraft::storage::RaftLogStorage as _;

use super::NodeError;
use super::material::Material;
use super::readiness::Facts;
use super::upkeep::{self, Certified};
use crate::api::grpc::KeyDesk;
use crate::audit::follow::Follower;
use crate::audit::{AuditSettings, Auditor, ChainSigner};
use crate::authority::inspector::Inspector;
use crate::authority::{Authority, AuthoritySettings};
use crate::config::Config;
use crate::edge::Clock;
use crate::feed::{FeedHub, FeedSettings};
use crate::gitops::Following;
use crate::issuer::{Issuer, IssuerParts};
use crate::keys::published_for_min;
use crate::keys::rotation::{self, Schedule};
use crate::policy::Policies;
use crate::raft::{self, NodeIdentity, RaftHandle, RaftSettings};
use crate::signer::Keyholder;

/// Of the data directory: the copy of the followed repository. It can be removed at any time.
const GIT_FOLDER: &str = "policy.git";

pub(super) struct Parts {
    pub(super) store: SledEngine,
    pub(super) keys: Keyholder,
    pub(super) authority: Authority,
    pub(super) auditor: Auditor,
    pub(super) feed: FeedHub,
    pub(super) inspector: Inspector,
    pub(super) policies: Policies,
    pub(super) facts: Arc<Facts>,
    pub(super) desk: KeyDesk,
}

impl Parts {
    pub(super) async fn start(
        config: &Config,
        material: &Material,
        stopping: &Arc<AtomicBool>,
        stop: &CancellationToken,
    ) -> Result<Self, NodeError> {
        let (store, raft, log) = consensus(config, material).await?;
        let auditor = Auditor::open(audit_settings(config), Clock::new())?;
        let keys = material.keys.clone();
        let authority = Authority::start(raft, AuthoritySettings::default(), Clock::new(), stop);
        let disk = store.clone();
        authority.refuse_writes_when(move || disk.writable().err().map(|low| low.to_string()));
        authority.audited_by(auditor.clone());
        auditor.sign_with(Box::new(ChainSigner::new(authority.raft().clone(), &keys)));
        let (published, remembered) = {
            let raft = authority.raft();
            (raft.watch(), Arc::clone(raft.remembered()))
        };
        let follower = Follower::new(auditor.clone(), remembered);
        tokio::spawn(follower.run(log, published, stop.clone()));
        let signer = Arc::new(keys.signer(KeyPurpose::Feed));
        let feed = FeedHub::start(authority.clone(), signer, feed_settings(config), stop);
        let facts = Arc::new(Facts {
            waits_to_be_added: config.cluster.initial_members.is_empty(),
            authority: authority.clone(),
            keys: keys.clone(),
            store: store.clone(),
            stopping: Arc::clone(stopping),
            stale_max: config.issuing.stale_max.0,
        });
        let desk = KeyDesk {
            keks: keys.keks().clone(),
            schedule: schedule(config),
        };
        let inspector = Inspector::new(authority.clone(), feed.clone(), facts.clone());
        Ok(Self {
            store,
            keys,
            authority,
            auditor,
            feed,
            inspector,
            policies: Policies::default(),
            facts,
            desk,
        })
    }

    /// Starts what goes on beside requests.
    pub(super) fn look_after(
        &self,
        config: &Config,
        material: Material,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let raft = self.authority.raft().clone();
        tasks.spawn(upkeep::follow_keys(
            raft.watch(),
            self.keys.clone(),
            stop.clone(),
        ));
        let KeyDesk { keks, schedule } = self.desk.clone();
        let rotation = rotation::run(self.authority.clone(), keks, schedule, stop.clone());
        tasks.spawn(rotation);
        let (neighbours, until) = (self.authority.neighbours().clone(), stop.clone());
        tasks.spawn(async move { neighbours.run(until).await });
        let certified = Certified {
            material,
            raft,
            policies: self.policies.clone(),
        };
        tasks.spawn(upkeep::follow_certificates(certified, stop.clone()));
        let following = Following::new(
            self.authority.clone(),
            self.policies.clone(),
            &config.policy.git,
            config.storage.path.join(GIT_FOLDER),
        );
        if let Some(following) = following {
            tasks.spawn(following.run(stop.clone()));
        }
        tasks.spawn(upkeep::look_after(
            self.authority.clone(),
            self.store.clone(),
            stop.clone(),
        ));
    }

    /// Decides on requests for tokens.
    pub(super) fn issuer(&self, config: &Config) -> Arc<Issuer> {
        let (state, freshness) = (self.authority.clone(), self.authority.clone());
        Arc::new(Issuer::new(IssuerParts {
            state: Arc::new(move || state.state()),
            freshness: Arc::new(move || freshness.freshness()),
            policies: self.policies.clone(),
            keys: self.keys.clone(),
            clock: self.authority.clock(),
            stale_max: config.issuing.stale_max.0,
            requests_per_second: NonZeroU32::new(config.limits.requests_per_second)
                .unwrap_or(NonZeroU32::MIN),
        }))
    }
}

async fn consensus(
    config: &Config,
    material: &Material,
) -> Result<(SledEngine, RaftHandle, LogReader<SledEngine>), NodeError> {
    let (cluster, node) = (config.cluster.name.clone(), config.cluster.node_id);
    let options = OpenOptions {
        cache_bytes: config.storage.cache.0,
        free_min: config.storage.free_min.0,
        flush_max: config.storage.flush_max.0,
        identity: Some(hessra_sled::Identity {
            cluster: cluster.clone(),
            node,
        }),
    };
    let engine = SledEngine::open(&config.storage.path, options)?;
    let mut opened: (LogStore<_>, _) = Store::open(engine.clone())?;
    let log = opened.0.get_log_reader().await;
    let identity = NodeIdentity { id: node, cluster };
    let dialer = Arc::new(material.peer_tls.clone());
    let raft = raft::start(opened, identity, raft_settings(config), dialer).await?;
    Ok((engine, raft, log))
}

fn audit_settings(config: &Config) -> AuditSettings {
    AuditSettings {
        folder: config.storage.path.join("audit"),
        node: config.cluster.node_id,
        segment_bytes: config.audit.segment_size.0,
        keep_age: config.audit.keep_age.0,
        keep_bytes: config.audit.keep_size.0,
        // The log refuses writes at the whole of it; what the audit leaves is for what is under way.
        free_min: config.storage.free_min.0 / 2,
    }
}

fn schedule(config: &Config) -> Schedule {
    Schedule {
        rotate_every: config.keys.rotate_every.0,
        published_for_min: published_for_min(config.feed.fresh_for.0),
    }
}

fn raft_settings(config: &Config) -> RaftSettings {
    let default = RaftSettings::default();
    RaftSettings {
        heartbeat: config.raft.heartbeat.0,
        election_min: config.raft.election_min.0,
        election_max: config.raft.election_max.0,
        snapshot_entries: config.raft.snapshot_entries,
        log_keep: config.raft.log_keep,
        // Who keeps a short log does not want a thousand entries more.
        purge_batch: default.purge_batch.min(config.raft.log_keep.max(1)),
        ..default
    }
}

fn feed_settings(config: &Config) -> FeedSettings {
    FeedSettings {
        heartbeat: config.feed.heartbeat.0,
        fresh_for: config.feed.fresh_for.0,
        subscribers_max: usize::try_from(config.feed.subscribers_max).unwrap_or(usize::MAX),
        forget_after: config.feed.forget_after.0,
        ..FeedSettings::default()
    }
}

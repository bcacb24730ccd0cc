//! The parts of a node behind its ports: store, audit, consensus, feed, policy.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use hessra_consensus::clocks;
use hessra_consensus::feed::FeedSettings;
use hessra_consensus::{
    ClockState, ConsensusSettings, Inbound, NodeIdentity, RaftSettings, Setup, WriteGuard,
};
use hessra_revocation::KeyPurpose;
use hessra_rights::Rights;
use hessra_sled::{OpenOptions, SledEngine, Store};
use openraft::TokioRuntime;

use super::background::{self, Certified};
use super::error::NodeError;
use super::material::Material;
use super::readiness::Facts;
use super::witness;
use crate::audit::{AuditSettings, Auditor, NodeKey, StateSide};
use crate::conditions::Noticed;
use crate::config::Config;
use crate::edge::{Clock, random_16};
use crate::gitops::Following;
use crate::issuer::{Issuer, IssuerParts, Rates};
use crate::join::JoinSecret;
use crate::keys::rotation::{self, Schedule};
use crate::keys::{KeyManagement, published_for_min};
use crate::peers::PeerClients;
use crate::policy::Policies;
use crate::signer::Keyholder;
use crate::telemetry::{Metrics, Traces};
use crate::world::{Consensus, FeedHub, Inspector, NodeWorld};

/// Folder in the data directory for the copy of the followed repository. It can be removed at any time.
const GIT_FOLDER: &str = "policy.git";
/// Folder in the data directory for the audit.
const AUDIT_FOLDER: &str = "audit";

pub(super) struct Parts {
    pub(super) store: SledEngine,
    pub(super) keys: Keyholder,
    pub(super) consensus: Consensus,
    pub(super) auditor: Auditor,
    pub(super) feed: FeedHub,
    pub(super) inspector: Inspector,
    pub(super) policies: Policies,
    pub(super) facts: Arc<Facts>,
    pub(super) key_management: KeyManagement,
    pub(super) join_secret: Option<JoinSecret>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) noticed: Noticed,
}

/// The process around the parts.
pub(super) struct Around {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
    pub(super) stopping: Arc<AtomicBool>,
}

/// The guard that refuses writes while less is free on the disk than the settings ask for.
struct DiskGuard(SledEngine);

impl WriteGuard for DiskGuard {
    fn refusal(&self) -> Option<String> {
        self.0.writable().err().map(|low| low.to_string())
    }
}

impl Parts {
    pub(super) async fn start(
        config: &Config,
        material: &Material,
        around: Around,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, NodeError> {
        let Around {
            clock,
            metrics,
            traces,
            stopping,
        } = around;
        let store = open_store(config)?;
        let opened: hessra_sled::Parts<SledEngine, TokioRuntime> = Store::open(
            store.clone(),
            Arc::new(Rights::new(hessra_sled::codec::action_digest)),
        )?;
        let keys = material.keys.clone();
        let auditor = Auditor::open(
            audit_settings(config),
            clock,
            Arc::new(StateSide::new(
                opened.1.watch(),
                &keys,
                config.cluster.node_id,
            )),
            NodeKey::open(&config.storage.path.join(AUDIT_FOLDER), keys.keks())?,
            Arc::clone(&metrics),
        )?;
        let identity = NodeIdentity {
            id: config.cluster.node_id,
            cluster: config.cluster.name.clone(),
        };
        let dialer = Arc::new(material.peer_tls.clone());
        let world = NodeWorld {
            clock,
            peers: Arc::new(PeerClients::new(
                &identity,
                dialer,
                material.join_secret.clone(),
            )),
            metrics: Arc::clone(&metrics),
            traces,
        };
        let setup = Setup {
            identity,
            store: opened,
            world,
            guard: Arc::new(DiskGuard(store.clone())),
            operators: Arc::clone(&material.operators),
            audit: Arc::new(auditor.clone()),
            raft: raft_settings(config),
            settings: ConsensusSettings::default(),
        };
        let (consensus, beside) = Consensus::start(setup, stop).await?;
        tasks.spawn(beside.run(stop.clone()));
        let signer = Arc::new(keys.signer(KeyPurpose::Feed, consensus.raft().watch()));
        let policies = Policies::default();
        let feed = FeedHub::start(
            consensus.clone(),
            signer,
            feed_settings(config),
            policies.parsed(),
            stop,
        );
        let noticed = Noticed::default();
        let facts = Arc::new(Facts {
            waits_to_be_added: config.cluster.initial_members.is_empty(),
            consensus: consensus.clone(),
            keys: keys.clone(),
            auditor: auditor.clone(),
            policies: policies.clone(),
            noticed: noticed.clone(),
            store: store.clone(),
            stopping,
            stale_max: config.issuing.stale_max.0,
        });
        let key_management = KeyManagement {
            keks: keys.keks().clone(),
            schedule: schedule(config),
        };
        let inspector = Inspector::new(consensus.clone(), feed.clone(), facts.clone());
        Ok(Self {
            store,
            keys,
            consensus,
            auditor,
            feed,
            inspector,
            policies,
            facts,
            key_management,
            join_secret: material.join_secret.clone(),
            metrics,
            noticed,
        })
    }

    /// Starts the work beside requests.
    pub(super) fn run_background(
        &self,
        config: &Config,
        material: Material,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let published = self.consensus.raft().watch();
        tasks.spawn(background::follow_keys(
            published,
            self.keys.clone(),
            stop.clone(),
        ));
        let KeyManagement { keks, schedule } = self.key_management.clone();
        let rotation = rotation::run(self.consensus.clone(), keks, schedule, stop.clone());
        tasks.spawn(rotation);
        let certified = Certified {
            material,
            consensus: self.consensus.clone(),
            policies: self.policies.clone(),
            metrics: Arc::clone(&self.metrics),
            noticed: self.noticed.clone(),
        };
        tasks.spawn(background::follow_certificates(certified, stop.clone()));
        let following = Following::new(
            self.consensus.clone(),
            self.policies.clone(),
            Arc::clone(&self.metrics),
            &config.policy.git,
            config.storage.path.join(GIT_FOLDER),
        );
        if let Some(following) = following {
            tasks.spawn(following.run(stop.clone()));
        }
        tasks.spawn(witness::run(
            self.consensus.clone(),
            self.auditor.clone(),
            stop.clone(),
        ));
        tasks.spawn(background::sample(
            self.consensus.clone(),
            self.store.clone(),
            self.inspector.clone(),
            Arc::clone(&self.metrics),
            stop.clone(),
        ));
    }

    /// The side that answers the other members.
    pub(super) fn inbound(&self, config: &Config) -> Inbound<NodeWorld> {
        let founders = config.cluster.initial_members.iter();
        Inbound::new(
            self.consensus.clone(),
            self.inspector.clone(),
            founders.map(|member| member.id).collect(),
        )
    }

    /// The issuer, which decides on requests for tokens.
    pub(super) fn issuer(&self, config: &Config) -> Arc<Issuer> {
        let (state, freshness) = (self.consensus.clone(), self.consensus.clone());
        let of_clock = self.consensus.clone();
        Arc::new(Issuer::new(IssuerParts {
            state: Arc::new(move || state.state()),
            freshness: Arc::new(move || freshness.freshness()),
            clock_off: Arc::new(move || match of_clock.clock() {
                ClockState::Off(ahead) => Some(clocks::off(of_clock.raft().identity().id, ahead)),
                ClockState::Right | ClockState::Unknown => None,
            }),
            policies: self.policies.clone(),
            keys: self.keys.clone(),
            clock: self.consensus.world().clock,
            stale_max: config.issuing.stale_max.0,
            rates: rates(config),
            metrics: Arc::clone(&self.metrics),
        }))
    }
}

fn rates(config: &Config) -> Rates {
    let rate = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rates {
        per_identity: rate(config.limits.requests_per_second),
        per_address: rate(config.limits.requests_per_second_per_address),
    }
}

fn open_store(config: &Config) -> Result<SledEngine, NodeError> {
    let options = OpenOptions {
        cache_bytes: config.storage.cache.0,
        free_min: config.storage.free_min.0,
        flush_max: config.storage.flush_max.0,
        identity: Some(hessra_sled::Identity {
            cluster: config.cluster.name.clone(),
            node: config.cluster.node_id,
        }),
        new_id: random_16(),
    };
    Ok(SledEngine::open(&config.storage.path, options)?)
}

fn audit_settings(config: &Config) -> AuditSettings {
    AuditSettings {
        folder: config.storage.path.join(AUDIT_FOLDER),
        node: config.cluster.node_id,
        segment_bytes: config.audit.segment_size.0,
        keep_age: config.audit.keep_age.0,
        keep_bytes: config.audit.keep_size.0,
        refusals_keep_bytes: config.audit.refusals_keep_size.0,
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
        // A node that keeps a short log must not keep a thousand entries more.
        purge_batch: default.purge_batch.min(config.raft.log_keep.max(1)),
        ..default
    }
}

fn feed_settings(config: &Config) -> FeedSettings {
    FeedSettings {
        heartbeat: config.feed.heartbeat.0,
        fresh_for: config.feed.fresh_for.0,
        admits: config.feed.admits.0,
        subscribers_max: count(config.feed.subscribers_max),
        guests_max: count(config.feed.guests_max),
        subscribers_per_identity_max: count(config.feed.subscribers_per_identity_max),
        guests_per_caller_max: count(config.feed.guests_per_caller_max),
        unread_bytes_max: usize::try_from(config.feed.unread_max.0).unwrap_or(usize::MAX),
        forget_after: config.feed.forget_after.0,
        ..FeedSettings::default()
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

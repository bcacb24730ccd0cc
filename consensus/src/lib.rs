//! Consensus and its promises: a write that is acknowledged is durable on a quorum, a linearizable read sees it, a
//! verifier hears of it and proves so, and no answer leaves before its audit record.
//!
//! ```text
//!            a node: gRPC, HTTPS, TLS, disks, telemetry          the simulation: lossy links, drifting clocks, one seed
//!                     │                                                   │
//!                     └──────────────── World, Engine, AuditLog ──────────┘
//!                                            │
//!   propose ─▶ Consensus ─▶ Proposer ─▶ RaftHandle ─▶ openraft ─▶ store ─▶ State
//!                  │                                                          │
//!   linearize ─▶ Confirmer                                  FeedHub ─▶ Subscription ─▶ ContainmentWatch
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`consensus`] | acknowledged writes, linearizable reads, changes of the members |
//! | [`raft`] | Raft as the rest sees it |
//! | [`membership`] | which changes of the members may begin |
//! | [`audit`] | no answer before its record |
//! | [`feed`] | revocations to verifiers |
//! | [`containment`] | at how many verifiers a revision is proven applied |
//! | [`neighbours`] | reports of the other members |
//! | [`askers`] | until when a member that is silent can have been confirmed |
//! | [`clocks`] | whether this node's clock is right, beside theirs |
//! | [`inspector`] | the report of this node, and of the cluster |
//! | [`peers`], [`inbound`] | the seam between members: asking and answering |
//! | `fence` | which senders are heard between members |
//! | `stores` | which stores are theirs, and whether they have what they promised |
//! | [`policies`] | the policy in force, parsed once |
//! | `author` | whether the author of a command is proved |
//! | `authors` | what another member brings: its authors are asked before it is acknowledged |
//! | [`trace`] | steps of a change on its way |
//! | [`world`], [`measurement`] | the seam to the process around |
//! | [`plant`] | deliberate bugs for the simulation; none in a release build |
//!
//! The crate exists because the simulation must run it: it has no gRPC, no HTTP, no TLS, no file and no clock of its own.

pub mod askers;
pub mod audit;
mod author;
mod authors;
pub mod clocks;
pub mod confirmer;
pub mod consensus;
pub mod containment;
pub mod error;
pub mod feed;
mod fence;
pub mod inbound;
pub mod inspector;
pub mod measurement;
pub mod membership;
pub mod neighbours;
mod pause;
pub mod peers;
pub mod plant;
pub mod policies;
mod proposer;
pub mod raft;
mod settings;
pub mod status;
mod stores;
pub mod trace;
mod turns;
pub mod world;

pub use askers::{LastAsked, Lately, ReadIndex};
pub use clocks::ClockState;
pub use confirmer::{Began, Confirmation};
pub use consensus::{Asked, Background, Committed, Consensus, Setup};
pub use containment::ContainmentWatch;
pub use error::{ReadError, StartError, WriteError};
pub use fence::Sender;
pub use inbound::Inbound;
pub use inspector::{Inspector, NodeFacts};
pub use measurement::Measurement;
pub use membership::{Change, ChangeError};
pub use peers::{Between, Peer, PeerError, Peers, Proposed};
pub use proposer::WriteGuard;
pub use raft::{NodeIdentity, RaftHandle, RaftSettings};
pub use settings::ConsensusSettings;
pub use status::{Members, RaftStatus, Role, StopReason};
pub use world::World;

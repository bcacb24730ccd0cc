//! The first start of a cluster: members, then keys and policy.
//!
//! Every initial member starts with the same list. The one with the lowest id begins, when all of them answer: it makes the
//! membership, unless another one has a log already (`consensus/founding`). The node that leads then, and sees a state that is not initialized, proposes the
//! first command: a random feed id and salt, one key each for tokens, the feed and the audit trail, the policy of its
//! files. The state machine takes the first of them and refuses any other, so races and restarts do no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState};
use hessra_sled::Member;
use hessra_state::{Applied, Command, Duty, Init, Policy};

use crate::config::Config;
use crate::edge::random_16;
use crate::keys::generate::new_key;
use crate::policy::{PolicyError, PolicyView, shortages};
use crate::seal::{KekRing, SealError};
use crate::signer::Keyholder;
use crate::world::Consensus;

/// Time between two looks at whether this node leads an empty state.
const PAUSE: Duration = Duration::from_millis(100);

/// Error of a cluster that cannot be started from this node.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum BootstrapError {
    #[error("cannot read `{path}`, named by `policy.{setting}`: {reason}")]
    PolicyFile {
        setting: &'static str,
        path: std::path::PathBuf,
        reason: String,
    },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policy(#[from] PolicyError),
    #[error(
        "this node waits to be added, and has no join secret: any machine with a certificate of the cluster could make it its \
         own. Copy the file of `cluster.join_secret` from a member, and name it in this node's settings"
    )]
    NoJoinSecret,
}

/// Begins when this node is to begin, and leaves a task behind that proposes the first command when it is to be proposed.
pub(super) fn start(
    config: &Config,
    consensus: &Consensus,
    keys: &Keyholder,
    stop: &CancellationToken,
) -> Result<(), BootstrapError> {
    if consensus.state().is_initialized() {
        return Ok(());
    }
    if config.cluster.initial_members.is_empty() {
        let is_alone = consensus.raft().members().nodes.is_empty();
        let has_secret = !config.cluster.join_secret.as_os_str().is_empty();
        return match is_alone && !has_secret {
            true => Err(BootstrapError::NoJoinSecret),
            false => Ok(()),
        };
    }
    let policy = policy(config)?;
    let (consensus, keys, founders) = (consensus.clone(), keys.clone(), initial_members(config));
    let begin = async move {
        match consensus.found(&founders).await {
            Ok(()) => propose_when_leading(&consensus, &keys, &policy).await,
            // The node ends with the same reason.
            Err(error) => warn!(%error, "the cluster could not be started"),
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(begin));
    Ok(())
}

/// The members that a new cluster starts with.
fn initial_members(config: &Config) -> BTreeMap<u64, Member> {
    let members = config.cluster.initial_members.iter();
    members
        .map(|member| {
            let (peer_address, public_address) = (member.peer.clone(), member.public.clone());
            (
                member.id,
                Member {
                    peer_address,
                    public_address,
                    incarnation: None,
                },
            )
        })
        .collect()
}

async fn propose_when_leading(consensus: &Consensus, keys: &Keyholder, policy: &Policy) {
    while !consensus.state().is_initialized() {
        if consensus.raft().is_leader() {
            propose(consensus, keys.keks(), policy).await;
        }
        sleep(PAUSE).await;
    }
    keys.follow(&consensus.state());
}

async fn propose(consensus: &Consensus, keks: &KekRing, policy: &Policy) {
    // A node that has just started knows neither who leads now nor everything that it has on disk.
    if consensus.linearize(consensus.deadline()).await.is_err()
        || consensus.state().is_initialized()
    {
        return;
    }
    let init = match first_command(keks, policy.clone()) {
        Ok(init) => Command::Init(init),
        Err(error) => return warn!(%error, "cluster not initialized yet"),
    };
    let (asked, deadline) = (consensus.asked_by_node(Duty::Start), consensus.deadline());
    let committed = consensus.propose(init, asked, deadline).await;
    match committed.map(|committed| committed.applied) {
        Ok(Applied::Initialized { revision }) => {
            info!(revision = revision.0, "cluster initialized");
        }
        Ok(other) => info!(?other, "cluster was initialized by another member"),
        Err(error) => warn!(%error, "cluster not initialized yet"),
    }
}

fn first_command(keks: &KekRing, policy: Policy) -> Result<Init, SealError> {
    let key = |id, purpose| new_key(keks, id, purpose, KeyState::Active);
    Ok(Init {
        feed_id: FeedId(random_16()),
        salt: FeedSalt(random_16()),
        keys: vec![
            key(1, KeyPurpose::Token)?,
            key(2, KeyPurpose::Feed)?,
            key(3, KeyPurpose::Audit)?,
        ],
        policy,
    })
}

/// The policy of the configuration's files, checked.
pub(super) fn policy(config: &Config) -> Result<Policy, BootstrapError> {
    let clients = read("clients", &config.policy.clients)?;
    let resources = if config.policy.resources.as_os_str().is_empty() {
        String::new()
    } else {
        read("resources", &config.policy.resources)?
    };
    for lockout in shortages(&PolicyView::parse(&clients, &resources)?) {
        tracing::warn!(%lockout, "the first policy locks people out");
    }
    Ok(Policy::new(clients, resources))
}

fn read(setting: &'static str, path: &std::path::Path) -> Result<String, BootstrapError> {
    std::fs::read_to_string(path).map_err(|error| BootstrapError::PolicyFile {
        setting,
        path: path.into(),
        reason: error.to_string(),
    })
}

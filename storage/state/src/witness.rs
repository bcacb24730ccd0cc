//! Witnessed heads: how far the audit chains of every node are, known to all members.
//!
//! ```text
//! node 2, every minute ── head of its chain, signed with its audit key ──▶ log ──▶ every member keeps the newest
//!                                                                                       │
//!     a folder that was set back, cut, rewritten, deleted or signed with another key ◀──┴── is found from any of them
//! ```
//! The first head of a chain fixes its id and the key of its node. From then on a head must be signed with that key, be of
//! that chain, and never go back: anything else is refused as [`RefusalCode::Contradicted`] and changes nothing. A chain
//! may begin anew, with another id and another key, only after an operator has accepted that the former one is lost.
//!
//! A witnessed head is not among the remembered first answers, as a head that stands is its own answer.

use ed25519_dalek::{Signature, VerifyingKey};
use hessra_revocation::{FeedId, UnixMillis};
use imbl::OrdMap;

use crate::limits::{CHAIN_NAME_BYTES_MAX, WITNESSED_MAX};
use crate::refusal::{Refusal, RefusalCode};

/// Name of a chain: its node, and which of the node's chains it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainName {
    /// Id of the node.
    pub node: u64,
    /// Name among the chains of the node, `a` to `z`, at most [`CHAIN_NAME_BYTES_MAX`] bytes.
    pub chain: String,
}

/// Head of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Random id of the chain: one that begins anew has another.
    pub id: [u8; 16],
    /// Number of the last record.
    pub seq: u64,
    /// Hash of the last record.
    pub hash: [u8; 32],
}

/// Head of a chain, as its node states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Name of the chain.
    pub name: ChainName,
    /// Head of the chain.
    pub head: ChainHead,
    /// Public half of the node's audit key, Ed25519.
    pub key: [u8; 32],
    /// Signature of that key over [`Self::statement`].
    pub signature: [u8; 64],
}

/// Newest head of a chain that the cluster has witnessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// Name of the chain.
    pub name: ChainName,
    /// Newest head.
    pub head: ChainHead,
    /// Public half of the node's audit key, Ed25519.
    pub key: [u8; 32],
    /// Time of the head, on the state's clock.
    pub at: UnixMillis,
    /// True when an operator has accepted that the chain is lost: the next head may be of another one.
    pub loss_accepted: bool,
    /// Last witnessed head of the chain before this one, when that one was lost.
    pub former: Option<ChainHead>,
}

impl Witness {
    /// The bytes that the node signs. They name the cluster, so that no statement is one of another cluster.
    #[must_use]
    pub fn statement(cluster: &FeedId, name: &ChainName, head: &ChainHead) -> Vec<u8> {
        let mut bytes = b"hessra audit witness v1\n".to_vec();
        bytes.extend_from_slice(&cluster.0);
        bytes.extend_from_slice(&name.node.to_be_bytes());
        bytes.extend_from_slice(&(name.chain.len() as u64).to_be_bytes());
        bytes.extend_from_slice(name.chain.as_bytes());
        bytes.extend_from_slice(&head.id);
        bytes.extend_from_slice(&head.seq.to_be_bytes());
        bytes.extend_from_slice(&head.hash);
        bytes
    }

    fn is_signed(&self, cluster: &FeedId) -> bool {
        let statement = Self::statement(cluster, &self.name, &self.head);
        let signature = Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&self.key)
            .is_ok_and(|key| key.verify_strict(&statement, &signature).is_ok())
    }
}

/// All witnessed heads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WitnessedHeads {
    chains: OrdMap<ChainName, Witnessed>,
}

impl WitnessedHeads {
    /// Newest head of a chain.
    #[must_use]
    pub fn find(&self, name: &ChainName) -> Option<&Witnessed> {
        self.chains.get(name)
    }

    /// Newest heads of all chains, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Witnessed> {
        self.chains.values()
    }

    /// Number of chains.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Puts a chain in the place of the one of that name; true when there was one.
    pub(crate) fn put(&mut self, witnessed: Witnessed) -> bool {
        let name = witnessed.name.clone();
        self.chains.insert(name, witnessed).is_some()
    }

    /// Gives heads that are later than `clock` that time.
    pub(crate) fn none_after(&mut self, clock: UnixMillis) {
        let late = self.iter().filter(|known| known.at > clock);
        let late: Vec<Witnessed> = late.cloned().collect();
        for known in late {
            self.put(Witnessed { at: clock, ..known });
        }
    }

    /// Takes a head, or refuses it.
    pub(crate) fn witness(
        &mut self,
        cluster: &FeedId,
        witness: &Witness,
        clock: UnixMillis,
    ) -> Result<(), Refusal> {
        check_form(witness)?;
        if !witness.is_signed(cluster) {
            let message = "the head is not signed with the key that it names";
            return Err(Refusal::invalid(message));
        }
        let known = self.chains.get(&witness.name);
        let former = match known {
            None if self.len() >= WITNESSED_MAX => {
                let message = format!("{WITNESSED_MAX} chains are known, the most there can be");
                return Err(Refusal::new(RefusalCode::Limit, message));
            }
            None => None,
            Some(known) => follows(known, witness)?,
        };
        let stands = known.is_some_and(|known| known.head == witness.head && !known.loss_accepted);
        if !stands {
            self.put(Witnessed {
                name: witness.name.clone(),
                head: witness.head,
                key: witness.key,
                at: clock,
                loss_accepted: false,
                former,
            });
        }
        Ok(())
    }

    /// Lets the chains of a node begin anew; their number.
    pub(crate) fn accept_loss(&mut self, node: u64) -> Result<u64, Refusal> {
        let of_node = |known: &&Witnessed| known.name.node == node;
        let lost: Vec<Witnessed> = self.iter().filter(of_node).cloned().collect();
        if lost.is_empty() {
            let message = format!("no audit of node {node} was ever witnessed");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        let count = lost.len() as u64;
        for known in lost {
            self.put(Witnessed {
                loss_accepted: true,
                ..known
            });
        }
        Ok(count)
    }
}

fn check_form(witness: &Witness) -> Result<(), Refusal> {
    let chain = &witness.name.chain;
    let is_name = (1..=CHAIN_NAME_BYTES_MAX).contains(&chain.len())
        && chain.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_name && witness.head.seq > 0 {
        return Ok(());
    }
    Err(Refusal::invalid("the head is of no chain"))
}

/// Checks that a head follows the known one; the head of the chain before it, when there was one.
fn follows(known: &Witnessed, witness: &Witness) -> Result<Option<ChainHead>, Refusal> {
    let (before, now) = (&known.head, &witness.head);
    if before.id != now.id {
        return match known.loss_accepted {
            true => Ok(Some(*before)),
            false => Err(contradicted(known, "it began anew")),
        };
    }
    if known.key != witness.key {
        return Err(contradicted(known, "it is signed with another key"));
    }
    if now.seq < before.seq {
        return Err(contradicted(known, "it went back"));
    }
    if now.seq == before.seq && now.hash != before.hash {
        return Err(contradicted(known, "it was rewritten"));
    }
    Ok(known.former)
}

fn contradicted(known: &Witnessed, how: &str) -> Refusal {
    let ChainName { node, chain } = &known.name;
    let message = format!(
        "the audit `{chain}` of node {node} is not the one that was witnessed at record {}: {how}. Keep a copy of its \
         folder, look for who can write there, compare it with exports",
        known.head.seq
    );
    Refusal::new(RefusalCode::Contradicted, message)
}

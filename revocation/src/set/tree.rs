//! Hash tree over the rules: their storage, and their root.
//!
//! The root is the RFC 6962 Merkle tree hash over 65,536 leaves. Leaf `n` is the canonical bytes of all rules whose
//! digest begins with the 16 bits `n`, in order. It depends on the content alone, and a holder of the rules of one leaf
//! can prove them with 16 hashes.
//!
//! In memory the tree is four branches deep, sixteen children each, behind `Arc`s: a clone is one look at sixteen
//! pointers, a change copies the five nodes above it, and each node remembers its hash until something below changes.
//! A bulk of changes therefore costs one hash per node touched, when the root is asked for, not one per change.

use std::sync::{Arc, LazyLock, OnceLock};

use crate::merkle::{leaf_hash, node_hash};
use crate::{Digest, Hash, Rule};

/// Tree of all rules.
pub(super) type Tree = Branch<Branch<Bucket>>;
/// Bucket: the rules whose digests share the first byte.
pub(super) type Bucket = Branch<Branch<Leaf>>;

const FANOUT: usize = 16;
/// Levels of the binary tree: 65,536 leaves.
const LEVELS: usize = 16;

/// Root of a subtree without rules, by its height.
static EMPTY: LazyLock<[Hash; LEVELS + 1]> = LazyLock::new(|| {
    let mut roots = [leaf_hash(&[]); LEVELS + 1];
    for level in 1..=LEVELS {
        roots[level] = node_hash(&roots[level - 1], &roots[level - 1]);
    }
    roots
});

/// Root of a bucket without rules.
pub(super) fn empty_bucket_root() -> Hash {
    EMPTY[Bucket::HEIGHT * 4]
}

/// Number of the leaf that a digest belongs to.
pub(super) fn leaf_number(digest: &Digest) -> u16 {
    u16::from_be_bytes([digest.0[0], digest.0[1]])
}

/// Subtree.
pub(super) trait Node: Clone + Default + Send + Sync {
    /// Levels of branches below.
    const HEIGHT: usize;

    /// Root of the subtree.
    fn hash(&self) -> Hash;
    fn is_empty(&self) -> bool;
    fn leaf(&self, number: u16) -> Option<&Leaf>;
    /// Changes one leaf, made if it is not there, and forgets the hashes above it.
    fn change<R>(&mut self, number: u16, change: impl FnOnce(&mut Leaf) -> R) -> R;
    /// Leaves in order. `Send`, because a snapshot of the state walks them on another thread.
    fn leaves(&self) -> Box<dyn Iterator<Item = &Leaf> + Send + '_>;
}

/// Branch: sixteen subtrees.
#[derive(Clone, Debug)]
pub(super) struct Branch<C> {
    children: [Option<Arc<C>>; FANOUT],
    hash: OnceLock<Hash>,
}

impl<C: Node> Branch<C> {
    fn slot(number: u16) -> usize {
        usize::from(number >> (4 * C::HEIGHT)) % FANOUT
    }

    pub(super) fn child(&self, slot: usize) -> Option<&C> {
        self.children[slot].as_deref()
    }

    /// Takes a child out.
    pub(super) fn take(&mut self, slot: usize) -> Option<Arc<C>> {
        self.hash = OnceLock::new();
        self.children[slot].take()
    }

    /// Changes a child in place and drops it when nothing is left in it.
    pub(super) fn change_child<R>(&mut self, slot: usize, change: impl FnOnce(&mut C) -> R) -> R {
        self.hash = OnceLock::new();
        let child = Arc::make_mut(self.children[slot].get_or_insert_default());
        let result = change(child);
        if child.is_empty() {
            self.children[slot] = None;
        }
        result
    }

    fn compute(&self) -> Hash {
        let mut row = self
            .children
            .each_ref()
            .map(|child| child.as_ref().map(|child| child.hash()));
        let mut width = FANOUT;
        for empty in &EMPTY[4 * C::HEIGHT..4 * C::HEIGHT + 4] {
            width /= 2;
            for at in 0..width {
                row[at] = match (row[2 * at], row[2 * at + 1]) {
                    (None, None) => None,
                    (left, right) => {
                        Some(node_hash(&left.unwrap_or(*empty), &right.unwrap_or(*empty)))
                    }
                };
            }
        }
        row[0].unwrap_or(EMPTY[4 * Self::HEIGHT])
    }
}

impl<C> Default for Branch<C> {
    fn default() -> Self {
        Self {
            children: [const { None }; FANOUT],
            hash: OnceLock::new(),
        }
    }
}

impl<C: Node> Node for Branch<C> {
    const HEIGHT: usize = C::HEIGHT + 1;

    fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| self.compute())
    }

    fn is_empty(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    fn leaf(&self, number: u16) -> Option<&Leaf> {
        self.child(Self::slot(number))?.leaf(number)
    }

    fn change<R>(&mut self, number: u16, change: impl FnOnce(&mut Leaf) -> R) -> R {
        self.change_child(Self::slot(number), |child| child.change(number, change))
    }

    fn leaves(&self) -> Box<dyn Iterator<Item = &Leaf> + Send + '_> {
        Box::new(
            self.children
                .iter()
                .flatten()
                .flat_map(|child| child.leaves()),
        )
    }
}

/// Leaf: the rules whose digests share the first 16 bits, sorted by kind number and digest.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    rules: Vec<Rule>,
    hash: OnceLock<Hash>,
}

impl Leaf {
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn rule(&self, order: (u8, Digest)) -> Option<&Rule> {
        self.position(order).ok().map(|at| &self.rules[at])
    }

    /// Puts a rule and returns the one that it replaces.
    pub(super) fn put(&mut self, rule: Rule) -> Option<Rule> {
        self.hash = OnceLock::new();
        match self.position(rule.order()) {
            Ok(at) => Some(std::mem::replace(&mut self.rules[at], rule)),
            Err(at) => {
                // Exactly one more: the slack of doubling would cost more memory than moving a few kilobytes costs time.
                self.rules.reserve_exact(1);
                self.rules.insert(at, rule);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, order: (u8, Digest)) -> Option<Rule> {
        self.hash = OnceLock::new();
        self.position(order).ok().map(|at| self.rules.remove(at))
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        self.rules.iter().for_each(|rule| rule.write(to));
    }

    fn position(&self, order: (u8, Digest)) -> Result<usize, usize> {
        self.rules.binary_search_by(|rule| rule.order().cmp(&order))
    }
}

impl Node for Leaf {
    const HEIGHT: usize = 0;

    fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| {
            let mut bytes = Vec::new();
            self.write(&mut bytes);
            leaf_hash(&bytes)
        })
    }

    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn leaf(&self, _number: u16) -> Option<&Leaf> {
        Some(self)
    }

    fn change<R>(&mut self, _number: u16, change: impl FnOnce(&mut Leaf) -> R) -> R {
        change(self)
    }

    fn leaves(&self) -> Box<dyn Iterator<Item = &Leaf> + Send + '_> {
        Box::new(std::iter::once(self))
    }
}

//! Rule set: all rules at one revision, the tokens they cover, and the root over them.
//!
//! A check hashes the names that a token shows and looks the digests up; no list of rules is walked. It asks *does any
//! rule deny*, so the order of the look-ups decides only which rule is named when several deny.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bytes::Reader;
use crate::{
    DecodeError, Digest, FeedSalt, Hash, Identity, Revision, Rule, RuleKind, TokenId, UnixSeconds,
};

mod tree;

use tree::{Bucket, Leaf, Node, Tree, empty_bucket_root, leaf_number};

/// Most bytes of one rule: kind, digest, flags, depth, cut-off, end.
const RULE_BYTES_MAX: usize = 1 + 16 + 1 + 1 + 8 + 8;

/// Number of buckets of a set; a rule's bucket is the first byte of its digest.
pub const BUCKETS: usize = 256;

/// Rules of one revision, with their hash tree.
///
/// Cheap to clone: clones share everything until they change.
#[derive(Clone, Debug)]
pub struct RevocationSet {
    salt: FeedSalt,
    tree: Tree,
    size: usize,
    /// Number of rules at each depth, 1 to 16, by kind.
    subtree_depths: Depths,
    lock_depths: Depths,
    /// Rules of unknown kinds: while there is one, everything is denied.
    unknown: Arc<BTreeMap<(u8, Digest), Rule>>,
}

impl RevocationSet {
    /// Empty set.
    #[must_use]
    pub fn new(salt: FeedSalt) -> Self {
        Self {
            salt,
            tree: Tree::default(),
            size: 0,
            subtree_depths: Depths::default(),
            lock_depths: Depths::default(),
            unknown: Arc::default(),
        }
    }

    /// Salt of the feed.
    #[must_use]
    pub fn salt(&self) -> &FeedSalt {
        &self.salt
    }

    /// Puts a rule in the place of the one with its kind and digest.
    pub fn put(&mut self, rule: Rule) {
        let replaced = self
            .tree
            .change(leaf_number(&rule.digest), |leaf| leaf.put(rule));
        if let Some(replaced) = replaced {
            self.forget(&replaced);
        }
        self.remember(&rule);
    }

    /// Removes a rule and returns it; `None` when there was none.
    pub fn remove(&mut self, kind: RuleKind, digest: &Digest) -> Option<Rule> {
        let order = (kind.number(), *digest);
        // Asked first, so that removing nothing does not make nodes.
        self.rule(kind, digest)?;
        let removed = self
            .tree
            .change(leaf_number(digest), |leaf| leaf.remove(order))?;
        self.forget(&removed);
        Some(removed)
    }

    /// Rule about one target.
    #[must_use]
    pub fn rule(&self, kind: RuleKind, digest: &Digest) -> Option<Rule> {
        self.tree
            .leaf(leaf_number(digest))?
            .rule((kind.number(), *digest))
            .copied()
    }

    /// Finds the first rule that denies; `None` when no rule covers the token. Does not allocate.
    ///
    /// A rule of an unknown kind denies everything, because its meaning is not known here.
    #[must_use]
    pub fn check(&self, query: &Query<'_>) -> Option<Denial> {
        let (subtrees, locks) = (self.subtree_depths.mask != 0, self.lock_depths.mask != 0);
        let mut places =
            places(query, (subtrees, locks)).filter(|(kind, depth, _)| self.occurs(*kind, *depth));
        self.unknown_rule()
            .or_else(|| {
                places.find_map(|(kind, _, canonical)| {
                    let digest = Digest::of(&self.salt, kind, canonical.as_ref());
                    self.denying(kind, &digest, query)
                })
            })
            .map(|rule| Denial { rule })
    }

    /// Checks as [`Self::check`] does, with the digests of the same query that were made before. Those of another salt are
    /// not used.
    #[must_use]
    pub fn check_hashed(&self, hashed: &HashedQuery, query: &Query<'_>) -> Option<Denial> {
        if hashed.salt != self.salt {
            return self.check(query);
        }
        let mut digests = hashed.digests.iter();
        self.unknown_rule()
            .or_else(|| {
                digests.find_map(|(kind, depth, digest)| {
                    self.occurs(*kind, *depth)
                        .then(|| self.denying(*kind, digest, query))?
                })
            })
            .map(|rule| Denial { rule })
    }

    /// Rule of a kind that a newer cluster made, if there is one: while it stands, everything is denied.
    #[must_use]
    pub fn unknown_rule(&self) -> Option<Rule> {
        self.unknown.values().next().copied()
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.size
    }

    /// True when there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Rules in canonical order: by the first 16 bits of the digest, then kind number, then digest.
    pub fn iter(&self) -> impl Iterator<Item = Rule> + '_ {
        self.tree
            .leaves()
            .flat_map(|leaf| leaf.rules().iter().copied())
    }

    /// Root of the hash tree over the rules. Cost: the parts changed since the last call.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.hash()
    }

    /// The 256 roots below [`Self::root`], by first digest byte: two holders compare them to find the buckets that
    /// differ.
    #[must_use]
    pub fn bucket_roots(&self) -> Vec<Hash> {
        let root = |number| {
            self.bucket_node(number)
                .map_or_else(empty_bucket_root, Node::hash)
        };
        (0..=u8::MAX).map(root).collect()
    }

    /// Canonical bytes of the rules of one bucket, in canonical order.
    #[must_use]
    pub fn bucket(&self, number: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for leaf in self.bucket_node(number).into_iter().flat_map(Node::leaves) {
            leaf.write(&mut bytes);
        }
        bytes
    }

    /// Most bytes that [`Self::bucket`] of this number has.
    #[must_use]
    pub fn bucket_bytes(&self, number: u8) -> usize {
        let leaves = self.bucket_node(number).into_iter().flat_map(Node::leaves);
        leaves.map(Leaf::len).sum::<usize>() * RULE_BYTES_MAX
    }

    /// Replaces whole buckets by the rules given: the concatenated bytes of [`Self::bucket`] of each.
    ///
    /// # Errors
    /// [`DecodeError`] when `numbers` or the rules are not strictly ascending, or a rule belongs to none of the
    /// buckets. The set is then changed in part and must be thrown away: replace on a clone.
    pub fn replace_buckets(&mut self, numbers: &[u8], rules: &[u8]) -> Result<(), DecodeError> {
        if !numbers.is_sorted_by(|one, next| one < next) {
            return Err(DecodeError::Invalid("buckets are not in ascending order"));
        }
        numbers.iter().for_each(|number| self.clear_bucket(*number));
        let mut last = None;
        let mut reader = Reader::new(rules);
        while !reader.is_empty() {
            let rule = Rule::read(&mut reader)?;
            let place = Some((leaf_number(&rule.digest), rule.order()));
            if place <= last {
                return Err(DecodeError::Invalid("rules are not in ascending order"));
            }
            if numbers.binary_search(&rule.digest.0[0]).is_err() {
                return Err(DecodeError::Invalid("a rule does not belong to its bucket"));
            }
            last = place;
            self.put(rule);
        }
        Ok(())
    }

    fn denying(&self, kind: RuleKind, digest: &Digest, query: &Query<'_>) -> Option<Rule> {
        let rule = self.rule(kind, digest)?;
        rule.denies(query.rev, query.now, query.skew_seconds)
            .then_some(rule)
    }

    /// True when a rule of that kind can be about a path of that depth: others need not be looked up.
    fn occurs(&self, kind: RuleKind, depth: u8) -> bool {
        match kind {
            RuleKind::Subtree => self.subtree_depths.occurs(depth),
            RuleKind::Lock => self.lock_depths.occurs(depth),
            _ => true,
        }
    }

    fn bucket_node(&self, number: u8) -> Option<&Bucket> {
        self.tree
            .child(usize::from(number >> 4))?
            .child(usize::from(number & 15))
    }

    fn clear_bucket(&mut self, number: u8) {
        if self.bucket_node(number).is_none() {
            return;
        }
        let (high, low) = (usize::from(number >> 4), usize::from(number & 15));
        let bucket = self.tree.change_child(high, |branch| branch.take(low));
        for rule in bucket
            .iter()
            .flat_map(|bucket| bucket.leaves())
            .flat_map(|leaf| leaf.rules())
        {
            self.forget(rule);
        }
    }

    fn remember(&mut self, rule: &Rule) {
        self.size += 1;
        match rule.kind {
            RuleKind::Subtree => self.subtree_depths.add(rule.depth),
            RuleKind::Lock => self.lock_depths.add(rule.depth),
            RuleKind::Unknown(_) => {
                Arc::make_mut(&mut self.unknown).insert(rule.order(), *rule);
            }
            RuleKind::Token | RuleKind::Exact | RuleKind::Key | RuleKind::Certificate => {}
        }
    }

    fn forget(&mut self, rule: &Rule) {
        self.size -= 1;
        match rule.kind {
            RuleKind::Subtree => self.subtree_depths.subtract(rule.depth),
            RuleKind::Lock => self.lock_depths.subtract(rule.depth),
            RuleKind::Unknown(_) => {
                Arc::make_mut(&mut self.unknown).remove(&rule.order());
            }
            RuleKind::Token | RuleKind::Exact | RuleKind::Key | RuleKind::Certificate => {}
        }
    }
}

/// Names and ids that a token shows to the rules: all that [`RevocationSet::check`] looks at.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Actor, base subject, and every `right` subject.
    pub identities: &'a [Identity],
    /// Actor: `exact` rules match it only.
    pub actor: Option<&'a Identity>,
    /// Every block id and every recorded ancestor id.
    pub token_ids: &'a [TokenId],
    /// Root key id, when the token names one.
    pub root_key: Option<u32>,
    /// Keys of third-party blocks, canonical bytes (algorithm number, then key).
    pub third_party_keys: &'a [Vec<u8>],
    /// Fingerprint of the client certificate the token was issued over.
    pub certificate: Option<[u8; 32]>,
    /// The token's own `rev` fact, authority block only.
    pub rev: Option<Revision>,
    /// Wall clock, for locks.
    pub now: UnixSeconds,
    /// Tolerated difference of clocks: a lock lasts so much longer.
    pub skew_seconds: u64,
}

/// Query whose names and ids are hashed, for a token that is asked about again and again: hashing them is most of the cost
/// of [`RevocationSet::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedQuery {
    salt: FeedSalt,
    /// Kind, depth of the path (0: it has none) and digest, in the order in which rules are looked up.
    digests: Vec<(RuleKind, u8, Digest)>,
}

impl HashedQuery {
    /// Hashes the names and ids of a query under the salt of a feed.
    #[must_use]
    pub fn new(salt: &FeedSalt, query: &Query<'_>) -> Self {
        let mut digests = Vec::new();
        for (kind, depth, canonical) in places(query, (true, true)) {
            let place = (kind, depth, Digest::of(salt, kind, canonical.as_ref()));
            // The names of a chain have their ancestors in common.
            if !digests.contains(&place) {
                digests.push(place);
            }
        }
        Self {
            salt: *salt,
            digests,
        }
    }
}

/// Canonical bytes of a name or id, lent by the query or made of it.
enum Canonical<'a> {
    Lent(&'a [u8]),
    Key([u8; 4]),
}

impl AsRef<[u8]> for Canonical<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Key(bytes) => bytes,
        }
    }
}

/// Everything that a rule can be about: kind, depth of the path, canonical bytes. `subtrees`, `locks`: whether rules of
/// these kinds are looked for at all.
fn places<'a>(
    query: &'a Query<'_>,
    (subtrees, locks): (bool, bool),
) -> impl Iterator<Item = (RuleKind, u8, Canonical<'a>)> {
    let lent = |kind, bytes: &'a [u8]| (kind, 0, Canonical::Lent(bytes));
    let paths = |kind: RuleKind, wanted: bool| {
        let names = query.identities.iter().filter(move |_| wanted);
        let paths = names.flat_map(Identity::ancestors_and_self);
        paths.map(move |(depth, path)| (kind, depth, Canonical::Lent(path.as_bytes())))
    };
    let tokens = query.token_ids.iter();
    let signers = query.third_party_keys.iter();
    tokens
        .map(move |id| lent(RuleKind::Token, id.as_bytes()))
        .chain(paths(RuleKind::Subtree, subtrees))
        .chain(paths(RuleKind::Lock, locks))
        .chain(
            query
                .actor
                .map(|actor| lent(RuleKind::Exact, actor.path().as_bytes())),
        )
        .chain(
            query
                .root_key
                .map(|id| (RuleKind::Key, 0, Canonical::Key(id.to_be_bytes()))),
        )
        .chain(signers.map(move |key| lent(RuleKind::Key, key)))
        .chain(
            query
                .certificate
                .as_ref()
                .map(|print| lent(RuleKind::Certificate, print)),
        )
}

/// Denial, with the rule that denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Rule, as the verifier holds it.
    pub rule: Rule,
}

/// Number of rules at each depth, and a mask of the depths that occur.
#[derive(Clone, Debug, Default)]
struct Depths {
    counts: [u32; 17],
    mask: u32,
}

impl Depths {
    fn occurs(&self, depth: u8) -> bool {
        self.mask >> depth & 1 == 1
    }

    // INVARIANT: depths are 1 to 16: rules are made by `Rule::new` or read by `Rule::read`, which both see to it.
    fn add(&mut self, depth: u8) {
        debug_assert!((1..=16).contains(&depth), "a rule of depth {depth}");
        if let Some(count) = self.counts.get_mut(usize::from(depth)) {
            *count += 1;
            self.mask |= 1 << depth;
        }
    }

    fn subtract(&mut self, depth: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(depth)) {
            *count -= 1;
            if *count == 0 {
                self.mask &= !(1 << depth);
            }
        }
    }
}

//! Target of a revocation, as people name it ([`Target`]), and the rule about it, as verifiers hold it ([`Rule`]).
//!
//! A verifier learns digests only: it can ask "is this name covered?" for names it meets, and cannot list the covered
//! names. Any rule that matches denies; there is no precedence between rules and no exception to one.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::bytes::{Reader, write_hex};
use crate::id::SEGMENTS_MAX;
use crate::{DecodeError, Identity, Revision, UnixSeconds};

mod signer_key;
mod token_id;

pub use signer_key::{SignerKey, SignerKeyError};
pub use token_id::{TOKEN_ID_BYTES_MAX, TokenId, TokenIdError};

/// Target of a revocation, as people name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Token, by the id of any of its blocks; with it everything that was derived from it.
    Token(TokenId),
    /// Identity and everything below it.
    Subtree(Identity),
    /// Identity as the actor of a token; nothing below it.
    Exact(Identity),
    /// Root key, by its id.
    Key(u32),
    /// Key of a signer of third-party blocks: what it signed is denied, in whichever token.
    Signer(SignerKey),
    /// Client certificate, by the SHA-256 of its DER form.
    Certificate([u8; 32]),
    /// Identity and everything below it, until a time.
    Lock(Identity),
}

impl Target {
    /// Kind of the target's rule.
    #[must_use]
    pub fn kind(&self) -> RuleKind {
        match self {
            Self::Token(_) => RuleKind::Token,
            Self::Subtree(_) => RuleKind::Subtree,
            Self::Exact(_) => RuleKind::Exact,
            // One kind: the bytes tell them apart, 4 of an id and 36 or 37 of a key.
            Self::Key(_) | Self::Signer(_) => RuleKind::Key,
            Self::Certificate(_) => RuleKind::Certificate,
            Self::Lock(_) => RuleKind::Lock,
        }
    }

    /// Identity that the target is about; `None` for tokens, keys and certificates.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Subtree(identity) | Self::Exact(identity) | Self::Lock(identity) => {
                Some(identity)
            }
            Self::Token(_) | Self::Key(_) | Self::Signer(_) | Self::Certificate(_) => None,
        }
    }

    /// Digest under a feed's salt. Identities are digested by [`Identity::path`]; keys as 4 bytes big-endian, those of
    /// signers by [`SignerKey::to_bytes`].
    #[must_use]
    pub fn digest(&self, salt: &FeedSalt) -> Digest {
        match self {
            Self::Token(id) => Digest::of(salt, self.kind(), id.as_bytes()),
            Self::Subtree(name) | Self::Exact(name) | Self::Lock(name) => {
                Digest::of(salt, self.kind(), name.path().as_bytes())
            }
            Self::Key(id) => Digest::of(salt, self.kind(), &id.to_be_bytes()),
            Self::Signer(key) => Digest::of(salt, self.kind(), &key.to_bytes()),
            Self::Certificate(fingerprint) => Digest::of(salt, self.kind(), fingerprint),
        }
    }

    /// Depth of the path of a subtree or lock; 0 for kinds that do not descend.
    #[must_use]
    pub fn depth(&self) -> u8 {
        match self {
            Self::Subtree(name) | Self::Lock(name) => name.depth(),
            Self::Token(_)
            | Self::Exact(_)
            | Self::Key(_)
            | Self::Signer(_)
            | Self::Certificate(_) => 0,
        }
    }
}

/// Text of listings, without the kind: identities as spelled, keys in decimal, keys of signers as the policy writes them, token ids and fingerprints in lowercase
/// hexadecimal.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "{id}"),
            Self::Subtree(identity) | Self::Exact(identity) | Self::Lock(identity) => {
                write!(f, "{identity}")
            }
            Self::Key(id) => write!(f, "{id}"),
            Self::Signer(key) => write!(f, "{key}"),
            Self::Certificate(fingerprint) => write_hex(f, fingerprint),
        }
    }
}

/// Kind of a rule. Numbers are wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Kind of [`Target::Token`].
    Token,
    /// Kind of [`Target::Subtree`].
    Subtree,
    /// Kind of [`Target::Exact`].
    Exact,
    /// Kind of [`Target::Key`] and [`Target::Signer`].
    Key,
    /// Kind of [`Target::Certificate`].
    Certificate,
    /// Kind of [`Target::Lock`].
    Lock,
    /// Kind that a newer cluster made: it denies everything and asks for an upgrade.
    Unknown(u8),
}

impl RuleKind {
    /// Wire number: Token 1, Subtree 2, Exact 3, Key 4, Certificate 5, Lock 6.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Subtree => 2,
            Self::Exact => 3,
            Self::Key => 4,
            Self::Certificate => 5,
            Self::Lock => 6,
            Self::Unknown(number) => number,
        }
    }

    /// Kind of a wire number. Total: a number without a name is [`RuleKind::Unknown`].
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Token,
            2 => Self::Subtree,
            3 => Self::Exact,
            4 => Self::Key,
            5 => Self::Certificate,
            6 => Self::Lock,
            other => Self::Unknown(other),
        }
    }

    /// Word of listings, messages and audit records; `unknown` for a kind of a newer cluster.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Subtree => "subtree",
            Self::Exact => "exact",
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Lock => "lock",
            Self::Unknown(_) => "unknown",
        }
    }

    /// True when rules of this kind cover everything below a path.
    fn descends(self) -> bool {
        matches!(self, Self::Subtree | Self::Lock)
    }
}

/// Salt of a feed's digests: random, so that digests cannot be precomputed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedSalt(pub [u8; 16]);

/// Digest of a target: `SHA-256(salt, kind, canonical bytes)[..16]`.
///
/// 128 bits: 64 can be ground out by someone who sees live ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Digest of canonical bytes under a kind. Does not allocate.
    #[must_use]
    pub fn of(salt: &FeedSalt, kind: RuleKind, canonical: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(salt.0)
            .chain_update([kind.number()])
            .chain_update(canonical)
            .finalize();
        let (half, _) = hash.split_first_chunk().expect("SHA-256 has 32 bytes");
        Self(*half)
    }
}

/// Revision from which on tokens escape a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cutoff {
    /// Denies tokens without a revision, or with one below this one.
    Before(Revision),
    /// Denies every token, whatever revision it carries. Stronger than any revision (`Ord` says so).
    Permanent,
}

impl Cutoff {
    /// True when a token that carries `rev` is denied.
    #[must_use]
    pub fn denies(self, rev: Option<Revision>) -> bool {
        match self {
            Self::Permanent => true,
            Self::Before(cutoff) => rev.is_none_or(|rev| rev < cutoff),
        }
    }
}

/// Rule about a target, as verifiers hold it: no name, only a digest.
///
/// Canonical bytes: `kind u8, digest 16, fields u8`, then the fields that the bits of `fields` announce, numbers
/// big-endian: bit 0 `depth u8`, bit 1 `cutoff u64` (absent: permanent), bit 2 `until u64`. A field that is zero is
/// absent, so a rule has one encoding; the same layout serves unknown kinds, which are therefore kept and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Kind of its target.
    pub kind: RuleKind,
    /// Digest of its target.
    pub digest: Digest,
    /// Depth of the path of subtree and lock rules, else 0: lets a check hash only depths that occur.
    pub depth: u8,
    /// Revision below which tokens are denied. Of a lock always permanent: a lock denies all tokens while it lasts.
    pub cutoff: Cutoff,
    /// End of a lock; `None` for a rule that does not end by itself.
    pub until: Option<UnixSeconds>,
}

impl Rule {
    /// Makes the rule of a target. `cutoff` is ignored for a lock, `until` for any other kind.
    #[must_use]
    pub fn new(
        salt: &FeedSalt,
        target: &Target,
        cutoff: Cutoff,
        until: Option<UnixSeconds>,
    ) -> Self {
        let kind = target.kind();
        let (cutoff, until) = match kind {
            RuleKind::Lock => (Cutoff::Permanent, until),
            _ => (cutoff, None),
        };
        Self {
            kind,
            digest: target.digest(salt),
            depth: target.depth(),
            cutoff,
            until,
        }
    }

    /// Merges two rules about one target into the stronger one: later cut-off, permanent above all, later end.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let until = match (self.until, other.until) {
            (Some(one), Some(another)) => Some(one.max(another)),
            // A rule without an end outlasts every other.
            _ => None,
        };
        Self {
            cutoff: self.cutoff.max(other.cutoff),
            until,
            ..self
        }
    }

    /// True when a token that carries `rev` is denied at wall-clock `now`, with clocks that may differ by
    /// `skew_seconds`.
    #[must_use]
    pub fn denies(&self, rev: Option<Revision>, now: UnixSeconds, skew_seconds: u64) -> bool {
        let lasts = self
            .until
            .is_none_or(|until| now.0 < until.0.saturating_add(skew_seconds));
        lasts && self.cutoff.denies(rev)
    }

    /// Canonical bytes; 18 of them for a permanent rule about a token.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RULE_BYTES_MAX);
        self.write(&mut bytes);
        bytes
    }

    /// Reads the bytes that [`Self::to_bytes`] makes, and no others.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] for a field of a newer cluster; the other kinds for bytes that no cluster makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let rule = Self::read(&mut reader)?;
        reader.end()?;
        Ok(rule)
    }

    /// Sort key of rules in a leaf of the hash tree.
    pub(crate) fn order(&self) -> (u8, Digest) {
        (self.kind.number(), self.digest)
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let cutoff = match self.cutoff {
            Cutoff::Permanent => None,
            Cutoff::Before(revision) => Some(revision.0),
        };
        to.push(self.kind.number());
        to.extend(self.digest.0);
        let has = |present: bool, bit: u8| if present { bit } else { 0 };
        to.push(
            has(self.depth > 0, HAS_DEPTH)
                | has(cutoff.is_some(), HAS_CUTOFF)
                | has(self.until.is_some(), HAS_UNTIL),
        );
        if self.depth > 0 {
            to.push(self.depth);
        }
        to.extend(
            cutoff
                .into_iter()
                .chain(self.until.map(|until| until.0))
                .flat_map(u64::to_be_bytes),
        );
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = RuleKind::from_number(reader.u8()?);
        let digest = Digest(reader.array()?);
        let fields = reader.u8()?;
        if fields & !(HAS_DEPTH | HAS_CUTOFF | HAS_UNTIL) != 0 {
            return Err(DecodeError::Unknown(fields));
        }
        let depth = if fields & HAS_DEPTH != 0 {
            Some(reader.u8()?)
        } else {
            None
        };
        let cutoff = if fields & HAS_CUTOFF != 0 {
            Some(reader.u64()?)
        } else {
            None
        };
        let until = if fields & HAS_UNTIL != 0 {
            Some(reader.u64()?)
        } else {
            None
        };
        if depth == Some(0) || cutoff == Some(0) || until == Some(0) {
            return Err(DecodeError::Invalid(
                "a field of a rule is present and zero",
            ));
        }
        let rule = Self {
            kind,
            digest,
            depth: depth.unwrap_or(0),
            cutoff: cutoff.map_or(Cutoff::Permanent, |revision| {
                Cutoff::Before(Revision(revision))
            }),
            until: until.map(UnixSeconds),
        };
        rule.check_fields().map(|()| rule)
    }

    /// Fields that a kind cannot have would be ignored by one verifier and honoured by another.
    fn check_fields(&self) -> Result<(), DecodeError> {
        if matches!(self.kind, RuleKind::Unknown(_)) {
            return Ok(());
        }
        if self.kind.descends() != (self.depth > 0) || usize::from(self.depth) > SEGMENTS_MAX {
            return Err(DecodeError::Invalid(
                "the depth of a rule does not fit its kind",
            ));
        }
        match (self.kind, self.cutoff, self.until) {
            (RuleKind::Lock, Cutoff::Before(_), _) => {
                Err(DecodeError::Invalid("a lock has a cut-off"))
            }
            (RuleKind::Lock, ..) | (_, _, None) => Ok(()),
            (_, _, Some(_)) => Err(DecodeError::Invalid("a rule that is not a lock has an end")),
        }
    }
}

/// Kind, digest, fields, depth, cut-off, end.
const RULE_BYTES_MAX: usize = 1 + 16 + 1 + 1 + 8 + 8;
const HAS_DEPTH: u8 = 1;
const HAS_CUTOFF: u8 = 2;
const HAS_UNTIL: u8 = 4;

//! Token, taken apart: its blocks, ids and facts. Parsed, not verified: nothing here may be believed.
//!
//! The text is padded URL-safe base64 of a Biscuit in its one canonical encoding. Anything else is refused, because a
//! second spelling of a token is a way around a filter that remembers the first.

use std::fmt;
use std::sync::OnceLock;

use biscuit_auth::UnverifiedBiscuit;
use biscuit_auth::format::schema;
use data_encoding::BASE64URL;
use prost_biscuit::Message;

use hessra_revocation::TokenId;

use crate::TokenError;

pub(crate) mod block;
mod facts;
mod limits;
mod nesting;
pub(crate) mod policy;
pub(crate) mod shape;
pub(crate) mod size;

pub(crate) use block::Block;
use block::malformed;
pub use facts::{Refreshed, Right, Session, TokenClass, TokenFacts};
pub(crate) use limits::ROLES_MAX;
pub use limits::{ANCESTORS_MAX, Limits};
pub use policy::PolicyChecks;
pub(crate) use policy::{NotTaken, PolicyBudget, PolicyCheck};
pub(crate) use shape::{CheckShape, RuleShape};

/// Token that is well-formed and unverified.
#[derive(Clone)]
pub struct Token {
    envelope: schema::Biscuit,
    /// The library's form, or why there is none; made when it is asked for.
    biscuit: OnceLock<Result<UnverifiedBiscuit, TokenError>>,
    blocks: Vec<Block>,
    ids: Vec<TokenId>,
    bytes: Vec<u8>,
}

impl Token {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`TokenError`]; the text is not repeated in it.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, TokenError> {
        let token = Self::glance(text, limits)?;
        token.biscuit()?;
        Ok(token)
    }

    /// Reads the text form, for a reader who may need no more of the token than its envelope and its blocks: whether the
    /// library reads it too is found out when [`Self::biscuit`] is asked for.
    pub(crate) fn glance(text: &str, limits: &Limits) -> Result<Self, TokenError> {
        if text.len() > limits.text_bytes_max {
            return Err(TokenError::TooLong {
                length: text.len(),
                limit: limits.text_bytes_max,
            });
        }
        let bytes = BASE64URL
            .decode(text.as_bytes())
            .map_err(|_| TokenError::Encoding)?;
        Self::from_bytes(&bytes, limits)
    }

    fn from_bytes(bytes: &[u8], limits: &Limits) -> Result<Self, TokenError> {
        let envelope = schema::Biscuit::decode(bytes).map_err(malformed)?;
        let count = 1 + envelope.blocks.len();
        if count > limits.blocks_max {
            return Err(TokenError::TooManyBlocks {
                count,
                limit: limits.blocks_max,
            });
        }
        if envelope.encode_to_vec() != bytes {
            return Err(TokenError::Format("its encoding is not canonical".into()));
        }
        // Before the library reads it once more: what is too much is refused unconverted.
        let blocks = block::read_all(&envelope)?;
        let signed = std::iter::once(&envelope.authority).chain(&envelope.blocks);
        let ids = signed.map(|block| TokenId::new(&block.signature).map_err(malformed));
        Ok(Self {
            blocks,
            ids: ids.collect::<Result<_, _>>()?,
            envelope,
            biscuit: OnceLock::new(),
            bytes: bytes.to_vec(),
        })
    }

    /// Number of blocks, the authority block included.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Ids of the blocks, authority first: each revokes its block and all that was appended after it.
    #[must_use]
    pub fn revocation_ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// Keys of those who signed its third-party blocks, by block, as rules about them are digested.
    #[must_use]
    pub fn signer_keys(&self) -> Vec<Vec<u8>> {
        let keys = self.blocks.iter().filter_map(|block| block.external_key);
        keys.map(|key| key.to_bytes()).collect()
    }

    /// Id of the key that the token says it was signed with. Not covered by any signature.
    #[must_use]
    pub fn root_key_id(&self) -> Option<u32> {
        self.envelope.root_key_id
    }

    /// Datalog of one block, as Biscuit prints it; `None` when there is no such block.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<String> {
        // Biscuit's own bound check lets one index too many through and panics on it.
        (index < self.block_count())
            .then(|| self.biscuit().ok()?.print_block_source(index).ok())
            .flatten()
    }

    /// Facts of the authority block.
    ///
    /// # Errors
    /// [`TokenError::Format`] when one of our facts is malformed, or comes twice.
    pub fn facts(&self) -> Result<TokenFacts, TokenError> {
        TokenFacts::read(self.authority())
    }

    /// Text as it was read.
    pub(crate) fn to_text(&self) -> String {
        to_text(&self.bytes)
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(crate) fn authority(&self) -> &Block {
        self.blocks.first().expect("a token has an authority block")
    }

    pub(crate) fn envelope(&self) -> &schema::Biscuit {
        &self.envelope
    }

    /// The library's form of the token.
    ///
    /// # Errors
    /// [`TokenError::Format`]: the library does not read it. Not after [`Self::parse`].
    pub(crate) fn biscuit(&self) -> Result<&UnverifiedBiscuit, TokenError> {
        let read = || UnverifiedBiscuit::from(&self.bytes).map_err(malformed);
        self.biscuit
            .get_or_init(read)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Instant from which on the token is refused: the least bound of its time checks, Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.blocks.iter().filter_map(Block::expires_at).min()
    }
}

/// Hides the token: a reader of a log must not be able to use it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// The text form of a Biscuit: padded URL-safe base64, no line end.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

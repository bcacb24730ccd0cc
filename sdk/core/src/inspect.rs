//! Inspection: the content of a token, for people. It verifies nothing, and must not decide anything.

use hessra_revocation::{TokenId, UnixSeconds};

use crate::token::{Block, CheckShape};
use crate::{Chain, Limits, PolicyChecks, Right, Token, TokenClass, TokenError, TokenFacts};

/// Description of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Class that the token seems to be of; `None` when it is of none, or of two.
    pub class: Option<TokenClass>,
    /// Subject and delegations of an identity, in order, as written; empty for other classes.
    pub chain: Vec<String>,
    /// True when an identity of the published shape may be delegated by its holder.
    pub delegable: bool,
    /// Reason why an identity would be refused by structure alone.
    pub problem: Option<String>,
    /// Rights that the token grants.
    pub rights: Vec<Right>,
    /// Least bound of its time checks.
    pub expires_at: Option<UnixSeconds>,
    /// Id of the key that it says it was signed with.
    pub root_key_id: Option<u32>,
    /// Facts of the authority block; `None` when one is malformed.
    pub facts: Option<TokenFacts>,
    /// All blocks, authority first.
    pub blocks: Vec<BlockDescription>,
}

/// Description of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDescription {
    /// Role of the block.
    pub role: BlockRole,
    /// Id that revokes this block and all that was appended after it.
    pub revocation_id: TokenId,
    /// Key of a third-party block: algorithm number (4 bytes, big-endian; 0 = Ed25519, 1 = P-256), then the key.
    pub external_key: Option<Vec<u8>>,
    /// Least bound of its own time checks.
    pub expires_at: Option<UnixSeconds>,
    /// Datalog as Biscuit prints it; strings are not escaped, so never read it back.
    pub source: String,
}

/// Role of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockRole {
    /// Authority block.
    Authority,
    /// Delegation, which narrows the identity to a name.
    Delegation {
        /// Name, as written.
        to: String,
    },
    /// Bound in time, and nothing else.
    TimeOnly,
    /// Narrowing of a capability: to designations, a prefix or a domain.
    Narrowing,
    /// Attestation, signed by a third party.
    Attestation {
        /// Names of its facts, such as `service`, `namespace`, `prefix_added`, `activation`, `exposed_label`.
        facts: Vec<String>,
    },
    /// Checks of the holder's own making, and nothing else.
    Policy,
    /// Any other block.
    Other,
}

/// Describes a token as far as it can be read.
///
/// # Errors
/// [`TokenError`] when it is not a token at all.
pub fn inspect(text: &str, limits: &Limits) -> Result<Description, TokenError> {
    let token = Token::parse(text, limits)?;
    let facts = token.facts().ok();
    let class = facts.as_ref().and_then(class_of);
    let chain = match (&facts, class) {
        (Some(facts), Some(TokenClass::Identity)) => {
            Some(Chain::derive(&token, facts, limits, PolicyChecks::Evaluate))
        }
        _ => None,
    };
    let blocks = describe_blocks(&token);
    Ok(Description {
        class,
        chain: match class {
            Some(TokenClass::Identity) => names(facts.as_ref(), &blocks),
            _ => Vec::new(),
        },
        delegable: matches!(&chain, Some(Ok(chain)) if chain.is_delegable()),
        problem: chain.and_then(Result::err).map(|error| error.to_string()),
        rights: facts
            .as_ref()
            .map_or_else(Vec::new, |facts| facts.rights.clone()),
        expires_at: token.expires_at().map(UnixSeconds),
        root_key_id: token.root_key_id(),
        facts,
        blocks,
    })
}

fn class_of(facts: &TokenFacts) -> Option<TokenClass> {
    facts.structural_class().ok()
}

fn names(facts: Option<&TokenFacts>, blocks: &[BlockDescription]) -> Vec<String> {
    let subjects = facts
        .into_iter()
        .flat_map(|facts| facts.subjects.iter().cloned());
    let delegations = blocks.iter().filter_map(|block| match &block.role {
        BlockRole::Delegation { to } => Some(to.clone()),
        _ => None,
    });
    subjects.chain(delegations).collect()
}

fn describe_blocks(token: &Token) -> Vec<BlockDescription> {
    let blocks = token
        .blocks()
        .iter()
        .zip(token.revocation_ids())
        .enumerate();
    blocks
        .map(|(index, (block, id))| BlockDescription {
            role: if index == 0 {
                BlockRole::Authority
            } else {
                role_of(block)
            },
            revocation_id: id.clone(),
            external_key: block.external_key.map(|key| key.to_bytes()),
            expires_at: block.expires_at().map(UnixSeconds),
            source: token.source(index).unwrap_or_default(),
        })
        .collect()
}

fn role_of(block: &Block) -> BlockRole {
    if !block.rules.is_empty() || block.scoped {
        return BlockRole::Other;
    }
    if !block.facts.is_empty() {
        return match block.external_key {
            Some(_) => BlockRole::Attestation {
                facts: fact_names(block),
            },
            None => BlockRole::Other,
        };
    }
    let delegation = block.checks.iter().find_map(|check| match check {
        CheckShape::Actor { name, .. } => Some(name.clone()),
        _ => None,
    });
    let all = |is: fn(&CheckShape) -> bool| block.checks.iter().all(is);
    match delegation {
        Some(to) => BlockRole::Delegation { to },
        None if all(|check| matches!(check, CheckShape::Before(_))) => BlockRole::TimeOnly,
        None if all(narrows) => BlockRole::Narrowing,
        None => BlockRole::Policy,
    }
}

fn narrows(check: &CheckShape) -> bool {
    matches!(
        check,
        CheckShape::Before(_)
            | CheckShape::Designation { .. }
            | CheckShape::Prefix(_)
            | CheckShape::Domain(_)
    )
}

fn fact_names(block: &Block) -> Vec<String> {
    let mut names: Vec<_> = block.facts.iter().map(|fact| fact.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

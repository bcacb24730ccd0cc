//! Block, decoded: its facts, and its rules and checks by meaning.

use std::fmt;
use std::sync::OnceLock;

use biscuit_auth::PublicKey;
use biscuit_auth::builder::{Check, Convert, Fact, Predicate, Rule, Term};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::convert::{
    proto_block_to_token_block, proto_check_to_token_check, proto_fact_to_token_fact,
    proto_rule_to_token_rule,
};
use biscuit_auth::format::schema;
use prost_biscuit::Message;

use super::nesting;
use super::shape::{CheckShape, RuleShape};
use super::size::Size;
use crate::TokenError;
use crate::third_party::ThirdPartyKey;

/// Block, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// All facts.
    pub facts: Vec<Predicate>,
    /// All rules, by meaning.
    pub rules: Vec<RuleShape>,
    /// True when the block as a whole names whom it trusts.
    pub scoped: bool,
    /// All checks, by meaning.
    pub checks: Vec<CheckShape>,
    /// Key of a third-party block.
    pub external_key: Option<ThirdPartyKey>,
    /// True when the library reads the block as a whole: its version is a known one, and has everything that is in it.
    pub is_known: bool,
}

impl Block {
    /// Least bound of the time checks, Unix seconds.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        let bounds = self.checks.iter().filter_map(|check| match check {
            CheckShape::Before(bound) => Some(*bound),
            _ => None,
        });
        bounds.min()
    }

    /// Text of its one fact `name("..")`; `None` when it has none such, or more.
    pub(crate) fn fact_text(&self, name: &str) -> Option<&str> {
        let mut named = self.facts.iter().filter(|fact| fact.name == name);
        match (named.next().map(|fact| fact.terms.as_slice()), named.next()) {
            (Some([Term::Str(text)]), None) => Some(text),
            _ => None,
        }
    }

    /// True when the block is signed with the key, and says `name("text")`.
    pub(crate) fn says(&self, key: &ThirdPartyKey, name: &str, text: &str) -> bool {
        self.external_key.as_ref() == Some(key) && self.fact_text(name) == Some(text)
    }

    /// True when the block has a fact of that name.
    pub(crate) fn has_fact(&self, name: &str) -> bool {
        self.facts.iter().any(|fact| fact.name == name)
    }

    /// True when the block says `designation("label", "value")`.
    pub(crate) fn designates(&self, label: &str, value: &str) -> bool {
        let mut facts = self.facts.iter();
        facts.any(|fact| match fact.terms.as_slice() {
            [Term::Str(of), Term::Str(is)] => {
                fact.name == "designation" && of == label && is == value
            }
            _ => false,
        })
    }

    /// True when the block has nothing but checks.
    pub(crate) fn only_restricts(&self) -> bool {
        self.facts.is_empty() && self.rules.is_empty() && !self.scoped
    }
}

/// Reads all blocks of a token.
pub(super) fn read_all(envelope: &schema::Biscuit) -> Result<Vec<Block>, TokenError> {
    let (mut symbols, mut size) = (SymbolTable::new(), Size::default());
    let mut blocks = Vec::with_capacity(1 + envelope.blocks.len());
    for signed in std::iter::once(&envelope.authority).chain(&envelope.blocks) {
        let content = schema::Block::decode(signed.block.as_slice());
        let content = content.map_err(|error| undecodable(&signed.block, error))?;
        size.add(&content, !blocks.is_empty())?;
        let own = own_symbols(&content)?;
        let external = signed.external_signature.as_ref();
        // A third-party block is written without sight of the token, so its symbols and keys are its own.
        if external.is_none() {
            symbols.extend(&own).map_err(malformed)?;
        }
        let table = if external.is_some() { &own } else { &symbols };
        let mut block = read(&content, table)?;
        let external = external.map(|signature| ThirdPartyKey::read(&signature.public_key));
        block.external_key = external.transpose().map_err(malformed)?;
        // Whether there is a key is asked, not which: one that is a point already saves finding that of each block.
        let some_key = external_is_there(&block);
        block.is_known = proto_block_to_token_block(&content, some_key).is_ok();
        blocks.push(block);
    }
    Ok(blocks)
}

/// Any key for a third-party block; `None` for another one.
fn external_is_there(block: &Block) -> Option<PublicKey> {
    static ANY: OnceLock<PublicKey> = OnceLock::new();
    let key = block.external_key?;
    Some(*ANY.get_or_init(|| key.inner()))
}

fn own_symbols(content: &schema::Block) -> Result<SymbolTable, TokenError> {
    let keys = content.public_keys.iter().map(PublicKey::from_proto);
    let keys = keys.collect::<Result<_, _>>().map_err(malformed)?;
    SymbolTable::from_symbols_and_public_keys(content.symbols.clone(), keys).map_err(malformed)
}

fn read(content: &schema::Block, symbols: &SymbolTable) -> Result<Block, TokenError> {
    let version = content.version.unwrap_or_default();
    let facts = content.facts.iter().map(|fact| read_fact(fact, symbols));
    let rules = content.rules.iter();
    let rules = rules.map(|rule| read_rule(rule, version, symbols));
    let checks = content.checks.iter();
    let checks = checks.map(|check| read_check(check, version, symbols));
    Ok(Block {
        facts: facts.collect::<Result<_, _>>()?,
        rules: rules.collect::<Result<_, _>>()?,
        scoped: !content.scope.is_empty(),
        checks: checks.collect::<Result<_, _>>()?,
        external_key: None,
        is_known: false,
    })
}

fn read_fact(fact: &schema::Fact, symbols: &SymbolTable) -> Result<Predicate, TokenError> {
    let fact = proto_fact_to_token_fact(fact).map_err(malformed)?;
    let fact = Fact::convert_from(&fact, symbols).map_err(malformed)?;
    Ok(fact.predicate)
}

fn read_rule(
    rule: &schema::Rule,
    version: u32,
    symbols: &SymbolTable,
) -> Result<RuleShape, TokenError> {
    let (rule, _) = proto_rule_to_token_rule(rule, version).map_err(malformed)?;
    let rule = Rule::convert_from(&rule, symbols).map_err(malformed)?;
    Ok(RuleShape::of(&rule))
}

fn read_check(
    check: &schema::Check,
    version: u32,
    symbols: &SymbolTable,
) -> Result<CheckShape, TokenError> {
    let check = proto_check_to_token_check(check, version).map_err(malformed)?;
    let check = Check::convert_from(&check, symbols).map_err(malformed)?;
    Ok(CheckShape::of(&check))
}

/// Error of bytes that were not decoded: the decoder gives up at a depth, and does not say that it did.
fn undecodable(block: &[u8], error: impl fmt::Display) -> TokenError {
    nesting::check(block)
        .err()
        .unwrap_or_else(|| malformed(error))
}

pub(super) fn malformed(error: impl fmt::Display) -> TokenError {
    TokenError::Format(error.to_string())
}

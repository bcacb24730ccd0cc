//! Size of a token's Datalog: counted on its encoding, before anything is converted, compared or verified.
//!
//! ```text
//! bytes ─ decode ─ count ─▶ convert ─ signatures ─ checks
//!                    └ too many: refused here
//! ```
//! Any sender of bytes can make a verifier convert them: symbols become text at each of their uses, keys become points
//! of a curve. So each part is counted first, and what is left to do is linear in numbers that are bounded here. The bounds
//! hold for every block, also for the authority's: nothing is signed yet as far as the reader knows.

use biscuit_auth::format::schema;
use schema::{op, term};

use crate::TokenError;

/// Most facts of a token. Origin: a context of 64 exposures has three each; an identity has 32 ancestors and 16 roles.
pub(crate) const FACTS_MAX: usize = 512;

/// Most facts of the blocks after the first. Origin: sixteen designations, attested by each of four parties.
pub(crate) const LATER_FACTS_MAX: usize = 64;

/// Most rules. Origin: twelve services of a chain, one rule each.
pub(crate) const RULES_MAX: usize = 16;

/// Most checks. Origin: a context of 64 exposures, or a capability that was narrowed by sixteen designations in each of
/// fourteen blocks.
pub(crate) const CHECKS_MAX: usize = 256;

/// Most alternatives of all checks: one each, and room for some with more.
const QUERIES_MAX: usize = CHECKS_MAX + 64;

/// Most predicates of all facts, checks and rules. Origin: two for each query, which our own checks need on average.
const PREDICATES_MAX: usize = FACTS_MAX + 2 * QUERIES_MAX;

/// Most values and variables, in predicates and expressions. Origin: three for each predicate, as a right has.
const TERMS_MAX: usize = 3 * PREDICATES_MAX;

/// Most operations of all expressions, values among them. Origin: three for each time check, ten for a delegation, and what
/// holders add, see [`super::policy`].
const OPERATIONS_MAX: usize = 1_024;

/// Most public keys that blocks name. Origin: twelve services, or sixteen attestors and an activator.
const KEYS_MAX: usize = 32;

/// Most bytes of one symbol: a name, a text. Origin: prefixes have 1,024.
const SYMBOL_BYTES_MAX: usize = 1_024;

/// Most levels of collections in collections, and of conditions in conditions. Origin: shapes have two, and what verifiers
/// evaluate of a holder's has one collection; each level is a call deeper for whoever reads it.
pub(super) const NESTING_MAX: usize = 16;

/// Number of each part of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    facts: usize,
    later_facts: usize,
    rules: usize,
    checks: usize,
    queries: usize,
    predicates: usize,
    terms: usize,
    operations: usize,
    keys: usize,
    symbol_bytes: usize,
    nesting: usize,
}

impl Size {
    /// Counts one more block, and checks that the token has not too much of anything.
    pub(super) fn add(&mut self, block: &schema::Block, is_later: bool) -> Result<(), TokenError> {
        self.facts += block.facts.len();
        self.later_facts += if is_later { block.facts.len() } else { 0 };
        self.rules += block.rules.len();
        self.checks += block.checks.len();
        self.keys += block.public_keys.len();
        let longest = block.symbols.iter().map(String::len).max();
        self.symbol_bytes = self.symbol_bytes.max(longest.unwrap_or_default());
        // Before it goes into them: their number bounds what is counted next.
        self.check()?;
        for fact in &block.facts {
            self.add_predicate(&fact.predicate);
        }
        let queries = block.checks.iter().flat_map(|check| &check.queries);
        self.queries += queries.clone().count();
        for rule in block.rules.iter().chain(queries) {
            self.add_rule(rule);
        }
        self.check()
    }

    fn add_rule(&mut self, rule: &schema::Rule) {
        self.add_predicate(&rule.head);
        for predicate in &rule.body {
            self.add_predicate(predicate);
        }
        for expression in &rule.expressions {
            self.add_operations(&expression.ops, 0);
        }
    }

    fn add_predicate(&mut self, predicate: &schema::Predicate) {
        self.predicates += 1;
        for term in &predicate.terms {
            self.add_term(term, 0);
        }
    }

    fn add_operations(&mut self, operations: &[schema::Op], level: usize) {
        self.nesting = self.nesting.max(level);
        self.operations += operations.len();
        for operation in operations {
            match &operation.content {
                Some(op::Content::Value(term)) => self.add_term(term, level),
                Some(op::Content::Closure(closure)) => {
                    self.terms += closure.params.len();
                    self.add_operations(&closure.ops, level + 1);
                }
                Some(op::Content::Unary(_) | op::Content::Binary(_)) | None => {}
            }
        }
    }

    fn add_term(&mut self, term: &schema::Term, level: usize) {
        self.terms += 1;
        self.nesting = self.nesting.max(level);
        let inner = level + 1;
        match &term.content {
            Some(term::Content::Set(set)) => {
                set.set.iter().for_each(|term| self.add_term(term, inner));
            }
            Some(term::Content::Array(array)) => {
                let terms = array.array.iter();
                terms.for_each(|term| self.add_term(term, inner));
            }
            Some(term::Content::Map(map)) => {
                let entries = map.entries.iter();
                entries.for_each(|entry| self.add_term(&entry.value, inner));
            }
            _ => {}
        }
    }

    fn check(&self) -> Result<(), TokenError> {
        let parts = [
            ("facts", self.facts, FACTS_MAX),
            ("facts in later blocks", self.later_facts, LATER_FACTS_MAX),
            ("rules", self.rules, RULES_MAX),
            ("checks", self.checks, CHECKS_MAX),
            ("alternatives of checks", self.queries, QUERIES_MAX),
            ("predicates", self.predicates, PREDICATES_MAX),
            ("values", self.terms, TERMS_MAX),
            ("operations", self.operations, OPERATIONS_MAX),
            ("public keys", self.keys, KEYS_MAX),
            ("bytes in a name", self.symbol_bytes, SYMBOL_BYTES_MAX),
            (
                "levels of collections or conditions in each other",
                self.nesting,
                NESTING_MAX,
            ),
        ];
        match parts.into_iter().find(|(_, count, limit)| count > limit) {
            None => Ok(()),
            Some((what, count, limit)) => Err(TokenError::TooMany { what, count, limit }),
        }
    }
}

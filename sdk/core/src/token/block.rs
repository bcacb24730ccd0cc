//! One block and what each of its checks means.
//!
//! Meaning is read from the decoded Datalog, never from printed text: Biscuit prints strings without escaping them, so
//! text of one shape can be the print of another. A check that is none of the published shapes is [`CheckShape::Other`].

use biscuit_auth::builder::{
    Binary, Check, CheckKind, Convert, Expression, Fact, Op, Predicate, Rule, Term,
};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::convert::{proto_check_to_token_check, proto_fact_to_token_fact};
use biscuit_auth::format::schema;
use prost_biscuit::Message;

use super::malformed;
use crate::TokenError;

/// A block, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Every fact.
    pub facts: Vec<Predicate>,
    /// Number of rules; their content is never of use here.
    pub rules: usize,
    /// The block as a whole names whom it trusts.
    pub scoped: bool,
    /// Every check, by meaning.
    pub checks: Vec<CheckShape>,
    /// Key of a third-party block: algorithm number (4 bytes, big-endian), then key.
    pub external_key: Option<Vec<u8>>,
}

impl Block {
    /// Least bound of the time checks, Unix seconds.
    pub fn expires_at(&self) -> Option<u64> {
        let bounds = self.checks.iter().filter_map(|check| match check {
            CheckShape::Before(bound) => Some(*bound),
            _ => None,
        });
        bounds.min()
    }

    /// Has nothing but checks.
    pub fn only_restricts(&self) -> bool {
        self.facts.is_empty() && self.rules == 0 && !self.scoped
    }
}

/// What a check demands. Datalog as in the published formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckShape {
    /// `check if actor($a), $a == "name"`, and with `delegable` `|| $a.starts_with("name" + ":")`.
    Actor { name: String, delegable: bool },
    /// `check if time($t), $t < bound`, Unix seconds.
    Before(u64),
    /// `check if subject($sub), resource($res), operation($op), right($sub, $res, $op)`.
    RightOfSubject,
    /// `check if resource($res), operation($op), right($sub, $res, $op)`.
    RightOfAnyone,
    /// `reject if subject($s), $s != "name"`.
    SubjectIs(String),
    /// `check if domain("name")`.
    Domain,
    /// Anything else. `tame`: it can be evaluated for a stranger, see [`is_tame`].
    Other { tame: bool },
}

/// Reads every block of a token.
pub(super) fn read_all(envelope: &schema::Biscuit) -> Result<Vec<Block>, TokenError> {
    let mut symbols = SymbolTable::new();
    let mut blocks = Vec::with_capacity(1 + envelope.blocks.len());
    for signed in std::iter::once(&envelope.authority).chain(&envelope.blocks) {
        let content = schema::Block::decode(signed.block.as_slice()).map_err(malformed)?;
        let own = SymbolTable::from(content.symbols.clone()).map_err(malformed)?;
        let external = signed.external_signature.as_ref();
        // A third-party block is written without sight of the token, so its symbols are its own.
        if external.is_none() {
            symbols.extend(&own).map_err(malformed)?;
        }
        let table = if external.is_some() { &own } else { &symbols };
        let mut block = read(&content, table)?;
        block.external_key = external.map(|signature| key_bytes(&signature.public_key));
        blocks.push(block);
    }
    Ok(blocks)
}

fn read(content: &schema::Block, symbols: &SymbolTable) -> Result<Block, TokenError> {
    let facts = content.facts.iter().map(|fact| read_fact(fact, symbols));
    let version = content.version.unwrap_or_default();
    let checks = content.checks.iter();
    let checks = checks.map(|check| read_check(check, version, symbols));
    Ok(Block {
        facts: facts.collect::<Result<_, _>>()?,
        rules: content.rules.len(),
        scoped: !content.scope.is_empty(),
        checks: checks.collect::<Result<_, _>>()?,
        external_key: None,
    })
}

fn read_fact(fact: &schema::Fact, symbols: &SymbolTable) -> Result<Predicate, TokenError> {
    let fact = proto_fact_to_token_fact(fact).map_err(malformed)?;
    let fact = Fact::convert_from(&fact, symbols).map_err(malformed)?;
    Ok(fact.predicate)
}

fn read_check(
    check: &schema::Check,
    version: u32,
    symbols: &SymbolTable,
) -> Result<CheckShape, TokenError> {
    // Who a check trusts is part of its meaning, and no shape known here names it.
    if check.queries.iter().any(|query| !query.scope.is_empty()) {
        return Ok(CheckShape::Other { tame: false });
    }
    let check = proto_check_to_token_check(check, version).map_err(malformed)?;
    let check = Check::convert_from(&check, symbols).map_err(malformed)?;
    Ok(CheckShape::of(&check))
}

/// The canonical bytes that rules about keys are digested from; the number is four bytes as a root key id is.
fn key_bytes(key: &schema::PublicKey) -> Vec<u8> {
    [key.algorithm.to_be_bytes().as_slice(), &key.key].concat()
}

impl CheckShape {
    fn of(check: &Check) -> Self {
        match check.queries.as_slice() {
            [query] => Self::of_query(&check.kind, query),
            _ => None,
        }
        .unwrap_or_else(|| Self::Other {
            tame: is_tame(check),
        })
    }

    fn of_query(kind: &CheckKind, query: &Rule) -> Option<Self> {
        let body: Vec<(&str, &[Term])> = query
            .body
            .iter()
            .map(|part| (part.name.as_str(), part.terms.as_slice()))
            .collect();
        match (kind, body.as_slice(), query.expressions.as_slice()) {
            (CheckKind::One, [("actor", [Term::Variable(actor)])], [condition]) => {
                actor_shape(actor, condition)
            }
            (CheckKind::One, [("time", [Term::Variable(time)])], [condition]) => {
                time_shape(time, condition)
            }
            (CheckKind::Reject, [("subject", [Term::Variable(subject)])], [condition]) => {
                subject_shape(subject, condition)
            }
            (CheckKind::One, [("domain", [Term::Str(_)])], []) => Some(Self::Domain),
            (CheckKind::One, [("subject", [of]), rest @ ..], []) => {
                is_right_of(rest, Some(of)).then_some(Self::RightOfSubject)
            }
            (CheckKind::One, rest, []) => is_right_of(rest, None).then_some(Self::RightOfAnyone),
            _ => None,
        }
    }
}

/// `$a == "name"` or `$a == "name" || $a.starts_with("name" + ":")`.
fn actor_shape(actor: &str, condition: &Expression) -> Option<CheckShape> {
    let [
        Op::Value(Term::Variable(variable)),
        Op::Value(Term::Str(name)),
        Op::Binary(Binary::HeterogeneousEqual | Binary::Equal),
        rest @ ..,
    ] = condition.ops.as_slice()
    else {
        return None;
    };
    let delegable = match rest {
        [] => false,
        [Op::Closure(parameters, below), Op::Binary(Binary::LazyOr)] if parameters.is_empty() => {
            is_below(below, actor, name).then_some(true)?
        }
        _ => return None,
    };
    let name = name.clone();
    (variable == actor).then_some(CheckShape::Actor { name, delegable })
}

/// `$a.starts_with("name" + ":")`.
fn is_below(ops: &[Op], actor: &str, name: &str) -> bool {
    matches!(ops, [
        Op::Value(Term::Variable(variable)),
        Op::Value(Term::Str(prefix)),
        Op::Value(Term::Str(colon)),
        Op::Binary(Binary::Add),
        Op::Binary(Binary::Prefix),
    ] if variable == actor && prefix == name && colon == ":")
}

fn time_shape(time: &str, condition: &Expression) -> Option<CheckShape> {
    match condition.ops.as_slice() {
        [
            Op::Value(Term::Variable(variable)),
            Op::Value(Term::Integer(bound)),
            Op::Binary(Binary::LessThan),
        ] if variable == time => {
            // A bound before 1970 is passed by no time: zero says the same.
            Some(CheckShape::Before(u64::try_from(*bound).unwrap_or(0)))
        }
        _ => None,
    }
}

fn subject_shape(subject: &str, condition: &Expression) -> Option<CheckShape> {
    match condition.ops.as_slice() {
        [
            Op::Value(Term::Variable(variable)),
            Op::Value(Term::Str(name)),
            Op::Binary(Binary::HeterogeneousNotEqual | Binary::NotEqual),
        ] if variable == subject => Some(CheckShape::SubjectIs(name.clone())),
        _ => None,
    }
}

/// `resource($res), operation($op), right($sub, $res, $op)` with three different variables, the first `of` if given.
fn is_right_of(body: &[(&str, &[Term])], of: Option<&Term>) -> bool {
    let [
        ("resource", [resource @ Term::Variable(_)]),
        ("operation", [operation @ Term::Variable(_)]),
        ("right", [subject @ Term::Variable(_), right_resource, right_operation]),
    ] = body
    else {
        return false;
    };
    let different = subject != resource && subject != operation && resource != operation;
    different
        && resource == right_resource
        && operation == right_operation
        && of.is_none_or(|of| of == subject)
}

/// Can a check of a holder's making be evaluated? It must not speak about who acts, nor cost more than it is long.
///
/// Biscuit's time limit does not reach into one query: loops within loops, and joins of many predicates, are bounded
/// here.
fn is_tame(check: &Check) -> bool {
    check.queries.iter().all(|query| {
        let about_others = |part: &Predicate| !matches!(part.name.as_str(), "actor" | "subject");
        query.body.len() <= JOINED_PREDICATES_MAX
            && query.body.iter().all(about_others)
            && query.expressions.iter().all(|part| has_no_loop(&part.ops))
    })
}

/// Most predicates in one query of a holder's making. Origin: `resource`, `operation`, `time`, `right`.
const JOINED_PREDICATES_MAX: usize = 4;

/// Closures with parameters are the bodies of `all` and `any`; those without are the right sides of `&&` and `||`.
fn has_no_loop(ops: &[Op]) -> bool {
    ops.iter().all(|op| match op {
        Op::Closure(parameters, body) => parameters.is_empty() && has_no_loop(body),
        _ => true,
    })
}

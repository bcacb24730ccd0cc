//! Checks that can hold. A check that every verifier must refuse makes a token that is dead everywhere, and nobody hears of
//! it before the token is used; so each is tried before it is added.
//!
//! It is evaluated as a verifier does it, with all requests at once: `time` is any second of the token's life, `resource`
//! and `operation` are any text. What comes out is whether the answer may be yes and whether it may be no. Both are
//! said too often rather than too seldom: a check that some request meets is never refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use biscuit_auth::builder::{
    Binary, BlockBuilder, Check, CheckKind, Op, Predicate, Rule, Term, Unary,
};

use crate::error::NeverHolds;
use crate::token::CheckShape;

/// Writes times as the numbers of seconds that they are: `time` is one, and Datalog compares no number with a time.
pub(super) fn times_as_numbers(block: &mut BlockBuilder) {
    for query in block.checks.iter_mut().flat_map(|check| &mut check.queries) {
        let terms = query.body.iter_mut().flat_map(|part| &mut part.terms);
        terms.for_each(as_number);
        let expressions = query.expressions.iter_mut();
        expressions.for_each(|expression| in_operations(&mut expression.ops));
    }
}

fn in_operations(operations: &mut [Op]) {
    for operation in operations {
        match operation {
            Op::Value(term) => as_number(term),
            Op::Closure(_, body) => in_operations(body),
            Op::Unary(_) | Op::Binary(_) => {}
        }
    }
}

fn as_number(term: &mut Term) {
    match term {
        Term::Date(at) => *term = Term::Integer(i64::try_from(*at).unwrap_or(i64::MAX)),
        Term::Array(terms) => terms.iter_mut().for_each(as_number),
        Term::Set(terms) => {
            let numbers = std::mem::take(terms).into_iter().map(|mut term| {
                as_number(&mut term);
                term
            });
            *terms = numbers.collect();
        }
        _ => {}
    }
}

/// Refuses a check that no request could meet while the token lives: from `life.start` on, and before `life.end`.
pub(super) fn may_hold(check: &Check, life: &Range<u64>) -> Result<(), NeverHolds> {
    if let CheckShape::RejectAny(_) = CheckShape::of(check) {
        return Err(NeverHolds::AlwaysRejects);
    }
    for query in &check.queries {
        let facts = Facts::of(query, life)?;
        match check.kind {
            CheckKind::One | CheckKind::All => facts.may_meet(query)?,
            CheckKind::Reject => facts.may_miss(query)?,
        }
    }
    Ok(())
}

/// Kind of a value, as people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// Number from the first to the last.
    Number(i128, i128),
    /// One of these texts; `None` = any.
    Text(Option<BTreeSet<String>>),
    Truth(Truth),
    Collection(Vec<Value>),
}

/// Answer, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Truth {
    may_be_yes: bool,
    may_be_no: bool,
}

impl Truth {
    const EITHER: Self = Self::new(true, true);

    const fn new(may_be_yes: bool, may_be_no: bool) -> Self {
        Self {
            may_be_yes,
            may_be_no,
        }
    }

    fn not(self) -> Self {
        Self::new(self.may_be_no, self.may_be_yes)
    }

    fn and(self, other: Self) -> Self {
        Self::new(
            self.may_be_yes && other.may_be_yes,
            self.may_be_no || other.may_be_no,
        )
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

impl Value {
    const ANY_NUMBER: Self = Self::Number(i64::MIN as i128, i64::MAX as i128);

    fn kind(&self) -> &'static str {
        match self {
            Self::Number(..) => "a number",
            Self::Text(_) => "a text",
            Self::Truth(_) => "yes or no",
            Self::Collection(_) => "a collection",
        }
    }

    fn number(number: i64) -> Self {
        Self::Number(number.into(), number.into())
    }

    /// Result of arithmetic: outside of Datalog's numbers it is an error at the verifier.
    fn computed(first: i128, last: i128) -> Result<Self, NeverHolds> {
        let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
        match first > most || last < least {
            true => Err(NeverHolds::Overflow),
            false => Ok(Self::Number(first.max(least), last.min(most))),
        }
    }
}

/// Facts of all requests that a query is about, by the variables that stand for them.
#[derive(Default)]
struct Facts {
    known: BTreeMap<String, Value>,
    /// True when every request has them, whatever it asks for.
    of_every_request: bool,
}

impl Facts {
    fn of(query: &Rule, life: &Range<u64>) -> Result<Self, NeverHolds> {
        let mut facts = Self {
            of_every_request: true,
            ..Self::default()
        };
        for part in &query.body {
            facts.add(part, life)?;
        }
        Ok(facts)
    }

    fn add(&mut self, part: &Predicate, life: &Range<u64>) -> Result<(), NeverHolds> {
        let is_time = part.name == "time";
        let value = match is_time {
            true => Value::Number(life.start.into(), i128::from(life.end) - 1),
            false => Value::Text(None),
        };
        let (name, kind) = (part.name.clone(), value.kind());
        let another = NeverHolds::Fact { name, kind };
        let [term] = part.terms.as_slice() else {
            return Err(another);
        };
        self.of_every_request &= is_time && matches!(term, Term::Variable(_));
        match term {
            Term::Variable(variable) => match self.known.insert(variable.clone(), value) {
                Some(before) if before.kind() != kind => Err(another),
                _ => Ok(()),
            },
            written => match equal(&read(written)?, &value) {
                Some(truth) if truth.may_be_yes => Ok(()),
                Some(_) => Err(NeverHolds::NotInItsLife),
                None => Err(another),
            },
        }
    }

    /// Checks that some request meets the query.
    fn may_meet(mut self, query: &Rule) -> Result<(), NeverHolds> {
        for expression in &query.expressions {
            let mut parts = Vec::new();
            conjuncts(&expression.ops, &mut parts);
            for part in parts {
                if !self.answer(part)?.may_be_yes {
                    return Err(NeverHolds::NotInItsLife);
                }
                self.narrow(part);
            }
        }
        Ok(())
    }

    /// Checks that some request does not meet the query.
    fn may_miss(self, query: &Rule) -> Result<(), NeverHolds> {
        let mut always = self.of_every_request;
        for expression in &query.expressions {
            always &= !self.answer(&expression.ops)?.may_be_no;
        }
        match always {
            true => Err(NeverHolds::AlwaysRejects),
            false => Ok(()),
        }
    }

    fn answer(&self, operations: &[Op]) -> Result<Truth, NeverHolds> {
        match self.evaluate(operations)? {
            Value::Truth(truth) => Ok(truth),
            other => Err(NeverHolds::NoAnswer { kind: other.kind() }),
        }
    }

    fn evaluate(&self, operations: &[Op]) -> Result<Value, NeverHolds> {
        let mut stack = Vec::new();
        let mut side = None;
        for operation in operations {
            let value = match operation {
                Op::Value(Term::Variable(variable)) => {
                    let known = self.known.get(variable);
                    known.cloned().ok_or(NeverHolds::Unreadable)?
                }
                Op::Value(term) => read(term)?,
                Op::Unary(operator) => unary(operator, pop(&mut stack)?)?,
                Op::Closure(_, body) => {
                    side = Some(self.answer(body)?);
                    continue;
                }
                Op::Binary(operator @ (Binary::LazyAnd | Binary::LazyOr)) => {
                    let right = Value::Truth(side.take().ok_or(NeverHolds::Unreadable)?);
                    binary(operator, &pop(&mut stack)?, &right)?
                }
                Op::Binary(operator) => {
                    let right = pop(&mut stack)?;
                    binary(operator, &pop(&mut stack)?, &right)?
                }
            };
            stack.push(value);
        }
        pop(&mut stack)
    }

    /// Keeps of a variable what a part that holds leaves of it.
    fn narrow(&mut self, part: &[Op]) {
        let [Op::Value(left), Op::Value(right), Op::Binary(operator)] = part else {
            return;
        };
        match (left, right) {
            (Term::Variable(variable), written) => self.narrow_to(variable, operator, written),
            (written, Term::Variable(variable)) => {
                let turned = match operator {
                    Binary::LessThan => Binary::GreaterThan,
                    Binary::LessOrEqual => Binary::GreaterOrEqual,
                    Binary::GreaterThan => Binary::LessThan,
                    Binary::GreaterOrEqual => Binary::LessOrEqual,
                    Binary::Equal | Binary::HeterogeneousEqual => Binary::Equal,
                    Binary::Contains => Binary::Contains,
                    _ => return,
                };
                self.narrow_to(variable, &turned, written);
            }
            _ => {}
        }
    }

    fn narrow_to(&mut self, variable: &str, operator: &Binary, written: &Term) {
        let (Some(known), Ok(written)) = (self.known.get_mut(variable), read(written)) else {
            return;
        };
        match (known, operator, written) {
            (Value::Number(first, last), operator, Value::Number(number, _)) => match operator {
                Binary::LessThan => *last = (*last).min(number - 1),
                Binary::LessOrEqual => *last = (*last).min(number),
                Binary::GreaterThan => *first = (*first).max(number + 1),
                Binary::GreaterOrEqual => *first = (*first).max(number),
                Binary::Equal | Binary::HeterogeneousEqual => (*first, *last) = (number, number),
                _ => {}
            },
            (
                Value::Text(texts),
                Binary::Equal | Binary::HeterogeneousEqual,
                Value::Text(Some(written)),
            ) => only(texts, written),
            (Value::Text(texts), Binary::Contains, Value::Collection(values)) => {
                let written = values.into_iter().filter_map(|value| match value {
                    Value::Text(text) => text,
                    _ => None,
                });
                only(texts, written.flatten().collect());
            }
            (Value::Text(Some(texts)), operator, Value::Text(Some(written))) => {
                texts.retain(|text| {
                    written.iter().all(|written| match operator {
                        Binary::NotEqual | Binary::HeterogeneousNotEqual => text != written,
                        Binary::Prefix => text.starts_with(written),
                        Binary::Suffix => text.ends_with(written),
                        _ => true,
                    })
                });
            }
            _ => {}
        }
    }
}

/// Leaves of the texts those that are written.
fn only(texts: &mut Option<BTreeSet<String>>, written: BTreeSet<String>) {
    match texts {
        Some(texts) => texts.retain(|text| written.contains(text)),
        None => *texts = Some(written),
    }
}

/// Parts of an expression that must all hold.
fn conjuncts<'o>(operations: &'o [Op], parts: &mut Vec<&'o [Op]>) {
    match operations {
        [
            left @ ..,
            Op::Closure(_, right),
            Op::Binary(Binary::LazyAnd),
        ] => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        [inner @ .., Op::Unary(Unary::Parens)] => conjuncts(inner, parts),
        whole => parts.push(whole),
    }
}

fn pop(stack: &mut Vec<Value>) -> Result<Value, NeverHolds> {
    stack.pop().ok_or(NeverHolds::Unreadable)
}

fn read(term: &Term) -> Result<Value, NeverHolds> {
    Ok(match term {
        Term::Integer(number) => Value::number(*number),
        Term::Str(text) => Value::Text(Some([text.clone()].into())),
        Term::Bool(truth) => Value::Truth(Truth::new(*truth, !truth)),
        Term::Set(terms) => Value::Collection(terms.iter().map(read).collect::<Result<_, _>>()?),
        Term::Array(terms) => Value::Collection(terms.iter().map(read).collect::<Result<_, _>>()?),
        _ => return Err(NeverHolds::Unreadable),
    })
}

fn unary(operator: &Unary, value: Value) -> Result<Value, NeverHolds> {
    Ok(match (operator, value) {
        (Unary::Parens, value) => value,
        (Unary::Negate, Value::Truth(truth)) => Value::Truth(truth.not()),
        (Unary::Length, Value::Text(None)) => Value::Number(0, i64::MAX.into()),
        (Unary::Length, Value::Text(Some(texts))) => {
            // Nothing else would have been answered yes before.
            let lengths = || texts.iter().map(|text| text.len() as i128);
            Value::Number(
                lengths().min().unwrap_or_default(),
                lengths().max().unwrap_or_default(),
            )
        }
        (Unary::Length, Value::Collection(values)) => {
            let count = values.len() as i128;
            Value::Number(count, count)
        }
        (operator, value) => {
            let operator = match operator {
                Unary::Negate => "!",
                _ => ".length()",
            };
            let operand = value.kind();
            return Err(NeverHolds::Operand { operator, operand });
        }
    })
}

fn binary(operator: &Binary, left: &Value, right: &Value) -> Result<Value, NeverHolds> {
    let mismatch = || NeverHolds::Operands {
        operator: symbol(operator),
        left: left.kind(),
        right: right.kind(),
    };
    match (operator, left, right) {
        (Binary::Equal | Binary::HeterogeneousEqual, ..) => {
            equal(left, right).map(Value::Truth).ok_or_else(mismatch)
        }
        (Binary::NotEqual | Binary::HeterogeneousNotEqual, ..) => {
            let same = equal(left, right).ok_or_else(mismatch)?;
            Ok(Value::Truth(same.not()))
        }
        (Binary::LazyAnd | Binary::And, Value::Truth(left), Value::Truth(right)) => {
            Ok(Value::Truth(left.and(*right)))
        }
        (Binary::LazyOr | Binary::Or, Value::Truth(left), Value::Truth(right)) => {
            Ok(Value::Truth(left.or(*right)))
        }
        (Binary::Prefix | Binary::Suffix, Value::Text(texts), Value::Text(parts)) => {
            let (Some(texts), Some(parts)) = (texts, parts) else {
                return Ok(Value::Truth(Truth::EITHER));
            };
            let fits = |text: &String, part: &String| match operator {
                Binary::Prefix => text.starts_with(part),
                _ => text.ends_with(part),
            };
            let answers =
                || (texts.iter()).flat_map(|text| parts.iter().map(move |part| fits(text, part)));
            let truth = Truth::new(answers().any(|yes| yes), answers().any(|yes| !yes));
            Ok(Value::Truth(truth))
        }
        (Binary::Contains, Value::Collection(values), sought) => {
            let answers: Vec<Truth> = values
                .iter()
                .filter_map(|value| equal(value, sought))
                .collect();
            if answers.is_empty() {
                return Err(mismatch());
            }
            let nothing = Truth::new(false, true);
            Ok(Value::Truth(answers.into_iter().fold(nothing, Truth::or)))
        }
        (operator, Value::Number(first, last), Value::Number(least, most)) => {
            arithmetic(operator, (*first, *last), (*least, *most))
                .unwrap_or_else(|| Err(mismatch()))
        }
        _ => Err(mismatch()),
    }
}

/// `None`: the operator is not for numbers.
fn arithmetic(
    operator: &Binary,
    (first, last): (i128, i128),
    (least, most): (i128, i128),
) -> Option<Result<Value, NeverHolds>> {
    let truth = |yes, no| Some(Ok(Value::Truth(Truth::new(yes, no))));
    match operator {
        Binary::LessThan => truth(first < most, last >= least),
        Binary::LessOrEqual => truth(first <= most, last > least),
        Binary::GreaterThan => truth(last > least, first <= most),
        Binary::GreaterOrEqual => truth(last >= least, first < most),
        Binary::Add => Some(Value::computed(first + least, last + most)),
        Binary::Sub => Some(Value::computed(first - most, last - least)),
        Binary::Mul => {
            let products = [first * least, first * most, last * least, last * most];
            Some(range_of(&products))
        }
        Binary::Div if (least, most) == (0, 0) => Some(Err(NeverHolds::Division)),
        Binary::Div if least == most => Some(range_of(&[first / least, last / least])),
        Binary::Div | Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor => {
            Some(Ok(Value::ANY_NUMBER))
        }
        _ => None,
    }
}

fn range_of(numbers: &[i128]) -> Result<Value, NeverHolds> {
    let first = numbers.iter().copied().min().unwrap_or_default();
    let last = numbers.iter().copied().max().unwrap_or_default();
    Value::computed(first, last)
}

/// Answer to whether two values are the same; `None` when they are of two kinds.
fn equal(left: &Value, right: &Value) -> Option<Truth> {
    match (left, right) {
        (Value::Number(first, last), Value::Number(least, most)) => Some(Truth::new(
            first <= most && least <= last,
            !(first == last && least == most && first == least),
        )),
        (Value::Text(Some(left)), Value::Text(Some(right))) => Some(Truth::new(
            !left.is_disjoint(right),
            left.len() != 1 || left != right,
        )),
        (Value::Text(_), Value::Text(_)) => Some(Truth::EITHER),
        (Value::Truth(left), Value::Truth(right)) => {
            let (both, neither) = (left.and(*right), left.not().and(right.not()));
            Some(both.or(neither))
        }
        _ => None,
    }
}

fn symbol(operator: &Binary) -> &'static str {
    match operator {
        Binary::LessThan => "<",
        Binary::LessOrEqual => "<=",
        Binary::GreaterThan => ">",
        Binary::GreaterOrEqual => ">=",
        Binary::Equal => "===",
        Binary::HeterogeneousEqual => "==",
        Binary::NotEqual => "!==",
        Binary::HeterogeneousNotEqual => "!=",
        Binary::Contains => ".contains()",
        Binary::Prefix => ".starts_with()",
        Binary::Suffix => ".ends_with()",
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::BitwiseAnd => "&",
        Binary::BitwiseOr => "|",
        Binary::BitwiseXor => "^",
        Binary::And | Binary::LazyAnd => "&&",
        Binary::Or | Binary::LazyOr => "||",
        _ => "the operator",
    }
}

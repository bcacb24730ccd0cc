//! Checks of a holder's own making: which of them a verifier evaluates, and what all of them may cost.
//!
//! A holder writes its checks alone, and every verifier pays for them. Biscuit looks at its clock between two queries and
//! not within one, so no limit in time bounds a regular expression, a loop or a join. Here each check is read before
//! anything runs, and is evaluated only if it consists of parts from a closed list, each of constant cost:
//!
//! | part | evaluated |
//! |---|---|
//! | predicates | `time`, `resource`, `operation`, `domain`, `right`, `designation`, each once in a query, and one of the last two |
//! | values in them | variables, numbers, texts, times, truth values |
//! | `< <= > >= == != === !==`, `! && \|\|` | yes, not of collections |
//! | `+ - * / & \| ^` | of numbers; `+` joins texts too, so one side must be a number as written |
//! | `.starts_with()`, `.ends_with()` | when the other text is written in the check |
//! | `.contains()` | of a collection that is written in the check |
//! | `.length()` | yes |
//! | `.matches()`, `.all()`, `.any()`, `.union()`, `.intersection()`, `.get()`, `.type()`, `.try_or()`, `extern::` | no |
//!
//! A query then is tried once, or once for each right or designation, of which there are few (see [`super::size`]), and each
//! try costs its operations. So all checks of one token together cost at most
//! [`QUERIES_MAX`] times the facts to look through, and [`OPERATIONS_MAX`] operations for each designation.

use biscuit_auth::builder::{Binary, Check, Op, Predicate, Rule, Term, Unary};

use crate::error::Costly;

/// Most alternatives (`or`) of the checks of a holder's making, in one token. Origin: three for each of ten delegations.
const QUERIES_MAX: usize = 32;

/// Most operations in them, values among them. Origin: eight for each alternative; a comparison has three.
const OPERATIONS_MAX: usize = 256;

/// Most values of a collection that is written in a check. Origin: the operations of a large resource.
const COLLECTION_MAX: usize = 64;

/// Names with one fact in each request.
const SINGLE: &[&str] = &[TIME, "resource", "operation", "domain"];

/// Name of the fact of the instant.
const TIME: &str = "time";

/// Names with more than one.
const SEVERAL: &[&str] = &["right", "designation"];

/// Treatment of checks in later blocks that are neither a delegation nor a bound in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyChecks {
    /// Refuse the token.
    #[default]
    Refuse,
    /// Evaluate them; they can only restrict. Checks that speak about `actor` or `subject`, or cost too much, are refused
    /// still.
    Evaluate,
}

/// Check of a holder's own making, as a verifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyCheck {
    /// Check that can be evaluated.
    Evaluable(Cost),
    /// Check about who acts, or about what no request has, or that trusts others than every check does.
    Unknown,
    /// Check that costs too much, or cannot be bounded.
    Costly(Costly),
}

/// Cost of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    queries: usize,
    operations: usize,
    /// True when one of them asks for the time.
    is_of_time: bool,
}

/// Checks of a holder's own making in one token, as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyBudget {
    spent: Cost,
}

/// Reason for which a check is not taken.
pub(crate) enum NotTaken {
    /// Check of unknown meaning to this verifier.
    Meaning,
    /// Check that costs too much, by itself or together with those before it.
    Costly(Costly),
}

impl PolicyBudget {
    /// Takes one more check.
    pub(crate) fn take(
        &mut self,
        check: &PolicyCheck,
        treatment: PolicyChecks,
    ) -> Result<(), NotTaken> {
        let cost = match (check, treatment) {
            (PolicyCheck::Costly(costly), _) => return Err(NotTaken::Costly(costly.clone())),
            (PolicyCheck::Evaluable(cost), PolicyChecks::Evaluate) => cost,
            _ => return Err(NotTaken::Meaning),
        };
        self.spent.queries += cost.queries;
        self.spent.operations += cost.operations;
        self.spent.is_of_time |= cost.is_of_time;
        let bounds = [
            ("alternatives", self.spent.queries, QUERIES_MAX),
            ("operations", self.spent.operations, OPERATIONS_MAX),
        ];
        match bounds.into_iter().find(|(_, count, limit)| count > limit) {
            None => Ok(()),
            Some((what, _, limit)) => Err(NotTaken::Costly(Costly::TooMany { what, limit })),
        }
    }

    /// True when one of those it has taken asks for the time.
    pub(crate) fn is_of_time(&self) -> bool {
        self.spent.is_of_time
    }

    /// True when it has taken none.
    pub(crate) fn is_untouched(&self) -> bool {
        *self == Self::default()
    }
}

impl PolicyCheck {
    pub(crate) fn of(check: &Check) -> Self {
        let is_known = |query: &Rule| {
            query.scopes.is_empty() && query.body.iter().all(|part| is_asked_about(&part.name))
        };
        // What is never evaluated costs nothing.
        if !check.queries.iter().all(is_known) {
            return Self::Unknown;
        }
        cost(check).map_or_else(Self::Costly, Self::Evaluable)
    }
}

/// True when checks of a holder's making may be about facts of that name.
fn is_asked_about(name: &str) -> bool {
    SINGLE.contains(&name) || SEVERAL.contains(&name)
}

fn cost(check: &Check) -> Result<Cost, Costly> {
    let mut cost = Cost {
        queries: check.queries.len(),
        operations: 0,
        is_of_time: false,
    };
    for query in &check.queries {
        cost.is_of_time |= query.body.iter().any(|part| part.name == TIME);
        check_predicates(query)?;
        for expression in &query.expressions {
            cost.operations += Evaluation::of(&expression.ops)?;
        }
    }
    Ok(cost)
}

fn check_predicates(query: &Rule) -> Result<(), Costly> {
    let several = |part: &&Predicate| SEVERAL.contains(&part.name.as_str());
    if query.body.iter().filter(several).count() > 1 {
        return Err(Costly::Join);
    }
    for (place, part) in query.body.iter().enumerate() {
        if query.body[..place]
            .iter()
            .any(|other| other.name == part.name)
        {
            return Err(Costly::Join);
        }
        part.terms.iter().try_for_each(check_scalar)?;
    }
    // The head of a query says nothing, and is copied for each try.
    match query.head.terms.is_empty() {
        true => Ok(()),
        false => Err(Costly::Value),
    }
}

fn check_scalar(term: &Term) -> Result<(), Costly> {
    match term {
        Term::Variable(_) | Term::Integer(_) | Term::Str(_) | Term::Date(_) | Term::Bool(_) => {
            Ok(())
        }
        _ => Err(Costly::Value),
    }
}

/// Value on the stack of an expression, as far as is known without running it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// Variable or result.
    Any,
    /// Number, as written or computed.
    Number,
    /// Text that is written in the check.
    Text,
    /// Collection of bounded size that is written in the check.
    Collection,
    /// Right side of `&&` or `||`, not evaluated yet.
    Side,
}

/// Walk through an expression, operation by operation, as Biscuit's stack machine does it.
#[derive(Default)]
struct Evaluation {
    stack: Vec<Operand>,
    operations: usize,
}

impl Evaluation {
    /// Number of operations of an expression that leaves one value.
    fn of(operations: &[Op]) -> Result<usize, Costly> {
        let mut evaluation = Self::default();
        for operation in operations {
            evaluation.step(operation)?;
        }
        match evaluation.stack.as_slice() {
            [Operand::Side] | [] | [_, _, ..] => Err(Costly::Malformed),
            [_] => Ok(evaluation.operations),
        }
    }

    fn step(&mut self, operation: &Op) -> Result<(), Costly> {
        self.operations += 1;
        let result = match operation {
            Op::Value(term) => written(term)?,
            Op::Unary(operator) => unary(operator, self.pop()?)?,
            Op::Binary(operator) => {
                let right = self.pop()?;
                binary(operator, self.pop()?, right)?
            }
            Op::Closure(parameters, body) if parameters.is_empty() => {
                self.operations += Self::of(body)?;
                Operand::Side
            }
            Op::Closure(..) => return Err(Costly::Operator(".all() or .any()")),
        };
        self.stack.push(result);
        Ok(())
    }

    fn pop(&mut self) -> Result<Operand, Costly> {
        self.stack.pop().ok_or(Costly::Malformed)
    }
}

fn written(term: &Term) -> Result<Operand, Costly> {
    match term {
        Term::Variable(_) | Term::Bool(_) | Term::Date(_) => Ok(Operand::Any),
        Term::Integer(_) => Ok(Operand::Number),
        Term::Str(_) => Ok(Operand::Text),
        Term::Set(set) => collection(set.len(), set.iter()),
        Term::Array(array) => collection(array.len(), array.iter()),
        Term::Bytes(_) | Term::Null | Term::Map(_) | Term::Parameter(_) => Err(Costly::Value),
    }
}

fn collection<'a>(
    count: usize,
    mut terms: impl Iterator<Item = &'a Term>,
) -> Result<Operand, Costly> {
    if count > COLLECTION_MAX {
        let (what, limit) = ("values of a collection", COLLECTION_MAX);
        return Err(Costly::TooMany { what, limit });
    }
    terms.try_for_each(check_scalar)?;
    Ok(Operand::Collection)
}

fn unary(operator: &Unary, operand: Operand) -> Result<Operand, Costly> {
    match (operator, operand) {
        (_, Operand::Side) => Err(Costly::Malformed),
        (Unary::Parens, operand) => Ok(operand),
        (Unary::Negate, _) => Ok(Operand::Any),
        (Unary::Length, _) => Ok(Operand::Number),
        (Unary::TypeOf, _) => Err(Costly::Operator(".type()")),
        (Unary::Ffi(_), _) => Err(Costly::Operator("extern::")),
    }
}

fn binary(operator: &Binary, left: Operand, right: Operand) -> Result<Operand, Costly> {
    use Operand::{Any, Collection, Number, Side, Text};
    match (operator, left, right) {
        (Binary::LazyAnd | Binary::LazyOr, Any, Side) => Ok(Any),
        (Binary::TryOr, ..) => Err(Costly::Operator(".try_or()")),
        (_, Side, _) | (_, _, Side) => Err(Costly::Malformed),
        (Binary::Contains, Collection, Any | Number | Text) => Ok(Any),
        (Binary::Contains, ..) => Err(Costly::Operator(
            ".contains() of what is not a collection in the check itself",
        )),
        (_, Collection, _) | (_, _, Collection) => Err(Costly::Operator(of_collections(operator))),
        (
            Binary::LessThan
            | Binary::LessOrEqual
            | Binary::GreaterThan
            | Binary::GreaterOrEqual
            | Binary::Equal
            | Binary::NotEqual
            | Binary::HeterogeneousEqual
            | Binary::HeterogeneousNotEqual
            | Binary::And
            | Binary::Or,
            ..,
        ) => Ok(Any),
        (Binary::Prefix | Binary::Suffix, _, Text) => Ok(Any),
        (Binary::Prefix | Binary::Suffix, ..) => Err(Costly::Operator(
            ".starts_with() or .ends_with() of a text that is not in the check itself",
        )),
        // Texts are joined by it too, and each joint is longer than the last.
        (Binary::Add, Number, Any | Number) | (Binary::Add, Any, Number) => Ok(Number),
        (Binary::Add, ..) => Err(Costly::Operator("+ of what is not a number")),
        (
            Binary::Sub
            | Binary::Mul
            | Binary::Div
            | Binary::BitwiseAnd
            | Binary::BitwiseOr
            | Binary::BitwiseXor,
            ..,
        ) => Ok(Number),
        (Binary::LazyAnd | Binary::LazyOr, ..) => Err(Costly::Malformed),
        (
            Binary::Regex
            | Binary::Intersection
            | Binary::Union
            | Binary::All
            | Binary::Any
            | Binary::Get
            | Binary::Ffi(_),
            ..,
        ) => Err(Costly::Operator(of_collections(operator))),
    }
}

/// Name of an operator that is not evaluated, or not for collections.
fn of_collections(operator: &Binary) -> &'static str {
    match operator {
        Binary::Regex => ".matches()",
        Binary::Intersection => ".intersection()",
        Binary::Union => ".union()",
        Binary::All => ".all()",
        Binary::Any => ".any()",
        Binary::Get => ".get()",
        Binary::Ffi(_) => "extern::",
        _ => "a comparison of collections",
    }
}

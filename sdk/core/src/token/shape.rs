//! Shapes: the meaning of checks and rules.
//!
//! Meaning is read from the decoded Datalog, never from printed text: Biscuit prints strings without escaping them, so
//! text of one shape can be the print of another. Any shape that is not published is `Other`, and [`super::policy`] says
//! what it costs.

use biscuit_auth::builder::{Binary, Check, CheckKind, Expression, Op, Rule, Scope, Term};

use super::policy::PolicyCheck;
use crate::third_party::ThirdPartyKey;

/// Demand of a check. Datalog as in the published formats.
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
    Domain(String),
    /// `check if namespace("component") trusting key`: a party must sign.
    Signoff {
        component: String,
        key: ThirdPartyKey,
    },
    /// `check if prefix_added(true) trusting key`: an attestor must restrict to a prefix.
    PrefixAdded(ThirdPartyKey),
    /// `check if prefix("path")`.
    Prefix(String),
    /// `check if designation("label", "value")`, and with a key `trusting key`.
    Designation {
        label: String,
        value: String,
        attestor: Option<ThirdPartyKey>,
    },
    /// `check if activation($a) trusting key`: inert until the holder of the key activates it.
    Activation(ThirdPartyKey),
    /// `reject if exposure("label")`.
    RejectExposure(String),
    /// `reject if actor($a)`, and the same of `resource`, `operation` and `subject`: guards of a context.
    RejectAny(String),
    /// Anything else.
    Other(PolicyCheck),
}

/// Conclusion of a rule. Datalog as in the published formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RuleShape {
    /// `subject($d, $s) <- domain($d), subject($s)`.
    SubjectInDomain,
    /// `node($s, "component") <- service($s) trusting key`.
    ChainNode {
        component: String,
        key: ThirdPartyKey,
    },
    /// Anything else.
    Other,
}

impl RuleShape {
    pub(crate) fn of(rule: &Rule) -> Self {
        Self::known(rule).unwrap_or(Self::Other)
    }

    fn known(rule: &Rule) -> Option<Self> {
        if !rule.expressions.is_empty() {
            return None;
        }
        let head = (rule.head.name.as_str(), rule.head.terms.as_slice());
        match (head, body(rule).as_slice(), rule.scopes.as_slice()) {
            (
                ("subject", [domain @ Term::Variable(_), subject @ Term::Variable(_)]),
                [("domain", [in_domain]), ("subject", [of_subject])],
                [],
            ) if domain == in_domain && subject == of_subject && domain != subject => {
                Some(Self::SubjectInDomain)
            }
            (
                ("node", [service @ Term::Variable(_), Term::Str(component)]),
                [("service", [of_service])],
                [Scope::PublicKey(key)],
            ) if service == of_service => Some(Self::ChainNode {
                component: component.clone(),
                key: (*key).into(),
            }),
            _ => None,
        }
    }
}

impl CheckShape {
    pub(crate) fn of(check: &Check) -> Self {
        match check.queries.as_slice() {
            // A head with terms asks for more than the body says: one that the body does not bind never holds.
            [query] if query.head.terms.is_empty() => Self::of_query(&check.kind, query),
            _ => None,
        }
        .unwrap_or_else(|| Self::Other(PolicyCheck::of(check)))
    }

    fn of_query(kind: &CheckKind, query: &Rule) -> Option<Self> {
        match query.scopes.as_slice() {
            [] => Self::untrusting(kind, query),
            [Scope::PublicKey(key)] => Self::trusting(kind, query, (*key).into()),
            // The trusted keys of a check are part of its meaning, and no shape known here names more than one.
            _ => None,
        }
    }

    fn untrusting(kind: &CheckKind, query: &Rule) -> Option<Self> {
        match (kind, body(query).as_slice(), query.expressions.as_slice()) {
            (CheckKind::One, [("actor", [Term::Variable(actor)])], [condition]) => {
                actor_shape(actor, condition)
            }
            (CheckKind::One, [("time", [Term::Variable(time)])], [condition]) => {
                time_shape(time, condition)
            }
            (CheckKind::One, [(name, terms)], []) => Self::fact_demanded(name, terms),
            (CheckKind::Reject, [("subject", [Term::Variable(subject)])], [condition]) => {
                subject_shape(subject, condition)
            }
            (CheckKind::Reject, [("exposure", [Term::Str(label)])], []) => {
                Some(Self::RejectExposure(label.clone()))
            }
            (
                CheckKind::Reject,
                [(name @ ("actor" | "resource" | "operation" | "subject"), [Term::Variable(_)])],
                [],
            ) => Some(Self::RejectAny((*name).to_owned())),
            (CheckKind::One, [("subject", [of]), rest @ ..], []) => {
                is_right_of(rest, Some(of)).then_some(Self::RightOfSubject)
            }
            (CheckKind::One, rest, []) => is_right_of(rest, None).then_some(Self::RightOfAnyone),
            _ => None,
        }
    }

    fn fact_demanded(name: &str, terms: &[Term]) -> Option<Self> {
        match (name, terms) {
            ("domain", [Term::Str(domain)]) => Some(Self::Domain(domain.clone())),
            ("prefix", [Term::Str(path)]) => Some(Self::Prefix(path.clone())),
            ("designation", [Term::Str(label), Term::Str(value)]) => Some(Self::Designation {
                label: label.clone(),
                value: value.clone(),
                attestor: None,
            }),
            _ => None,
        }
    }

    fn trusting(kind: &CheckKind, query: &Rule, key: ThirdPartyKey) -> Option<Self> {
        match (kind, body(query).as_slice(), query.expressions.as_slice()) {
            (CheckKind::One, [("namespace", [Term::Str(component)])], []) => Some(Self::Signoff {
                component: component.clone(),
                key,
            }),
            (CheckKind::One, [("prefix_added", [Term::Bool(true)])], []) => {
                Some(Self::PrefixAdded(key))
            }
            (CheckKind::One, [("activation", [Term::Variable(_)])], []) => {
                Some(Self::Activation(key))
            }
            (CheckKind::One, [("designation", [Term::Str(label), Term::Str(value)])], []) => {
                Some(Self::Designation {
                    label: label.clone(),
                    value: value.clone(),
                    attestor: Some(key),
                })
            }
            _ => None,
        }
    }
}

fn body(query: &Rule) -> Vec<(&str, &[Term])> {
    let parts = query.body.iter();
    parts
        .map(|part| (part.name.as_str(), part.terms.as_slice()))
        .collect()
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

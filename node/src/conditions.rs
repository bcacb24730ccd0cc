//! Conditions of this node: what is wrong with it although it goes on, each with a stable code.
//!
//! Background work that fails says so here, and takes it back when it succeeds. `/readyz`, `hessra status`, `hessra doctor` and
//! the metric `hessra.condition` show the same list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hessra_proto::v1::Condition;

/// Kinds of conditions that do not keep a node from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The followed repository could not be read, or its newest commit is refused.
    PolicyNotFollowed,
    /// Certificate files were not taken: what was in use stays.
    CertificateNotRead,
    /// A certificate of this node ends soon.
    CertificateEnds,
    /// Files of the audit are gone.
    AuditGone,
}

impl Code {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::PolicyNotFollowed,
        Self::CertificateNotRead,
        Self::CertificateEnds,
        Self::AuditGone,
    ];

    /// Stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PolicyNotFollowed => "policy_not_followed",
            Self::CertificateNotRead => "certificate_not_read",
            Self::CertificateEnds => "certificate_ends",
            Self::AuditGone => "audit_gone",
        }
    }
}

/// Conditions that background work has noticed. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    found: Arc<Mutex<BTreeMap<(Code, &'static str), String>>>,
}

impl Noticed {
    /// Notes that something is wrong, or, with `None`, that it is right again. `which`: one of several of a kind.
    pub fn set(&self, code: Code, which: &'static str, message: Option<String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Some(message) => drop(found.insert((code, which), message)),
            None => drop(found.remove(&(code, which))),
        }
    }

    /// Conditions, by kind.
    #[must_use]
    pub fn all(&self) -> Vec<Condition> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let conditions = found
            .iter()
            .map(|((code, _), message)| condition(*code, message.clone()));
        conditions.collect()
    }
}

/// A condition that does not keep the node from being ready.
pub(crate) fn condition(code: Code, message: String) -> Condition {
    Condition {
        code: code.word().to_owned(),
        message,
        blocks: false,
    }
}

#[cfg(test)]
mod tests {
    use hessra_proto::NodeState;

    use super::*;

    #[test]
    fn the_page_names_every_condition() {
        let page = include_str!("../../docs/conditions.md");
        let states = NodeState::ALL
            .iter()
            .filter(|state| ![NodeState::Ready, NodeState::Unreachable].contains(state))
            .map(NodeState::as_str);
        for code in states.chain(Code::ALL.map(Code::word)) {
            assert!(page.contains(&format!("| `{code}` |")), "{code}");
        }
    }

    #[test]
    fn what_is_right_again_is_no_condition_any_more() {
        let noticed = Noticed::default();
        noticed.set(Code::CertificateNotRead, "public", Some("no".to_owned()));
        noticed.set(Code::CertificateNotRead, "peer", Some("no".to_owned()));
        noticed.set(Code::CertificateNotRead, "public", None);
        let all = noticed.all();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].code, "certificate_not_read");
    }
}

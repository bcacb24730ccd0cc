//! Who may still permit what is revoked, why, and until when.

use hessra_sdk_rust::v1::unheard::Reason;
use hessra_sdk_rust::v1::verifier_status::Refused;
use hessra_sdk_rust::v1::{AppliedProgress, Unheard, VerifierStatus};
use serde_json::{Value, json};

use crate::output::{clock_second, timestamp};

/// Most verifiers that are named in text.
pub(super) const NAMES_MAX: usize = 5;

/// Everybody who may still permit, in one line; empty when nobody may.
pub(super) fn names(progress: &AppliedProgress, now: u64) -> String {
    let verifiers = progress
        .laggards
        .iter()
        .map(|verifier| verifier_text(verifier, now));
    let nodes = progress
        .unheard
        .iter()
        .map(|unheard| unheard_text(unheard, now));
    let all: Vec<String> = nodes.chain(verifiers).collect();
    let more = all.len().saturating_sub(NAMES_MAX);
    let named = all.into_iter().take(NAMES_MAX);
    named
        .chain((more > 0).then(|| format!("{more} more")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn verifier_text(verifier: &VerifierStatus, now: u64) -> String {
    let until = until(verifier.may_permit_until_ms, now);
    let why = why(verifier).map(|why| format!("; {}", why.text()));
    format!("{} ({until}{})", verifier.id, why.unwrap_or_default())
}

fn unheard_text(unheard: &Unheard, now: u64) -> String {
    let node = unheard.node;
    let until = until(unheard.until_ms, now);
    let why = match unheard.reason() {
        Reason::Removed => "was removed",
        Reason::Started => "has just started",
        Reason::Behind => "has not applied it",
        Reason::Silent | Reason::Unspecified => "does not answer",
    };
    format!("verifiers of node {node}, which {why} ({until})")
}

fn until(until_ms: u64, now: u64) -> String {
    match until_ms {
        0 => "until it is known".to_owned(),
        until => format!("until {}", clock_second(until, now)),
    }
}

/// Reason for which a verifier has not confirmed, where there is one beyond that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    OtherRoot,
    Fork,
    Ahead,
    NodeRemoved,
    NotInPolicy,
    Offline,
    SharedId,
}

impl Why {
    /// The word in `-o json`.
    fn word(self) -> &'static str {
        match self {
            Self::OtherRoot => "other_root",
            Self::Fork => "fork",
            Self::Ahead => "ahead",
            Self::NodeRemoved => "node_removed",
            Self::NotInPolicy => "not_in_policy",
            Self::Offline => "offline",
            Self::SharedId => "shared_id",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::OtherRoot => "ALARM: it holds other rules than its node",
            Self::Fork => "ALARM: it was refused, because it holds another history",
            Self::Ahead => "it was refused, because it knows more than its node",
            Self::NodeRemoved => "its node was removed",
            Self::NotInPolicy => "the policy names it no more",
            Self::Offline => "offline",
            Self::SharedId => "another process has its id",
        }
    }
}

fn why(verifier: &VerifierStatus) -> Option<Why> {
    match verifier.refused() {
        _ if verifier.root_differs => Some(Why::OtherRoot),
        Refused::Fork => Some(Why::Fork),
        Refused::Ahead => Some(Why::Ahead),
        _ if verifier.node_removed => Some(Why::NodeRemoved),
        _ if verifier.not_in_policy => Some(Why::NotInPolicy),
        _ if verifier.processes > 1 => Some(Why::SharedId),
        _ if !verifier.connected => Some(Why::Offline),
        _ => None,
    }
}

pub(super) fn verifier_json(verifier: &VerifierStatus) -> Value {
    json!({
        "id": verifier.id,
        "node": verifier.node,
        "connected": verifier.connected,
        "applied": verifier.applied,
        "age_ms": verifier.age_ms,
        "fails_closed_in_ms": verifier.fails_closed_in_ms,
        "may_permit_until": timestamp(verifier.may_permit_until_ms),
        "why": why(verifier).map(Why::word),
        "processes": verifier.processes,
        "root_differs": verifier.root_differs,
    })
}

pub(super) fn unheard_json(unheard: &Unheard) -> Value {
    let known = unheard.until_ms > 0;
    json!({
        "node": unheard.node,
        "reason": match unheard.reason() {
            Reason::Removed => "removed",
            Reason::Started => "started",
            Reason::Behind => "behind",
            Reason::Silent | Reason::Unspecified => "silent",
        },
        "may_permit_until": known.then(|| timestamp(unheard.until_ms)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_said_before_anything_else_and_a_refusal_before_that_it_is_gone() {
        let verifier = VerifierStatus {
            refused: Refused::Ahead.into(),
            ..VerifierStatus::default()
        };
        assert_eq!(why(&verifier), Some(Why::Ahead));
        let differs = VerifierStatus {
            root_differs: true,
            ..verifier
        };
        assert_eq!(why(&differs), Some(Why::OtherRoot));
        assert_eq!(why(&VerifierStatus::default()), Some(Why::Offline));
        let connected = VerifierStatus {
            connected: true,
            ..VerifierStatus::default()
        };
        assert_eq!(why(&connected), None);
        let shared = VerifierStatus {
            processes: 2,
            ..connected
        };
        assert_eq!(why(&shared), Some(Why::SharedId));
    }

    #[test]
    fn no_more_are_named_than_a_person_reads() {
        let progress = AppliedProgress {
            laggards: vec![VerifierStatus::default(); 7],
            ..AppliedProgress::default()
        };
        assert!(names(&progress, 0).ends_with(", 2 more"));
        assert_eq!(names(&AppliedProgress::default(), 0), "");
    }
}

//! Filters, and the records that they mean.

use hessra_audit::{Filter, FilterError, Head, seal};
use serde_json::Value;

use super::record;

fn is_meant(conditions: &[&str]) -> bool {
    let (line, _) = seal(&mut record(1).with("expires_in", 60), &Head::START);
    let record: Value = serde_json::from_str(&line).expect("JSON");
    Filter::parse(conditions)
        .expect("conditions")
        .matches(&record)
}

#[test]
fn all_conditions_must_hold() {
    assert!(is_meant(&[]));
    assert!(is_meant(&[
        "event=authz.denied",
        "actor.subject=urn:hessra:alice"
    ]));
    assert!(!is_meant(&[
        "event=authz.denied",
        "actor.subject=urn:hessra:bob"
    ]));
}

#[test]
fn a_value_may_be_a_prefix_a_number_or_one_of_several() {
    assert!(is_meant(&["event=authz.*"]));
    assert!(is_meant(&["seq=1"]));
    assert!(is_meant(&["change.expires_in=60"]));
    assert!(is_meant(&[&format!("token={}", "ab".repeat(64))]));
    assert!(is_meant(&["subject=urn:hessra:*"]));
    assert!(!is_meant(&["token=ab"]));
}

#[test]
fn an_identity_is_found_in_every_spelling_that_is_its_own() {
    for spelled in [
        "uri:urn:hessra:alice",
        "URI:urn:hessra:alice",
        "uri:urn:hessra:*",
    ] {
        assert!(is_meant(&[&format!("subject={spelled}")]), "{spelled}");
    }
    assert!(!is_meant(&["actor.subject!=uri:urn:hessra:alice"]));
    assert!(!is_meant(&["subject=urn:hessra:ALICE"]));
}

#[test]
fn what_differs_is_everything_else_also_what_is_absent() {
    assert!(is_meant(&["outcome!=success"]));
    assert!(is_meant(&["ticket!=T-1"]));
    assert!(!is_meant(&["outcome!=denied"]));
}

#[test]
fn time_is_bounded_by_since_and_until() {
    assert!(is_meant(&[
        "since=2026-01-01T00:00:00.000Z",
        "until=2026-01-01T00:00:01.000Z"
    ]));
    assert!(!is_meant(&["until=2026-01-01T00:00:00.001Z"]));
}

#[test]
fn a_condition_that_means_nothing_is_refused() {
    assert!(matches!(
        Filter::parse(["alice"]),
        Err(FilterError::NoCondition(_))
    ));
    assert!(matches!(
        Filter::parse(["subjct=alice"]),
        Err(FilterError::UnknownField(_))
    ));
    assert!(matches!(
        Filter::parse(["since=monday"]),
        Err(FilterError::NoInstant(_))
    ));
    assert!(matches!(
        Filter::parse(["seq=1"; 17]),
        Err(FilterError::TooMany)
    ));
}

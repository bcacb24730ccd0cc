//! Codes and numbers of reasons are stable: other languages' constants and exit codes hang on them.

use hessra_sdk_core::{DenyReason, UnknownReason, Verdict};

/// Every reason to deny that was ever released. Rows are added, never changed.
const DENY: &[(&str, u16)] = &[
    ("malformed", 1),
    ("too_large", 2),
    ("unknown_key", 3),
    ("key_revoked", 4),
    ("bad_signature", 5),
    ("wrong_class", 6),
    ("unsupported_shape", 7),
    ("malformed_identity", 8),
    ("broken_chain", 9),
    ("too_deep", 10),
    ("domain_required", 11),
    ("actor_mismatch", 12),
    ("not_granted", 13),
    ("expired", 14),
    ("revoked", 15),
    ("check_failed", 16),
    ("chain_order", 17),
    ("chain_incomplete", 18),
    ("not_in_chain", 19),
    ("chain_differs", 20),
    ("signoff_missing", 21),
    ("prefix_missing", 22),
    ("outside_prefix", 23),
    ("not_activated", 24),
    ("designation_missing", 25),
    ("designation_required", 26),
    ("single_use", 27),
    ("exposed", 28),
    ("domain_mismatch", 29),
    ("too_costly", 30),
    ("issued_later", 31),
    ("lives_too_long", 32),
];

/// Every reason not to know that was ever released. Rows are added, never changed.
const UNKNOWN: &[(&str, u16)] = &[
    ("revocation_not_checked", 101),
    ("never_synced", 102),
    ("stale", 103),
    ("behind", 104),
    ("limit_exceeded", 105),
];

#[test]
fn codes_and_numbers_of_reasons_never_change() {
    assert_eq!(DenyReason::ALL, DENY);
    assert_eq!(UnknownReason::ALL, UNKNOWN);
}

#[test]
fn a_verdict_has_the_code_and_the_number_of_its_reason() {
    let denied = Verdict::Deny(DenyReason::UnknownKey { key_id: 7 });
    assert_eq!((denied.code(), denied.number()), ("unknown_key", 3));
    let unsupported = Verdict::Deny(DenyReason::UnsupportedShape("x".to_owned()));
    assert_eq!(
        (unsupported.code(), unsupported.number()),
        ("unsupported_shape", 7)
    );
    let unknown = Verdict::Unknown(UnknownReason::NeverSynced);
    assert_eq!((unknown.code(), unknown.number()), ("never_synced", 102));
}

//! Targets as listings, messages and audit records show them.

use hessra_revocation::{Identity, RuleKind, Target, TokenId};

fn identity() -> Identity {
    Identity::parse("uri:urn:hessra:alice").unwrap()
}

/// Every kind of target, its word, its text, and whether it is about an identity.
fn targets() -> [(Target, &'static str, String, bool); 6] {
    let spelled = || "uri:urn:hessra:alice".to_owned();
    [
        (
            Target::Token(TokenId::new(&[0x00, 0x0f, 0xa0]).unwrap()),
            "token",
            "000fa0".to_owned(),
            false,
        ),
        (Target::Subtree(identity()), "subtree", spelled(), true),
        (Target::Exact(identity()), "exact", spelled(), true),
        (Target::Key(7), "key", "7".to_owned(), false),
        (
            Target::Certificate([0xab; 32]),
            "certificate",
            "ab".repeat(32),
            false,
        ),
        (Target::Lock(identity()), "lock", spelled(), true),
    ]
}

#[test]
fn a_target_has_one_word_for_its_kind_and_one_text() {
    for (target, word, text, _) in targets() {
        assert_eq!(target.kind().as_str(), word);
        assert_eq!(target.to_string(), text, "{word}");
    }
    assert_eq!(RuleKind::Unknown(77).as_str(), "unknown");
}

#[test]
fn subtrees_exact_identities_and_locks_are_about_an_identity() {
    for (target, word, _, about) in targets() {
        assert_eq!(target.identity(), about.then(identity).as_ref(), "{word}");
    }
}

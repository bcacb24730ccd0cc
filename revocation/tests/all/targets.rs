//! Targets as listings, messages and audit records show them.

use hessra_revocation::{Identity, RuleKind, SignerKey, Target, TokenId};

fn identity() -> Identity {
    Identity::parse("uri:urn:hessra:alice").unwrap()
}

/// Every kind of target, its word, its text, and whether it is about an identity.
fn targets() -> [(Target, &'static str, String, bool); 7] {
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
            Target::Signer(SignerKey::Ed25519([0xcd; 32])),
            "key",
            format!("ed25519/{}", "cd".repeat(32)),
            false,
        ),
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

#[test]
fn the_key_of_a_signer_has_one_form_in_text_and_in_bytes() {
    let compressed = format!("02{}", "0a".repeat(32));
    for text in [
        format!("ed25519/{}", "cd".repeat(32)),
        format!("secp256r1/{compressed}"),
    ] {
        let key: SignerKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(SignerKey::new(&key.to_bytes()), Ok(key));
        let upper = text.replace("cd", "CD").replace("0a", "0A");
        assert_eq!(upper.parse(), Ok(key));
    }
    for wrong in [
        String::new(),
        "7".to_owned(),
        "ed25519/".to_owned(),
        format!("ed25519/{}", "cd".repeat(31)),
        format!("ed25519/{}c", "cd".repeat(31)),
        format!("ed25519/{}", "zz".repeat(32)),
        format!("secp256r1/04{}", "0a".repeat(64)),
        format!("secp256r1/00{}", "0a".repeat(32)),
        format!("rsa/{}", "cd".repeat(32)),
    ] {
        assert!(wrong.parse::<SignerKey>().is_err(), "{wrong}");
    }
}

#[test]
fn the_key_of_a_signer_and_the_id_of_a_key_are_never_one_rule() {
    let salt = hessra_revocation::FeedSalt([7; 16]);
    let signer = Target::Signer(SignerKey::Ed25519([0; 32]));
    assert_ne!(signer.digest(&salt), Target::Key(0).digest(&salt));
}

#[test]
fn a_dns_name_has_one_spelling_and_the_others_are_refused_with_it() {
    for (spelled, canonical) in [
        ("HOST.svc.example", "host.svc.example"),
        ("host.svc.example.", "host.svc.example"),
        ("uri:Host.SVC.example:Agent", "uri:host.svc.example:Agent"),
    ] {
        let refused = Identity::parse(spelled).unwrap_err();
        assert!(
            refused.to_string().contains(&format!("`{canonical}`")),
            "{refused}"
        );
        assert_eq!(
            Identity::parse_spelled(spelled).unwrap().as_str(),
            canonical
        );
        assert_eq!(Identity::parse(canonical).unwrap().as_str(), canonical);
    }
    // What is no DNS name has its case for itself.
    for plain in [
        "URN:h",
        "Alice",
        "Alice@Example.com",
        "urn:Host.Example",
        "urn.:H",
        "a/B.c",
    ] {
        assert_eq!(Identity::parse(plain).unwrap().as_str(), plain);
        assert_eq!(Identity::parse_spelled(plain).unwrap().as_str(), plain);
    }
}

#[test]
fn a_name_below_another_is_spelled_as_that_one() {
    let id = |text: &str| Identity::parse(text).unwrap();
    let below = |name: &str, above: &str| id(name).spelled_below(&id(above)).to_string();
    assert_eq!(below("urn:h:a:b", "uri:urn:h:a"), "uri:urn:h:a:b");
    assert_eq!(below("URI:urn:h:a:b", "urn:h:a"), "urn:h:a:b");
    assert_eq!(below("uri:urn:h:a", "urn:h:a"), "urn:h:a");
    assert_eq!(below("uri:urn:h:ab", "urn:h:a"), "uri:urn:h:ab");
}

//! A rotation, seen by verifiers that have one key: those of the C FFI and of the Postgres extension, and every client
//! that cached a PEM. Checks what is written in `docs/key-rotation.md` about them.

use biscuit_auth::PublicKey;
use hessra_revocation::Revision;
use hessra_sdk_core::*;

use crate::fixture::*;

/// Seed of the key that follows.
const NEXT: u8 = 9;

struct Tokens {
    identity: String,
    authorization: String,
    capability: String,
}

fn signed_by(seed: u8) -> Tokens {
    let identity = IdentityParameters {
        subject: name(ALICE),
        delegatable: true,
        expires_at: ends(),
        issued_at: now(),
        rev: Revision(1),
        parents: Vec::new(),
        cert: Some([4; 32]),
        refreshed: None,
        refreshable_until: None,
    };
    let identity = mint_identity(&key(seed), &identity, &mut rng());
    let right = |shape| mint_authorization(&key(seed), &parameters(shape), &mut rng()).unwrap();
    Tokens {
        identity: identity.unwrap().token,
        authorization: right(TokenShape::Universal).token,
        capability: right(TokenShape::Capability).token,
    }
}

/// True when the published verifiers accept the tokens, each with the one key that it has; all must agree.
fn are_good(tokens: &Tokens, known: PublicKey) -> bool {
    let (subject, resource, operation) = RIGHT;
    let verdicts = [
        says(|| {
            published_identity::IdentityVerifier::new(tokens.identity.clone(), known)
                .with_identity(ALICE.into())
                .verify()
        }),
        says(|| {
            published_identity_2::IdentityVerifier::new(tokens.identity.clone(), known)
                .with_identity(ALICE.into())
                .verify()
        }),
        says(|| {
            published_authz::AuthorizationVerifier::new(
                tokens.authorization.clone(),
                known,
                subject.into(),
                resource.into(),
                operation.into(),
            )
            .verify()
        }),
        says(|| {
            published_capability::CapabilityVerifier::new(
                tokens.capability.clone(),
                known,
                resource.into(),
                operation.into(),
            )
            .verify()
        }),
    ];
    assert!(
        verdicts.iter().all(|verdict| *verdict == verdicts[0]),
        "{verdicts:?}"
    );
    verdicts[0]
}

#[test]
fn with_the_former_key_old_tokens_are_good_and_new_ones_are_refused_until_it_is_replaced() {
    let (former, next) = (pair(ROOT).public(), pair(NEXT).public());
    let (old, new) = (signed_by(ROOT), signed_by(NEXT));
    assert!(are_good(&old, former));
    assert!(!are_good(&new, former));
    assert!(are_good(&new, next));
    // So the PEM is replaced between the two: when the old tokens have ended, or in a second configuration.
    assert!(!are_good(&old, next));
}

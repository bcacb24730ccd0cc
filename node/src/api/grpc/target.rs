//! Targets, ids and commands that a request names: parsed once into types that cannot be wrong, refused when they are
//! not canonical.

use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_revocation::{Target, UnixSeconds, canonical_spelling};
use hessra_state::limits::TARGETS_MAX;
use hessra_state::{Refusal, RefusalCode, RequestId, Revoke};

/// The command of a request, with what must be asked before it is proposed.
pub(super) fn command(request: &v1::RevokeRequest) -> Result<Revoke, Failure> {
    if request.targets.is_empty() || request.targets.len() > TARGETS_MAX {
        return Err(Failure::new(
            Reason::InvalidArgument,
            format!(
                "a revocation names 1 to {TARGETS_MAX} targets, this one {}",
                request.targets.len()
            ),
        ));
    }
    let until = (request.until != 0).then_some(UnixSeconds(request.until));
    if until.is_some() && request.permanent {
        return Err(Failure::new(
            Reason::InvalidArgument,
            "a lock that ends by itself is not permanent",
        )
        .hint("Give either --until or --permanent."));
    }
    let targets = request
        .targets
        .iter()
        .map(|wire| parse(wire, until.is_some()))
        .collect::<Result<_, _>>()?;
    Ok(Revoke {
        targets,
        permanent: request.permanent,
        until,
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        message: request.message.clone(),
    })
}

/// Parses one target; a subtree with an end is a lock.
pub(super) fn parse(wire: &v1::Target, has_end: bool) -> Result<Target, Failure> {
    let target = Target::try_from(&spelled(wire)).map_err(|error| {
        Failure::new(Reason::InvalidArgument, error.to_string())
            .hint("Identities are written exactly as the policy and the tokens spell them.")
    })?;
    if let Target::Token(id) = &target
        && !id.is_whole()
    {
        return Err(Failure::new(
            Reason::InvalidArgument,
            format!("`{id}` is not a whole token id, and no token would match it"),
        )
        .hint(
            "Copy all of it: `hessra audit search token=BEGINNING*` shows those that were issued.",
        ));
    }
    match target {
        Target::Subtree(identity) if has_end => Ok(Target::Lock(identity)),
        target if !has_end => Ok(target),
        target => Err(Failure::new(
            Reason::InvalidArgument,
            format!(
                "{} `{target}` cannot be revoked until a time",
                target.kind().as_str()
            ),
        )
        .hint("Only a subtree can be locked with --until.")),
    }
}

/// The target with its identity in canonical spelling, for people who write a DNS name as their certificates do.
fn spelled(wire: &v1::Target) -> v1::Target {
    use v1::target::Kind;
    let kind = wire.kind.clone().map(|kind| match kind {
        Kind::Subtree(text) => Kind::Subtree(canonical_spelling(&text)),
        Kind::Exact(text) => Kind::Exact(canonical_spelling(&text)),
        other => other,
    });
    v1::Target { kind }
}

/// The request id of a write.
pub(super) fn request_id(bytes: &[u8]) -> Result<RequestId, Failure> {
    let id = <[u8; 16]>::try_from(bytes)
        .ok()
        .map(RequestId)
        .filter(|id| !id.is_zero());
    id.ok_or_else(|| {
        Failure::new(
            Reason::InvalidArgument,
            "a write needs a request id of 16 random bytes",
        )
        .hint("Choose it once, and send the same one when you retry.")
    })
}

/// Failure of a request id that was used before, for something else, and got that answer.
pub(super) fn other_request() -> tonic::Status {
    Failure::new(
        Reason::Conflict,
        "the request id belongs to another request",
    )
    .hint("Choose a new random request id for every request; repeat one only to retry.")
    .into()
}

/// Failure that clients read for a refusal of the state machine.
pub(super) fn refused(refusal: Refusal) -> Failure {
    let reason = match refusal.code {
        RefusalCode::NotInitialized => Reason::Unavailable,
        RefusalCode::AlreadyInitialized
        | RefusalCode::Conflict
        | RefusalCode::NotLiftable
        | RefusalCode::KeyState
        | RefusalCode::AlreadySpent
        | RefusalCode::ContextOutdated
        | RefusalCode::Revoked
        | RefusalCode::Contradicted
        | RefusalCode::OtherStore
        | RefusalCode::SetBack
        | RefusalCode::Doubled => Reason::Conflict,
        RefusalCode::SecondPerson | RefusalCode::NotPermitted => Reason::NotPermitted,
        RefusalCode::Invalid => Reason::InvalidArgument,
        RefusalCode::NotFound => Reason::NotFound,
        RefusalCode::Limit => Reason::Limit,
    };
    // The state machine's sentence ends with what to do, and the same request gets the same answer.
    Failure::new(reason, refusal.message).retryable(reason == Reason::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtree(text: &str) -> v1::Target {
        v1::Target {
            kind: Some(v1::target::Kind::Subtree(text.to_owned())),
        }
    }

    fn request(targets: Vec<v1::Target>) -> v1::RevokeRequest {
        v1::RevokeRequest {
            targets,
            ..Default::default()
        }
    }

    #[test]
    fn an_identity_that_is_not_canonical_is_refused_and_not_repaired() {
        for wrong in ["", "urn:a:", ":urn:a", "urn::a", "urn:a:b%3Ac", "urn:a b"] {
            let failure = command(&request(vec![subtree(wrong)])).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidArgument, "{wrong}");
        }
        let accepted = command(&request(vec![subtree("urn:hessra:alice:agent")])).unwrap();
        assert_eq!(accepted.targets[0].to_string(), "urn:hessra:alice:agent");
        let host = command(&request(vec![subtree("HOST.svc.example.:Agent")])).unwrap();
        assert_eq!(host.targets[0].to_string(), "host.svc.example:Agent");
    }

    #[test]
    fn a_subtree_with_an_end_is_a_lock_and_nothing_else_may_have_one() {
        let mut lock = request(vec![subtree("urn:hessra:alice")]);
        lock.until = 99;
        assert_eq!(command(&lock).unwrap().targets[0].kind().as_str(), "lock");
        lock.permanent = true;
        assert_eq!(command(&lock).unwrap_err().reason, Reason::InvalidArgument);
        let mut exact = request(vec![v1::Target {
            kind: Some(v1::target::Kind::Exact("urn:a:b".into())),
        }]);
        exact.until = 99;
        assert_eq!(command(&exact).unwrap_err().reason, Reason::InvalidArgument);
    }

    #[test]
    fn a_token_id_is_whole_or_refused() {
        let of = |bytes: Vec<u8>| v1::Target {
            kind: Some(v1::target::Kind::TokenId(bytes)),
        };
        for length in [1, 6, 32, 63, 65, 72] {
            let failure = parse(&of(vec![7; length]), false).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidArgument, "{length}");
        }
        assert!(parse(&of(vec![7; 64]), false).is_ok());
        // A signature in DER: SEQUENCE { INTEGER 1, INTEGER 1 }.
        assert!(parse(&of(vec![0x30, 6, 2, 1, 1, 2, 1, 1]), false).is_ok());
    }

    #[test]
    fn a_revocation_has_one_to_ten_thousand_targets() {
        assert!(command(&request(Vec::new())).is_err());
        assert!(command(&request(vec![subtree("urn:a:b"); TARGETS_MAX])).is_ok());
        assert!(command(&request(vec![subtree("urn:a:b"); TARGETS_MAX + 1])).is_err());
    }

    #[test]
    fn a_write_without_a_request_id_is_refused() {
        assert!(
            request_id(&[]).is_err()
                && request_id(&[0; 16]).is_err()
                && request_id(&[1; 15]).is_err()
        );
        assert_eq!(request_id(&[7; 16]), Ok(RequestId([7; 16])));
    }
}

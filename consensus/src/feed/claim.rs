//! Claims: what the caller of a stream proved of itself, and what follows from it.
//!
//! | the caller | the id that it names | standing |
//! |---|---|---|
//! | proved an identity | belongs to this identity in the policy | enrolled: revocations wait for its acknowledgements |
//! | proved an identity that the policy names | belongs to nobody | guest: served, never counted |
//! | proved nothing | belongs to nobody | guest, where the settings admit anyone |
//! | any other | belongs to another identity | refused |
//!
//! The question is asked at the hello, and again for every stream that runs whenever the state changes.

use std::sync::Arc;

use hessra_policy::{PolicyView, Right};
use hessra_proto::Greeting;
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::UnixSeconds;

use crate::plant::{Plant, is_planted};

/// Proof that a stream came with, as the node's door checked it.
pub trait Claim: Send + Sync + 'static {
    /// Identity that was proved; `None` = nothing was.
    fn identity(&self) -> Option<&str>;

    /// Network address that the stream comes from, as far as one caller can be told from another by it; bounded.
    fn address(&self) -> &str;

    /// End of what it showed, when that has one.
    fn ends_at(&self) -> Option<UnixSeconds>;

    /// Asks whether the caller may speak now: is what it showed still good, and nothing of it revoked?
    ///
    /// # Errors
    /// It may not; the failure is for the caller.
    fn may_speak(&self) -> Result<(), Failure>;
}

/// Callers that are served beside the verifiers that the policy names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admits {
    /// Operators with the right to read, and nobody else.
    Verifiers,
    /// Callers that prove an identity which the policy names.
    #[default]
    Proved,
    /// Anyone.
    Anyone,
}

/// Standing of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The policy ties its id to the identity that it proved: it counts.
    Enrolled,
    /// It is served and never counted.
    Guest,
}

/// Whether a caller may say hello at all: the identity and its address are known before it names an id.
///
/// # Errors
/// It may not; the failure says why, and what to do.
pub(super) fn admitted(
    claim: &Arc<dyn Claim>,
    policy: &PolicyView,
    admits: Admits,
) -> Result<(), Failure> {
    claim.may_speak()?;
    let Some(identity) = claim.identity() else {
        return match admits {
            Admits::Anyone => Ok(()),
            Admits::Verifiers | Admits::Proved => Err(nothing_proved()),
        };
    };
    let is_admitted = policy.owns_verifiers(identity)
        || match admits {
            Admits::Anyone => true,
            Admits::Proved => policy.names(identity),
            Admits::Verifiers => policy.may(identity, Right::Read, None).is_ok(),
        };
    match is_admitted {
        true => Ok(()),
        false => Err(not_named(identity)),
    }
}

/// Standing of a caller under the id that it names.
///
/// # Errors
/// It is not [`admitted`], or the id belongs to another identity.
pub(super) fn standing(
    claim: &Arc<dyn Claim>,
    greeting: &Greeting,
    policy: &PolicyView,
    admits: Admits,
) -> Result<Standing, Failure> {
    admitted(claim, policy, admits)?;
    let id = greeting.verifier_id.as_str();
    let is_its_own = claim
        .identity()
        .is_some_and(|identity| policy.is_verifier(identity, id));
    if is_planted(Plant::AnyoneCounted) {
        return Ok(Standing::Enrolled);
    }
    match (policy.verifier_owner(id), is_its_own) {
        _ if greeting.is_observer() => Ok(Standing::Guest),
        (Some(_), true) => Ok(Standing::Enrolled),
        (Some(_), false) => Err(another_ones(id)),
        (None, _) => Ok(Standing::Guest),
    }
}

fn nothing_proved() -> Failure {
    Failure::new(
        Reason::Unauthenticated,
        "the feed is for callers that prove who they are, and nothing was shown",
    )
    .hint("Give the verifier a client certificate, or an identity token.")
}

fn not_named(identity: &str) -> Failure {
    let message = format!("the policy does not name `{identity}`: the feed is not for it");
    Failure::new(Reason::NotPermitted, message).hint(
        "Name it under `[[verifiers]]` in the policy, with the ids that its verifiers may use.",
    )
}

fn another_ones(id: &str) -> Failure {
    let message = format!("the verifier id `{id}` belongs to another identity");
    Failure::new(Reason::NotPermitted, message)
        .hint("Use an id that the policy's `[[verifiers]]` tie to this caller's identity.")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use hessra_proto::VerifierId;
    use hessra_revocation::Revision;
    use hessra_revocation::publisher::{Hello, Nonce};

    use super::*;

    /// A caller that proved this, or nothing, and is not silenced.
    pub(in super::super) struct Shown(pub(in super::super) Option<&'static str>);

    impl Claim for Shown {
        fn identity(&self) -> Option<&str> {
            self.0
        }

        fn address(&self) -> &str {
            "192.0.2.1"
        }

        fn ends_at(&self) -> Option<UnixSeconds> {
            None
        }

        fn may_speak(&self) -> Result<(), Failure> {
            Ok(())
        }
    }

    const POLICY: &str = r#"
[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice" }
resources = []

[[operators]]
identity = "urn:hessra:auditor"
rights = ["read"]

[[verifiers]]
identity = "urn:hessra:orders"
ids = ["orders-*"]
"#;

    fn greeting(id: &str, capabilities: &[&str]) -> Greeting {
        Greeting {
            hello: Hello {
                nonce: Nonce([0; 32]),
                feed_id: None,
                epoch: hessra_revocation::Epoch(0),
                from: Revision(0),
                log_root: [0; 32],
                bucket_roots: Vec::new(),
                feed_keys: Vec::new(),
            },
            verifier_id: VerifierId::parse(id).unwrap(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            client: String::new(),
        }
    }

    fn found(who: Option<&'static str>, id: &str, admits: Admits) -> Result<Standing, Reason> {
        let policy = PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error:?}"));
        let claim: Arc<dyn Claim> = Arc::new(Shown(who));
        standing(&claim, &greeting(id, &[]), &policy, admits).map_err(|failure| failure.reason)
    }

    #[test]
    fn only_the_identity_that_an_id_belongs_to_is_counted_under_it() {
        let orders = Some("urn:hessra:orders");
        let cases = BTreeMap::from([
            ((orders, "orders-1"), Ok(Standing::Enrolled)),
            ((orders, "other"), Ok(Standing::Guest)),
            (
                (Some("urn:hessra:alice"), "orders-1"),
                Err(Reason::NotPermitted),
            ),
            ((Some("urn:hessra:alice"), "other"), Ok(Standing::Guest)),
            (
                (Some("urn:hessra:stranger"), "other"),
                Err(Reason::NotPermitted),
            ),
            ((None, "orders-1"), Err(Reason::Unauthenticated)),
            ((None, "other"), Err(Reason::Unauthenticated)),
        ]);
        for ((who, id), expected) in cases {
            assert_eq!(found(who, id, Admits::Proved), expected, "{who:?} {id}");
        }
    }

    #[test]
    fn anyone_is_served_only_where_a_setting_says_so_and_never_counted() {
        assert_eq!(found(None, "other", Admits::Anyone), Ok(Standing::Guest));
        assert_eq!(
            found(None, "orders-1", Admits::Anyone),
            Err(Reason::NotPermitted)
        );
        assert_eq!(
            found(Some("urn:hessra:stranger"), "x", Admits::Anyone),
            Ok(Standing::Guest)
        );
        assert_eq!(
            found(Some("urn:hessra:alice"), "x", Admits::Verifiers),
            Err(Reason::NotPermitted)
        );
        assert_eq!(
            found(Some("urn:hessra:auditor"), "x", Admits::Verifiers),
            Ok(Standing::Guest)
        );
    }

    #[test]
    fn a_tool_that_only_looks_is_a_guest_under_any_id() {
        let policy = PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error:?}"));
        let claim: Arc<dyn Claim> = Arc::new(Shown(Some("urn:hessra:orders")));
        let greeting = greeting("orders-1", &[hessra_proto::convert::OBSERVER]);
        let found = standing(&claim, &greeting, &policy, Admits::Proved);
        assert_eq!(found.ok(), Some(Standing::Guest));
    }
}

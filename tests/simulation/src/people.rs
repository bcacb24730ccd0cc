//! People of the simulation: clients and operators with keys and certificates of their own, and the policy that knows them.

use std::sync::Arc;

use hessra_consensus::feed::Claim;
use hessra_people::{Person, authority, authority_named};
use hessra_proof::Checker;
use hessra_proto::status::Failure;
use hessra_revocation::UnixSeconds;
use hessra_sled::codec;
use hessra_state::{Author, Command, Policy, RequestId};

/// Verifiers of the world: `v1000` and those after it.
pub(crate) const VERIFIERS: u64 = 3;
/// Identity that all verifiers prove.
pub(crate) const VERIFIER: &str = "urn:hessra:verifier";
/// Id of the cluster.
pub const CLUSTER: [u8; 16] = [7; 16];
/// Identity of every client.
pub const CLIENT: &str = "urn:people:client";
/// Identity of every operator.
pub const OPERATOR: &str = "urn:people:operator";

/// Text that no person's policy has.
pub const FORGED: &str = "# forged";

/// Name of an authority that no more than one member trusts.
pub const OTHER_AUTHORITY: &str = "authority of one member alone";

/// Checker that believes the authority of the people; `and_another`: also one that the other members do not trust.
pub fn checker(and_another: bool) -> Arc<Checker> {
    let other = and_another.then(|| authority_named(OTHER_AUTHORITY));
    Arc::new(Checker::new(
        [authority()].into_iter().chain(other).collect(),
    ))
}

/// The policy, with a number that makes it another one.
pub fn policy(number: u32) -> Policy {
    let text = format!(
        r#"# {number}
version = "0.2.0"

[[operators]]
identity = "{CLIENT}"
rights = ["revoke", "lift", "policy", "read"]

[[operators]]
identity = "{OPERATOR}"
rights = ["cluster", "read"]

[[verifiers]]
identity = "{VERIFIER}"
ids = ["v*"]

[limits]
two_person = false
"#
    );
    Policy::new(text, String::new())
}

/// Author of a command: this person, who signs it `now`, in Unix seconds.
pub fn author(identity: &str, request: RequestId, command: &Command, now: u64) -> Author {
    signed(&Person::named(identity), request, command, now)
}

/// Author of a command whose certificate is of [`OTHER_AUTHORITY`].
pub fn author_elsewhere(identity: &str, request: RequestId, command: &Command, now: u64) -> Author {
    let person = Person::certified(identity, OTHER_AUTHORITY);
    signed(&person, request, command, now)
}

fn signed(person: &Person, request: RequestId, command: &Command, now: u64) -> Author {
    let digest = codec::statement_digest(command).expect("people make this command");
    Author::Operator(person.proof(CLUSTER, request.0, digest, now))
}

/// A caller that proved this identity, or none.
pub struct Shown(pub Option<&'static str>);

impl Claim for Shown {
    fn identity(&self) -> Option<&str> {
        self.0
    }

    fn address(&self) -> &str {
        "simulated"
    }

    fn ends_at(&self) -> Option<UnixSeconds> {
        None
    }

    fn may_speak(&self) -> Result<(), Failure> {
        Ok(())
    }
}

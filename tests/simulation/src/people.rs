//! People of the simulation: clients and operators with keys and certificates of their own, and the policy that knows them.

use std::sync::Arc;

use hessra_consensus::feed::Claim;
use hessra_people::{Person, authority};
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

/// Checker that believes the authority of the people.
pub fn checker() -> Arc<Checker> {
    Arc::new(Checker::new(vec![authority()]))
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
    let digest = codec::statement_digest(command).expect("people make this command");
    Author::Operator(Person::named(identity).proof(CLUSTER, request.0, digest, now))
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

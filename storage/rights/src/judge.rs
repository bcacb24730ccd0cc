//! Judge of the state machine: the policy of the state, parsed once.

use std::sync::{Arc, Mutex, PoisonError};

use hessra_policy::PolicyView;
use hessra_proof::Proof;
use hessra_revocation::UnixSeconds;
use hessra_state::{Author, Command, Judge, PendingAction, Refusal, RefusalCode, Stamped, State};

use crate::rights::{needs_second_person, permit};
use crate::speaking::{Certificate, may_speak};

/// Judge that asks the policy and the revocations of the state.
#[derive(Debug, Default)]
pub struct Rights {
    /// The policy that was asked last, by its digest.
    parsed: Mutex<([u8; 32], Arc<PolicyView>)>,
}

impl Rights {
    /// The policy of a state. One that this version cannot read permits nothing.
    #[must_use]
    pub fn policy(&self, state: &State) -> Arc<PolicyView> {
        let (_, policy) = state.policy();
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if parsed.0 != policy.digest {
            let view = PolicyView::parse(&policy.clients_toml, &policy.resources_toml);
            *parsed = (policy.digest, Arc::new(view.unwrap_or_default()));
        }
        Arc::clone(&parsed.1)
    }

    fn operator(&self, state: &State, proof: &Proof, stamped: &Stamped) -> Result<String, Refusal> {
        // Before it began the state machine refuses everything, in better words.
        if !state.is_initialized() {
            return Ok(proof.signer().name().to_owned());
        }
        is_for_this_state(state, proof, stamped)?;
        let policy = self.policy(state);
        let signer = proof.signer();
        let certificate = Certificate {
            sha256: signer.fingerprint(),
            uris: signer.uris(),
            dns_names: signer.dns_names(),
            ends_at: signer.ends_at(),
        };
        let identity = certificate.operator(&policy).ok_or_else(|| {
            refused("the certificate of the signature has no URI among its names")
        })?;
        may_speak(
            &certificate,
            &identity,
            (state, &policy),
            stamped.at.seconds(),
        )
        .map_err(|silenced| refused(silenced.to_string()))?;
        permit((state, &policy), &identity, &stamped.command)
            .map_err(|refusal| refused(refusal.to_string()))?;
        if needs_second_person(&policy, &stamped.command) {
            let message =
                format!("`{identity}` may ask for this, and a second person must approve it");
            return Err(Refusal::new(RefusalCode::SecondPerson, message));
        }
        Ok(identity)
    }
}

impl Judge for Rights {
    fn judge(&self, state: &State, stamped: &Stamped) -> Result<String, Refusal> {
        if !stamped.author.makes(&stamped.command) {
            return Err(refused(format!(
                "{} does not make this command",
                stamped.author
            )));
        }
        match &stamped.author {
            Author::Operator(proof) => self.operator(state, proof, stamped),
            Author::Node { .. } => Ok(stamped.author.to_string()),
        }
    }
}

/// Checks cluster and time. What makes something denied is held to its own stamp alone: a clock of the state that one node
/// has set too far ahead must not keep anybody from revoking. Everything else is held to the state's clock too, which never
/// goes back: a command that a node has kept to itself is worth nothing later, however it is stamped.
fn is_for_this_state(state: &State, proof: &Proof, stamped: &Stamped) -> Result<(), Refusal> {
    let statement = proof.statement();
    if statement.cluster != state.view().feed_id.0 {
        return Err(refused("it was signed for another cluster"));
    }
    let denies = matches!(
        stamped.command,
        Command::Revoke(_) | Command::Ask(PendingAction::Revoke(_))
    );
    let clock = state.clock().seconds();
    let now: UnixSeconds = if denies { stamped.at.seconds() } else { clock };
    if statement.is_current(now.0) {
        return Ok(());
    }
    Err(refused(format!(
        "it was signed at {} and ends at {}, and the cluster's time is {now}; set this machine's clock, and ask again",
        statement.issued_at, statement.expires_at
    )))
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::NotPermitted, message)
}

#[cfg(test)]
mod tests {
    use hessra_people::Person;
    use hessra_revocation::{
        FeedId, FeedSalt, Identity, KeyPurpose, KeyState, PublicKeyRecord, Revision, Target,
        UnixMillis,
    };
    use hessra_state::{
        Applied, Approval, Duty, Init, Lift, Machine, PendingId, Policy, PolicyChange,
        PolicyOrigin, RequestId, Revoke, SealedKey,
    };

    use super::*;

    const NOW: u64 = 1_767_225_600;
    const POLICY: &str = r#"
version = "0.2.0"

[[operators]]
identity = "urn:h:ann"
rights = ["revoke", "lift", "keys", "policy"]

[[operators]]
identity = "urn:h:bob"
rights = ["revoke", "lift"]

[[operators]]
identity = "urn:h:eve"
rights = ["revoke"]
under = "urn:h:eves"

[limits]
min_revocation_depth = 3
two_person = true
"#;

    struct Cluster {
        machine: Machine,
        rights: Rights,
        requests: u8,
    }

    impl Cluster {
        fn begun() -> Self {
            let key = |id: u32, purpose| {
                let record = PublicKeyRecord {
                    id,
                    purpose,
                    state: KeyState::Active,
                    public_key: [id as u8; 32],
                };
                SealedKey::new(record, vec![1])
            };
            let init = Command::Init(Init {
                feed_id: FeedId([1; 16]),
                salt: FeedSalt([2; 16]),
                keys: vec![key(1, KeyPurpose::Token), key(2, KeyPurpose::Feed)],
                policy: Policy::new(POLICY.to_owned(), String::new()),
            });
            let mut cluster = Self {
                machine: Machine::new(),
                rights: Rights::default(),
                requests: 0,
            };
            let begun = cluster.node(Duty::Start, init);
            assert!(matches!(begun, Applied::Initialized { .. }), "{begun:?}");
            cluster
        }

        fn node(&mut self, duty: Duty, command: Command) -> Applied {
            self.apply(NOW, |_| Author::Node { id: 1, duty }, command)
        }

        fn apply(
            &mut self,
            at: u64,
            author: impl Fn([u8; 16]) -> Author,
            command: Command,
        ) -> Applied {
            self.requests += 1;
            let request = [self.requests; 16];
            let stamped = Stamped {
                at: UnixMillis(at * 1_000),
                author: author(request),
                request: RequestId(request),
                command,
            };
            self.machine.apply(&stamped, &self.rights)
        }

        /// As an operator who has signed at one time, stamped at another.
        fn at(&mut self, name: &str, (signed, at): (u64, u64), command: Command) -> Applied {
            let person = Person::named(name);
            let author =
                |request| Author::Operator(person.proof([1; 16], request, [7; 32], signed));
            self.apply(at, author, command)
        }

        fn by(&mut self, name: &str, command: Command) -> Applied {
            self.at(name, (NOW, NOW), command)
        }
    }

    fn revoke(identity: &str) -> Command {
        Command::Revoke(Revoke {
            targets: vec![Target::Subtree(Identity::parse(identity).unwrap())],
            permanent: true,
            until: None,
            reason: String::new(),
            ticket: String::new(),
            message: String::new(),
        })
    }

    fn lift(revision: u64, restore: bool) -> Lift {
        Lift {
            revision: Revision(revision),
            of: None,
            restore,
            reason: String::new(),
        }
    }

    fn code(applied: &Applied) -> Option<RefusalCode> {
        match applied {
            Applied::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    #[test]
    fn an_operator_makes_what_the_policy_gives_and_nothing_else() {
        let mut cluster = Cluster::begun();
        let denied = Some(RefusalCode::NotPermitted);
        let lifts = || Command::Lift(lift(4, false));
        assert_eq!(code(&cluster.by("urn:h:eve", revoke("urn:h:eves:x"))), None);
        assert_eq!(
            code(&cluster.by("urn:h:eve", revoke("urn:h:ann:x"))),
            denied
        );
        assert_eq!(code(&cluster.by("urn:h:eve", lifts())), denied);
        assert_eq!(
            code(&cluster.by("urn:h:stranger", revoke("urn:h:a:x"))),
            denied
        );
        assert_eq!(code(&cluster.by("urn:h:bob", lifts())), None);
    }

    #[test]
    fn one_operator_does_not_make_what_needs_two_whoever_leads() {
        let mut cluster = Cluster::begun();
        let second = Some(RefusalCode::SecondPerson);
        cluster.by("urn:h:ann", revoke("urn:h:a:x"));
        assert_eq!(code(&cluster.by("urn:h:ann", revoke("urn:h"))), second);
        let restore = || lift(4, true);
        let alone = cluster.by("urn:h:ann", Command::Lift(restore()));
        assert_eq!(code(&alone), second);
        let ask = Command::Ask(PendingAction::Lift(restore()));
        let asked = cluster.by("urn:h:ann", ask);
        assert!(matches!(asked, Applied::Pending { .. }), "{asked:?}");
        let approve = |action| {
            Command::Approve(Approval {
                id: PendingId(0),
                action,
            })
        };
        assert_eq!(code(&cluster.by("urn:h:ann", approve([7; 32]))), second);
        let other = cluster.by("urn:h:bob", approve([8; 32]));
        assert_eq!(code(&other), Some(RefusalCode::Conflict), "another action");
        let without = cluster.by("urn:h:eve", approve([7; 32]));
        assert_eq!(code(&without), Some(RefusalCode::NotPermitted));
        assert_eq!(code(&cluster.by("urn:h:bob", approve([7; 32]))), None);
    }

    #[test]
    fn an_operator_who_is_revoked_makes_nothing_any_more() {
        let mut cluster = Cluster::begun();
        // Of three segments: nearer to the root two people would be needed.
        let ask = cluster.by("urn:h:ann", revoke("urn:h:bob"));
        assert_eq!(code(&ask), None);
        let said = cluster.by("urn:h:bob", revoke("urn:h:a:x"));
        assert_eq!(code(&said), Some(RefusalCode::NotPermitted));
    }

    #[test]
    fn a_command_that_a_node_has_kept_to_itself_is_worth_nothing_later_however_it_is_stamped() {
        let mut cluster = Cluster::begun();
        cluster.by("urn:h:ann", revoke("urn:h:a:x"));
        let later = NOW + 3_600;
        let fresh = cluster.at("urn:h:ann", (later, later), revoke("urn:h:a:y"));
        assert_eq!(code(&fresh), None);
        let lifted = cluster.at("urn:h:ann", (NOW, NOW), Command::Lift(lift(4, false)));
        assert_eq!(code(&lifted), Some(RefusalCode::NotPermitted));
        let ann = Person::named("urn:h:ann");
        let author = |request| Author::Operator(ann.proof([9; 16], request, [7; 32], later));
        let elsewhere = cluster.apply(later, author, revoke("urn:h:a:z"));
        assert_eq!(
            code(&elsewhere),
            Some(RefusalCode::NotPermitted),
            "another cluster"
        );
    }

    #[test]
    fn a_clock_that_ran_ahead_keeps_nobody_from_revoking() {
        let mut cluster = Cluster::begun();
        let ahead = NOW + 86_400;
        cluster.at("urn:h:ann", (ahead, ahead), revoke("urn:h:a:x"));
        assert_eq!(code(&cluster.by("urn:h:ann", revoke("urn:h:a:y"))), None);
    }

    #[test]
    fn what_a_node_does_by_itself_is_a_closed_list() {
        let mut cluster = Cluster::begun();
        let of_commit = Command::ApplyPolicy {
            based_on: cluster.machine.policy().0,
            policy: Policy::new("# of a commit".to_owned(), String::new()),
            change: PolicyChange {
                origin: PolicyOrigin::Git("1".repeat(40)),
                ..PolicyChange::default()
            },
        };
        let denied = Some(RefusalCode::NotPermitted);
        for duty in Duty::ALL {
            let revoked = cluster.node(duty, revoke("urn:h:a:x"));
            assert_eq!(code(&revoked), denied, "{duty:?}");
            let lifted = cluster.node(duty, Command::Lift(lift(4, true)));
            assert_eq!(code(&lifted), denied, "{duty:?}");
        }
        let by_ann = cluster.by("urn:h:ann", of_commit.clone());
        assert_eq!(code(&by_ann), denied);
        let rotated = cluster.node(Duty::Rotation, of_commit.clone());
        assert_eq!(code(&rotated), denied);
        assert_eq!(code(&cluster.node(Duty::Repository, of_commit)), None);
    }
}

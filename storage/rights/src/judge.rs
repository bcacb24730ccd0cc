//! Judge of the state machine: the policy of the state, parsed once.

use std::sync::{Arc, Mutex, PoisonError};

use hessra_policy::PolicyView;
use hessra_proof::Proof;
use hessra_revocation::UnixSeconds;
use hessra_state::{
    Author, Command, Judge, Pending, PendingAction, Refusal, RefusalCode, Stamped, State,
};

use crate::rights::{needs_second_person, permit, permit_asker, reasons_to_wait};
use crate::speaking::{Certificate, may_speak};

/// Judge that asks the policy and the revocations of the state.
#[derive(Debug)]
pub struct Rights {
    /// The policy that was asked last, by its digest.
    parsed: Mutex<([u8; 32], Arc<PolicyView>)>,
    stated: fn(&PendingAction) -> [u8; 32],
}

impl Rights {
    /// Judge of a state. `stated`: digest of what the approver of an action signs.
    #[must_use]
    pub fn new(stated: fn(&PendingAction) -> [u8; 32]) -> Self {
        Self {
            parsed: Mutex::default(),
            stated,
        }
    }

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
            // Every member asks before it acknowledges: the proof leads to an authority of operators.
            may_name_operators: true,
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
        self.check_approval((state, &policy), stamped)?;
        if needs_second_person(&policy, &stamped.command) {
            let message =
                format!("`{identity}` may ask for this, and a second person must approve it");
            return Err(Refusal::new(RefusalCode::SecondPerson, message));
        }
        Ok(identity)
    }
}

impl Rights {
    /// Checks of an approval, beside the right of its author: the asker's right, as of now, and that what a node has asked for
    /// is what the approver has read.
    fn check_approval(
        &self,
        (state, policy): (&State, &PolicyView),
        stamped: &Stamped,
    ) -> Result<(), Refusal> {
        let Command::Approve(approval) = &stamped.command else {
            return Ok(());
        };
        let Some(pending) = state.pending().find(approval.id) else {
            return Ok(());
        };
        let id = approval.id;
        if pending.is_of_node() && (self.stated)(&pending.action) != approval.action {
            let message =
                format!("{id} is another action than the one that was approved; show it again");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        permit_asker((state, policy), pending, state.clock().seconds())
            .map_err(|lost| refused(format!("{id} cannot be approved: {lost}. Ask for it again")))
    }

    /// Checks that a node's policy may stand without an operator's approval.
    fn repository(&self, state: &State, command: &Command) -> Result<(), Refusal> {
        let Command::ApplyPolicy { policy, .. } = command else {
            return Ok(());
        };
        let reasons = reasons_to_wait(&self.policy(state), policy);
        if reasons.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the commit weakens the rule of two persons: {}. An operator must approve it",
            reasons.join("; ")
        );
        Err(Refusal::new(RefusalCode::SecondPerson, message))
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
            Author::Node { .. } => {
                self.repository(state, &stamped.command)?;
                Ok(stamped.author.to_string())
            }
        }
    }

    fn still_asks(&self, state: &State, pending: &Pending) -> bool {
        let now = state.clock().seconds();
        permit_asker((state, &self.policy(state)), pending, now).is_ok()
    }
}

/// Checks cluster and time. What makes something denied is held to its own stamp alone: a clock of the state that one node
/// has set too far ahead must not keep anybody from revoking. So is what sets that clock back, which can be done with one
/// signature once. Everything else is held to the state's clock: a command that a node has kept to itself is worth nothing later, however it is stamped.
fn is_for_this_state(state: &State, proof: &Proof, stamped: &Stamped) -> Result<(), Refusal> {
    let statement = proof.statement();
    if statement.cluster != state.view().feed_id.0 {
        return Err(refused("it was signed for another cluster"));
    }
    let by_its_stamp = matches!(
        stamped.command,
        Command::Revoke(_) | Command::Ask(PendingAction::Revoke(_)) | Command::SetClockBack { .. }
    );
    let now: UnixSeconds = match by_its_stamp {
        true => stamped.at.seconds(),
        false => state.clock().seconds(),
    };
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
        Applied, Approval, Duty, Init, Lift, Machine, MemberChange, PendingId, Policy,
        PolicyChange, PolicyOrigin, RequestId, Revoke, SealedKey,
    };

    use super::*;

    const NOW: u64 = 1_767_225_600;
    const POLICY: &str = r#"
version = "0.2.0"

[[operators]]
identity = "urn:h:ann"
rights = ["revoke", "lift", "keys", "policy", "cluster"]

[[operators]]
identity = "urn:h:bob"
rights = ["revoke", "lift", "keys", "policy", "cluster"]

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
                rights: Rights::new(|_| [7; 32]),
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
            self.as_person(&Person::named(name), (signed, at), command)
        }

        fn as_person(
            &mut self,
            person: &Person,
            (signed, at): (u64, u64),
            command: Command,
        ) -> Applied {
            let author =
                |request| Author::Operator(person.proof([1; 16], request, [7; 32], signed));
            self.apply(at, author, command)
        }

        /// Policy with a change, of the operator or commit, made from what stands.
        fn policy(&self, (from, to): (&str, &str), origin: PolicyOrigin) -> PendingAction {
            assert!(POLICY.contains(from), "{from}");
            PendingAction::ApplyPolicy {
                based_on: self.machine.policy().0,
                policy: Policy::new(POLICY.replacen(from, to, 1), String::new()),
                change: PolicyChange {
                    origin,
                    ..PolicyChange::default()
                },
            }
        }

        fn waiting(&self) -> usize {
            self.machine.pending().iter().count()
        }

        fn ask(&mut self, name: &str, action: PendingAction) -> PendingId {
            match self.by(name, Command::Ask(action)) {
                Applied::Pending { id, .. } => id,
                other => panic!("{other:?}"),
            }
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

    fn at_once(action: PendingAction) -> Command {
        match action {
            PendingAction::ApplyPolicy {
                based_on,
                policy,
                change,
            } => Command::ApplyPolicy {
                based_on,
                policy,
                change,
            },
            PendingAction::Members(change) => Command::Members(change),
            other => panic!("{other:?}"),
        }
    }

    fn approve(id: PendingId) -> Command {
        let action = [7; 32];
        Command::Approve(Approval { id, action })
    }

    const OFF: (&str, &str) = ("two_person = true", "two_person = false");
    const HARMLESS: (&str, &str) = ("two_person = true", "two_person = true # still");

    #[test]
    fn what_weakens_the_rule_is_made_by_two_however_it_comes() {
        let mut cluster = Cluster::begun();
        let second = Some(RefusalCode::SecondPerson);
        let depth = ("min_revocation_depth = 3", "min_revocation_depth = 2");
        let eve = ("rights = [\"revoke\"]", "rights = [\"revoke\", \"policy\"]");
        for change in [OFF, depth, eve] {
            let action = cluster.policy(change, PolicyOrigin::Operator);
            let alone = cluster.by("urn:h:ann", at_once(action));
            assert_eq!(code(&alone), second, "{change:?}");
            let action = cluster.policy(change, PolicyOrigin::Git("1".repeat(40)));
            let pushed = cluster.node(Duty::Repository, at_once(action));
            assert_eq!(code(&pushed), second, "{change:?}");
        }
        let harmless = cluster.policy(HARMLESS, PolicyOrigin::Operator);
        let applied = cluster.by("urn:h:ann", at_once(harmless));
        assert_eq!(code(&applied), None, "{applied:?}");
        for change in [MemberChange::Remove(3), MemberChange::Promote(3)] {
            let alone = cluster.by("urn:h:ann", Command::Members(change));
            assert_eq!(code(&alone), second);
        }
        let led = cluster.by("urn:h:ann", Command::Members(MemberChange::TransferTo(3)));
        assert_eq!(code(&led), None);
        let removal = PendingAction::Members(MemberChange::Remove(3));
        let id = cluster.ask("urn:h:ann", removal);
        assert_eq!(
            cluster.machine.member_change(),
            Some(&MemberChange::TransferTo(3))
        );
        assert_eq!(code(&cluster.by("urn:h:ann", approve(id))), second);
        assert_eq!(code(&cluster.by("urn:h:bob", approve(id))), None);
        assert_eq!(
            cluster.machine.member_change(),
            Some(&MemberChange::Remove(3))
        );
    }

    #[test]
    fn going_back_to_a_policy_without_the_rule_is_made_by_two() {
        let mut cluster = Cluster::begun();
        let off = cluster.policy(OFF, PolicyOrigin::Operator);
        let id = cluster.ask("urn:h:ann", off);
        assert_eq!(code(&cluster.by("urn:h:bob", approve(id))), None);
        let without = cluster.machine.policy().0;
        let on = cluster.policy(HARMLESS, PolicyOrigin::Operator);
        assert_eq!(code(&cluster.by("urn:h:ann", at_once(on))), None);
        let back = cluster.policy(OFF, PolicyOrigin::Rollback(without));
        let alone = cluster.by("urn:h:ann", at_once(back.clone()));
        assert_eq!(code(&alone), Some(RefusalCode::SecondPerson));
        let id = cluster.ask("urn:h:ann", back);
        assert_eq!(code(&cluster.by("urn:h:bob", approve(id))), None);
    }

    #[test]
    fn a_commit_waits_for_an_operator_who_has_read_it_and_for_the_newest_only() {
        let mut cluster = Cluster::begun();
        let commit = |letter: &str| PolicyOrigin::Git(letter.repeat(40));
        let ask = |cluster: &mut Cluster, action| {
            let asked = cluster.node(Duty::Repository, Command::Ask(action));
            assert!(matches!(asked, Applied::Pending { .. }), "{asked:?}");
        };
        let first = cluster.policy(OFF, commit("1"));
        ask(&mut cluster, first);
        let second = cluster.policy(("= 3", "= 2"), commit("2"));
        ask(&mut cluster, second);
        assert_eq!(cluster.waiting(), 1, "the newest commit alone");
        let another = Command::Approve(Approval {
            id: PendingId(1),
            action: [0; 32],
        });
        let unread = cluster.by("urn:h:ann", another);
        assert_eq!(code(&unread), Some(RefusalCode::Conflict));
        let approved = cluster.by("urn:h:ann", approve(PendingId(1)));
        assert_eq!(code(&approved), None, "{approved:?}");
        let by_hand = cluster.policy(OFF, PolicyOrigin::Operator);
        let asked = cluster.node(Duty::Repository, Command::Ask(by_hand));
        assert_eq!(code(&asked), Some(RefusalCode::NotPermitted));
    }

    #[test]
    fn a_pending_action_ends_with_the_right_of_its_asker_and_with_its_policy() {
        let removal = || PendingAction::Members(MemberChange::Remove(3));
        let mut cluster = Cluster::begun();
        let id = cluster.ask("urn:h:ann", removal());
        assert_eq!(code(&cluster.by("urn:h:bob", revoke("urn:h:ann"))), None);
        assert_eq!(cluster.waiting(), 0, "the asker is revoked");
        let late = cluster.by("urn:h:bob", approve(id));
        assert_eq!(code(&late), Some(RefusalCode::NotFound));

        let mut cluster = Cluster::begun();
        let target = Target::Certificate(Person::named("urn:h:ann").signer().fingerprint());
        cluster.ask("urn:h:ann", removal());
        let Command::Revoke(of) = revoke("urn:h:x:y") else {
            unreachable!("it revokes")
        };
        let targets = vec![target];
        cluster.by("urn:h:bob", Command::Revoke(Revoke { targets, ..of }));
        assert_eq!(cluster.waiting(), 0, "its certificate is revoked");

        let mut cluster = Cluster::begun();
        cluster.ask("urn:h:ann", removal());
        let less = cluster.policy(OFF, PolicyOrigin::Operator);
        cluster.ask("urn:h:ann", less);
        let harmless = cluster.policy(HARMLESS, PolicyOrigin::Operator);
        cluster.by("urn:h:bob", at_once(harmless));
        assert_eq!(cluster.waiting(), 1, "another policy stands");
        let ann = "\"keys\", \"policy\", \"cluster\"]";
        let without = cluster.policy((ann, "\"keys\", \"policy\"]"), PolicyOrigin::Operator);
        let id = cluster.ask("urn:h:ann", without);
        assert_eq!(code(&cluster.by("urn:h:bob", approve(id))), None);
        assert_eq!(cluster.waiting(), 0, "the asker lost the right");
    }

    #[test]
    fn one_key_is_one_person_whatever_the_names() {
        let mut cluster = Cluster::begun();
        let ask = Command::Ask(PendingAction::Members(MemberChange::Remove(3)));
        let times = (NOW, NOW);
        let as_bob = Person::renamed("urn:h:ann", "urn:h:bob");
        let asked = cluster.by("urn:h:ann", ask);
        assert!(matches!(asked, Applied::Pending { .. }), "{asked:?}");
        let own = cluster.as_person(&as_bob, times, approve(PendingId(0)));
        assert_eq!(code(&own), Some(RefusalCode::SecondPerson));
        assert_eq!(code(&cluster.by("urn:h:bob", approve(PendingId(0)))), None);
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
            policy: Policy::new(format!("# of a commit{POLICY}"), String::new()),
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

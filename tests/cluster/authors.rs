//! Authors: whoever has a member's machine has its certificate, and can still not make a command in an operator's name.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_audit::{Head, Line, open, seal};
use hessra_people::Person;
use hessra_proof::{Proof, Statement};
use hessra_proto::Reason;
use hessra_proto::v1::log::entry::Payload;
use hessra_proto::v1::log::{Entry, LogId, Vote};
use hessra_proto::v1::raft::{AppendRequest, InspectRequest, ProposeRequest};
use hessra_revocation::{FeedId, Identity, Revision, Target, UnixMillis};
use hessra_sdk_rust::admin::RequestSigner;
use hessra_sdk_rust::v1::{RevokeRequest, Target as WireTarget, target::Kind};
use hessra_sdk_rust::{Authority, Connection, Credentials, Trust};
use hessra_sled::codec;
use hessra_state::{Author, Command, Duty, Lift, PendingAction, RequestId, Revoke, Stamped};
use hessra_tests::{Cluster, Layout, until};
use prost::Message as _;

use crate::refused_starts::edit;
use crate::strangers::{Stranger, refusal};
use crate::two_persons::{authority, issue};

/// A machine of a member that somebody has taken over, and what they know.
struct TakenOver {
    member: Stranger,
    cluster: FeedId,
    /// A proof that the operator has made, of a revocation.
    seen: (Proof, Command),
}

fn now() -> UnixMillis {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMillis(u64::try_from(elapsed.expect("after 1970").as_millis()).expect("a time"))
}

fn credentials(cluster: &Cluster, person: &str) -> Credentials {
    let file = |kind: &str| cluster.directory().join(format!("clients/{person}.{kind}"));
    Credentials::files(file("crt"), file("key")).expect("a person of the cluster")
}

fn connection(cluster: &Cluster, person: &str) -> Connection {
    let servers = cluster.node(1).public.parse().expect("an address");
    let trust = Trust::file(cluster.directory().join("ca.crt")).expect("an authority");
    Connection::new(servers, trust).credentials(credentials(cluster, person))
}

fn subtree(identity: &str) -> RevokeRequest {
    RevokeRequest {
        request_id: vec![0x5a; 16],
        targets: vec![WireTarget {
            kind: Some(Kind::Subtree(identity.to_owned())),
        }],
        reason: "seen".to_owned(),
        ..RevokeRequest::default()
    }
}

fn revoke(identity: &str) -> Command {
    Command::Revoke(Revoke {
        targets: vec![Target::Subtree(Identity::parse(identity).expect("a name"))],
        permanent: false,
        until: None,
        reason: "seen".to_owned(),
        ticket: String::new(),
        message: String::new(),
    })
}

fn lift() -> Command {
    Command::Lift(Lift {
        revision: Revision(1),
        of: None,
        restore: true,
        reason: String::new(),
    })
}

impl TakenOver {
    /// The machine of member `id`, which speaks to member `to`.
    fn new(cluster: &Cluster, id: u64, to: u64) -> Self {
        let member = Stranger::new(cluster, id, to);
        let authority = Authority::new(connection(cluster, "operator"));
        let id = member.runtime.block_on(authority.cluster());
        let id = id.expect("a member says which cluster it is of");
        let signer = RequestSigner::new(&credentials(cluster, "operator"), id).expect("a key");
        let proof = signer.prove(&subtree("urn:hessra:seen:x")).expect("signed");
        let proof = Proof::read(proof.to_str().expect("a text")).expect("a proof");
        Self {
            member,
            cluster: id,
            seen: (proof, revoke("urn:hessra:seen:x")),
        }
    }

    /// Commands that nobody has signed, and why each is none.
    fn forgeries(&self) -> BTreeMap<&'static str, Stamped> {
        let (seen, of_seen) = &self.seen;
        let at = now();
        let seconds = at.seconds().0;
        let name = "urn:hessra:operator";
        let theirs = Person::certified(name, "authority of the attacker");
        let digest = |command: &Command| codec::statement_digest(command).expect("a command");
        let own = |command: Command| {
            let proof = theirs.proof(self.cluster.0, [7; 16], digest(&command), seconds);
            stamped(at, Author::Operator(proof), command)
        };
        let parts = |signer, statement| Proof::of_parts(signer, statement, seen.signature());
        let signer = || seen.signer().clone();
        let statement = *seen.statement();
        let as_stated = |statement: Statement, command: Command| {
            stamped(at, Author::Operator(parts(signer(), statement)), command)
        };
        let node = |duty| Author::Node {
            id: self.member.id,
            duty,
        };
        BTreeMap::from([
            (
                "an operator's name in a certificate of one's own",
                own(lift()),
            ),
            ("a revocation by it", own(revoke("urn:hessra:other:y"))),
            (
                "an action that it asks for",
                own(Command::Ask(PendingAction::RevokeKey(1))),
            ),
            (
                "another command under a proof that was seen",
                as_stated(statement, revoke("urn:hessra:other:y")),
            ),
            (
                "another cluster",
                as_stated(
                    Statement {
                        cluster: [9; 16],
                        ..statement
                    },
                    of_seen.clone(),
                ),
            ),
            (
                "a later end",
                as_stated(
                    Statement {
                        expires_at: statement.expires_at + 1,
                        ..statement
                    },
                    of_seen.clone(),
                ),
            ),
            (
                "another author under a signature that was seen",
                stamped(
                    at,
                    Author::Operator(parts(theirs.signer().clone(), statement)),
                    of_seen.clone(),
                ),
            ),
            (
                "a proof that has ended",
                Stamped {
                    at: UnixMillis(at.0 + 3_600_000),
                    ..as_stated(statement, of_seen.clone())
                },
            ),
            (
                "a duty that is none",
                stamped(at, node(Duty::Repository), lift()),
            ),
            (
                "a revocation as a duty",
                stamped(at, node(Duty::Holders), of_seen.clone()),
            ),
        ])
    }

    /// Forwards a command to a leader.
    fn propose(&mut self, stamped: Stamped) -> Option<Reason> {
        let request = ProposeRequest {
            cluster_id: self.member.cluster_id.clone(),
            batch: Some(codec::encode_batch(&[stamped])),
        };
        let Stranger {
            runtime, client, ..
        } = &mut self.member;
        refusal(runtime.block_on(client.propose(request)))
    }

    /// Appends a command, as the leader that this member is.
    fn append(&mut self, term: u64, stamped: Stamped) -> Option<Reason> {
        let Stranger {
            id,
            runtime,
            client,
            cluster_id,
        } = &mut self.member;
        let inspect = InspectRequest {
            cluster_id: cluster_id.clone(),
            verifiers: false,
        };
        let seen = runtime
            .block_on(client.inspect(inspect))
            .expect("a member is heard");
        let last = seen.into_inner().status.expect("a status").last;
        let entry = Entry {
            term,
            index: last + 1,
            payload: Some(Payload::Batch(codec::encode_batch(&[stamped]))),
        };
        let append = AppendRequest {
            cluster_id: cluster_id.clone(),
            vote: Some(Vote {
                term,
                node: *id,
                committed: true,
            }),
            prev: Some(LogId { term, index: last }),
            entries: vec![entry.encode_to_vec().into()],
            leader_commit: None,
        };
        refusal(runtime.block_on(client.append(append)))
    }
}

/// The request id of every forgery is that of the proof that was seen, so that nothing but the forgery is wrong.
fn stamped(at: UnixMillis, author: Author, command: Command) -> Stamped {
    let request = author
        .proof()
        .map_or([7; 16], |proof| proof.statement().request);
    Stamped {
        at,
        author,
        request: RequestId(request),
        command,
    }
}

/// Waits until no entry is under way: one that the member has is acknowledged again without a look at it, whatever it says.
fn until_quiet(cluster: &Cluster) {
    let mut before = None;
    until("the log stands still", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        let nodes = json(cluster, &["status"])["nodes"].clone();
        let nodes = nodes.as_array().expect("nodes").iter();
        let applied: Vec<_> = nodes.map(|node| node["applied"].clone()).collect();
        let stands = before.as_ref() == Some(&applied);
        before = Some(applied);
        stands.then_some(())
    });
}

fn json(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    let arguments = arguments.iter().copied().chain(["-o", "json"]);
    cluster.operator().run(arguments).done().json()
}

#[test]
fn a_follower_brings_no_command_that_its_author_has_not_signed() {
    let cluster = Cluster::start("forging_follower");
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let before = json(&cluster, &["status"])["revision"].clone();
    let mut follower = TakenOver::new(&cluster, follower, leader);
    for (forgery, stamped) in follower.forgeries() {
        let refused = follower.propose(stamped);
        assert_eq!(refused, Some(Reason::Unauthenticated), "{forgery}");
    }
    assert_eq!(
        json(&cluster, &["status"])["revision"],
        before,
        "nothing was made"
    );
}

#[test]
fn a_leader_s_forgery_is_acknowledged_by_no_member_and_the_alarm_names_it() {
    let cluster = Cluster::start("forging_leader");
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let term = json(&cluster, &["status"])["term"]
        .as_u64()
        .expect("a term");
    let mut taken = TakenOver::new(&cluster, leader, follower);
    let permits = |stamped: &Stamped| !matches!(stamped.command, Command::Revoke(_));
    let forgeries = taken.forgeries();
    until_quiet(&cluster);
    for (forgery, stamped) in forgeries
        .into_iter()
        .filter(|(_, stamped)| permits(stamped))
    {
        let refused = taken.append(term, stamped);
        assert_eq!(refused, Some(Reason::Unauthenticated), "{forgery}");
    }
    let alarms = json(&cluster, &["audit", "search", "event=command.unproved"]);
    let named = alarms["records"]
        .as_array()
        .expect("records")
        .iter()
        .any(|record| {
            record["target"]["id"] == format!("node {leader}") && record["node"] == follower
        });
    assert!(named, "{alarms}");
    cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
}

#[test]
fn an_operator_whom_the_leader_alone_trusts_stops_nobody() {
    let mut cluster = Layout::new("trusts_more").prepare();
    let (certificate, authority) = authority("authority of one node alone");
    issue(&cluster, &authority, "urn:hessra:operator");
    let both = cluster.directory().join("both.crt");
    let known = std::fs::read_to_string(cluster.directory().join("ca.crt")).expect("a CA");
    std::fs::write(&both, known + &certificate).expect("written");
    edit(&cluster, 1, |config| {
        let section = config["public_tls"].as_table_mut().expect("a section");
        section.insert("client_ca".to_owned(), both.display().to_string().into());
    });
    cluster.start_all();
    let operator = cluster.operator();
    if cluster.leader() != 1 {
        operator.run(["cluster", "transfer", "--to", "1"]).done();
    }
    let folder = cluster.directory().join("shown").display().to_string();
    operator.run(["policy", "show", "--out", &folder]).done();
    let clients = cluster.directory().join("shown/clients.toml");
    let text = std::fs::read_to_string(&clients).expect("the policy") + "\n# changed\n";
    std::fs::write(&clients, text).expect("written");
    let servers = cluster.node(1).public.to_string();
    let ahead = cluster
        .person("of-policy-operator")
        .with("HESSRA_SERVER", &servers);
    let applied = ahead.run(["policy", "apply", &folder, "--yes"]);
    assert_ne!(applied.code(), 0, "{}", applied.stdout());
    operator
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    let shown = json(&cluster, &["policy", "show"]).to_string();
    assert!(!shown.contains("# changed"), "{shown}");
    assert!(cluster.metric(1, "hessra_leader_refused_total") >= 1.0);
}

#[test]
fn a_proof_that_was_seen_has_the_effect_of_its_request_once_and_no_other() {
    let cluster = Cluster::start("seen_proof");
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut taken = TakenOver::new(&cluster, follower, leader);
    let (proof, command) = taken.seen.clone();
    for _ in 0..3 {
        let again = stamped(now(), Author::Operator(proof.clone()), command.clone());
        assert_eq!(taken.propose(again), None, "it was signed");
    }
    let list = json(&cluster, &["revocations", "list"]);
    let made = list["revocations"].as_array().expect("a list");
    assert_eq!(made.len(), 1, "{list}");
    assert_eq!(made[0]["by"], "urn:hessra:operator");
}

#[test]
fn a_request_id_belongs_to_its_author_and_its_content() {
    let cluster = Cluster::start("request_ids");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let operator = Authority::new(connection(&cluster, "operator"));
        let responder = Authority::new(connection(&cluster, "responder"));
        let first = operator
            .revoke(subtree("urn:hessra:test:x"))
            .await
            .expect("revoked");
        let again = operator
            .revoke(subtree("urn:hessra:test:x"))
            .await
            .expect("the first answer");
        assert_eq!(first.items, again.items);
        let other = operator.revoke(subtree("urn:hessra:test:y")).await;
        assert_eq!(other.expect_err("other content").reason, Reason::Conflict);
        let somebody = responder.revoke(subtree("urn:hessra:test:x")).await;
        assert_eq!(
            somebody.expect_err("another author").reason,
            Reason::Conflict
        );
    });
}

#[test]
fn an_approval_is_of_what_was_shown_and_of_nothing_that_takes_its_place() {
    let mut cluster = Layout::new("shown").prepare();
    let path = cluster.directory().join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("a policy");
    let alice =
        "\n[[operators]]\nidentity = \"urn:hessra:alice\"\nrights = [\"revoke\", \"read\"]\n";
    let text = text.replace("two_person = false", "two_person = true") + alice;
    std::fs::write(&path, text).expect("written");
    cluster.start_all();
    let asked = json(
        &cluster,
        &["revoke", "urn:elsewhere", "--permanent", "--force", "--yes"],
    );
    let id = asked["pending"]["id"]
        .as_str()
        .expect("it waits")
        .to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let alice = Authority::new(connection(&cluster, "alice"));
        let shown = alice.show_approval(&id).await.expect("it waits");
        let mut lied = shown.clone();
        let harmless = codec::action_statement(&PendingAction::RevokeKey(99));
        lied.statement = harmless.encode_to_vec();
        let refused = alice
            .approve(&lied)
            .await
            .expect_err("that is not what waits");
        assert_eq!(refused.reason, Reason::Conflict, "{refused}");
        alice.approve(&shown).await.expect("that is");
    });
}

#[test]
fn an_audit_that_names_another_author_is_found_however_well_it_is_chained() {
    let cluster = Cluster::start("renamed");
    let operator = cluster.operator();
    operator
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    let folder = tempfile::tempdir().expect("a folder");
    let export = folder.path().join("export.jsonl");
    let text = operator
        .run(["audit", "export", "--node", "1"])
        .done()
        .stdout();
    let ca = cluster.directory().join("ca.crt").display().to_string();
    let verify = |text: &str| {
        std::fs::write(&export, text).expect("written");
        let path = export.display().to_string();
        operator.run(["audit", "verify", &path, "--operator-ca", &ca])
    };
    verify(&text).done();
    let renamed = rewritten(&text, |line| {
        if line.record.actor.subject == "urn:hessra:operator" {
            line.record.actor.subject = "urn:hessra:bob".to_owned();
        }
    });
    let found = verify(&renamed);
    found.exits(3);
    let unproved = rewritten(&text, |line| line.record.proof = None);
    verify(&unproved).exits(3);
    let other_target = rewritten(&text, |line| {
        if line.record.event == "revocation.created" {
            line.record.target.subject = "urn:hessra:test:z".to_owned();
        }
    });
    verify(&other_target).exits(3);
}

/// A chain that was written anew by whoever has the node, so that every hash fits.
fn rewritten(text: &str, edit: impl Fn(&mut Line)) -> String {
    let (mut head, mut out) = (Head::START, String::new());
    for line in text.lines() {
        let mut line = open(line).expect("a record");
        // Checkpoints are signed with a key that this one may not have.
        if line.record.event == "audit.checkpoint" {
            line.record.change.remove("signature");
        }
        edit(&mut line);
        let (sealed, next) = seal(&mut line.record, &head);
        head = next;
        out.push_str(&sealed);
        out.push('\n');
    }
    out
}

//! Single use: what may be used once is used once, presented at three nodes at the same moment, through deaths of the
//! leader.

use std::time::{Duration, Instant};

use futures::future::join_all;
use hessra_tests::{Cluster, until};
use serde_json::{Value, json};

use crate::https::Https;

/// Nodes of one round, each with a presentation of its own.
const NODES: [u64; 3] = [1, 2, 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    /// Refused: used before.
    No,
    /// No answer of use.
    Unknown,
}

struct Round {
    answers: Vec<Answer>,
}

impl Round {
    fn count(&self, wanted: Answer) -> usize {
        self.answers
            .iter()
            .filter(|answer| **answer == wanted)
            .count()
    }
}

/// A fresh capability that is good for one payment.
async fn capability(cluster: &Cluster) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    let wanted = json!({ "resource": "payments", "operation": "pay" });
    let gateway = Https::new(cluster, Some("gateway"));
    loop {
        for node in cluster.running() {
            let answer = gateway.post(node, "/request_capability", &wanted).await;
            if let Some((200, body)) = answer {
                return body["token"].as_str().expect("a token").to_owned();
            }
        }
        assert!(Instant::now() < deadline, "no node gives out capabilities");
    }
}

async fn spend(client: &Https, node: u64, token: &str, name: Option<&str>) -> Answer {
    let mut claim = json!({ "token": token, "resource": "payments", "operation": "pay" });
    if let Some(name) = name {
        claim["request_id"] = json!(name);
    }
    match client.post(node, "/spend_capability", &claim).await {
        Some((200, _)) => Answer::Yes,
        Some((403, body)) if body["reason"] == "already_spent" => Answer::No,
        Some((503 | 429, _)) | None => Answer::Unknown,
        Some((status, body)) => panic!("{status} {body}"),
    }
}

/// Presents a capability at three nodes at once, as different services do.
async fn present(clients: &[Https], token: &str) -> Round {
    let answers = join_all(
        NODES
            .iter()
            .zip(clients)
            .map(|(node, client)| spend(client, *node, token, None)),
    );
    Round {
        answers: answers.await,
    }
}

fn clients(cluster: &Cluster) -> Vec<Https> {
    NODES.iter().map(|_| Https::new(cluster, None)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_uses_at_once_exactly_one_wins() {
    let cluster = Cluster::start("single_use");
    let clients = clients(&cluster);
    for round in 0..40 {
        let token = capability(&cluster).await;
        let presented = present(&clients, &token).await;
        assert_eq!(
            presented.count(Answer::Yes),
            1,
            "round {round}: {:?}",
            presented.answers
        );
        assert_eq!(
            presented.count(Answer::No),
            2,
            "round {round}: {:?}",
            presented.answers
        );
        let later = present(&clients, &token).await;
        assert_eq!(
            later.count(Answer::No),
            3,
            "round {round}: {:?}",
            later.answers
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_deaths_of_the_leader_nobody_wins_twice_and_unknown_is_never_yes() {
    let mut cluster = Cluster::start("single_use_deaths");
    let clients = clients(&cluster);
    let mut won = 0;
    for round in 0..6 {
        let token = capability(&cluster).await;
        let leader = cluster.leader();
        let presented = {
            let presenting = present(&clients, &token);
            tokio::pin!(presenting);
            // The kill falls into the middle of it: into the vote, the write or the answer.
            tokio::select! {
                presented = &mut presenting => presented,
                () = tokio::time::sleep(Duration::from_millis(round)) => {
                    cluster.kill(leader);
                    presenting.await
                }
            }
        };
        let yes = presented.count(Answer::Yes);
        let unknown = presented.count(Answer::Unknown);
        assert!(yes <= 1, "round {round}: {:?}", presented.answers);
        assert!(
            yes == 1 || unknown > 0,
            "round {round}: {:?}",
            presented.answers
        );
        won += yes;
        if !cluster.running().contains(&leader) {
            cluster.start_node(leader);
        }
        // After any answers at most one more wins, and only when none had.
        let after = settled(&clients, &token).await;
        assert!(
            yes + after.count(Answer::Yes) <= 1,
            "round {round}: {:?} then {:?}",
            presented.answers,
            after.answers
        );
    }
    assert!(won > 0, "no presentation ever won");
}

/// Insists as a service does that lost the answer: asks again, under the same name, at one node after the other.
async fn insist(clients: &[Https], first: u64, token: &str) -> Answer {
    let name = format!("{:032x}", rand::random::<u128>());
    let deadline = Instant::now() + Duration::from_secs(60);
    for node in NODES.iter().cycle().skip((first - 1) as usize) {
        let client = &clients[(*node - 1) as usize];
        match spend(client, *node, token, Some(&name)).await {
            Answer::Unknown => assert!(Instant::now() < deadline, "the cluster does not settle"),
            answer => return answer,
        }
    }
    unreachable!("the nodes go round")
}

#[tokio::test(flavor = "multi_thread")]
async fn through_deaths_of_the_leader_exactly_one_wins_when_services_insist() {
    let mut cluster = Cluster::start("single_use_insist");
    let clients = clients(&cluster);
    for round in 0..6 {
        let token = capability(&cluster).await;
        let leader = cluster.leader();
        let answers = {
            let insisting = NODES.iter().map(|node| insist(&clients, *node, &token));
            let insisting = join_all(insisting);
            tokio::pin!(insisting);
            tokio::select! {
                answers = &mut insisting => answers,
                () = tokio::time::sleep(Duration::from_millis(round)) => {
                    cluster.kill(leader);
                    insisting.await
                }
            }
        };
        let won = answers.iter().filter(|answer| **answer == Answer::Yes);
        assert_eq!(won.count(), 1, "round {round}: {answers:?}");
        if !cluster.running().contains(&leader) {
            cluster.start_node(leader);
        }
    }
}

/// Presents the capability again until all nodes answer or one use wins.
async fn settled(clients: &[Https], token: &str) -> Round {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let round = present(clients, token).await;
        if round.count(Answer::Unknown) == 0 || round.count(Answer::Yes) > 0 {
            return round;
        }
        assert!(Instant::now() < deadline, "the cluster does not settle");
    }
}

#[test]
fn the_ledger_survives_restarts_of_every_node() {
    let mut cluster = Cluster::start("single_use_restart");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let token = runtime.block_on(capability(&cluster));
    let used = runtime.block_on(present(&clients(&cluster), &token));
    assert_eq!(used.count(Answer::Yes), 1);
    cluster.kill_all();
    cluster.start_all();
    let again = until("the cluster answers", Duration::from_secs(60), || {
        let round = runtime.block_on(present(&clients(&cluster), &token));
        (round.count(Answer::Unknown) == 0).then_some(round)
    });
    assert_eq!(again.count(Answer::No), 3, "{:?}", again.answers);
    let _: Value = cluster.status().expect("it serves");
}

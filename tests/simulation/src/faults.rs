//! Faults that disturb the world. Every fault that is injected is counted by kind: a kind that did not occur was not
//! tested.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::node::Node;
use crate::runtime::random;
use crate::world::World;

/// Disturbs the world until `until`, then leaves it as it happens to be.
pub async fn disturb(world: &Arc<World>, until: tokio::time::Instant) {
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(random().gen_range(200..1_000))).await;
        let kind = one(world).await;
        let journal = world.cluster.journal();
        journal.count_kind(kind);
        journal.trace(|| format!("fault {kind}"));
    }
}

async fn one(world: &Arc<World>) -> &'static str {
    match random().gen_range(0..100) {
        0..16 => crash_one(world).await,
        16..21 => lose_power(world).await,
        21..24 => stop_one(world).await,
        24..38 => cut_off_one(world),
        38..44 => cut_one_way(world),
        44..48 => lengthen_one_way(world),
        48..52 => lose_messages(world),
        52..64 => heal(world),
        64..70 => step_a_clock(world),
        70..77 => restart_a_verifier(world).await,
        77..84 => slow_a_verifier(world),
        84..89 => fail_a_disk(world),
        89..92 => fill_a_disk(world),
        92..94 => fill_an_audit_disk(world),
        94..96 => lose_a_disk(world).await,
        96..98 => set_a_disk_back(world).await,
        98..99 => lose_power_with_slow_disks(world).await,
        _ => revive_all(world).await,
    }
}

async fn crash_one(world: &Arc<World>) -> &'static str {
    let node = world.cluster.any_node();
    node.crash().await;
    revive_later(world, node.id);
    "crash of one node"
}

async fn lose_power(world: &Arc<World>) -> &'static str {
    for node in world.cluster.nodes() {
        node.crash().await;
        revive_later(world, node.id);
    }
    "power loss of all nodes"
}

async fn stop_one(world: &Arc<World>) -> &'static str {
    let node = world.cluster.any_node();
    node.stop().await;
    revive_later(world, node.id);
    "one node stopped in order"
}

fn revive_later(world: &Arc<World>, id: u64) {
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(random().gen_range(50..1_500))).await;
        world.cluster.revive(id).await;
    });
}

fn cut_off_one(world: &Arc<World>) -> &'static str {
    world.cluster.cut_off(world.cluster.any_node().id);
    "one node cut off from the others"
}

fn cut_one_way(world: &Arc<World>) -> &'static str {
    let (from, to) = (world.cluster.any_node().id, world.cluster.any_node().id);
    if from != to {
        world.cluster.network().cut(from, to);
    }
    "link cut one way"
}

fn lengthen_one_way(world: &Arc<World>) -> &'static str {
    let (from, to) = (world.cluster.any_node().id, world.cluster.any_node().id);
    if from != to {
        world.cluster.network().lengthen(from, to);
    }
    "link long one way"
}

fn lose_messages(world: &Arc<World>) -> &'static str {
    world
        .cluster
        .network()
        .disturb(random().gen_range(0.01..0.2), random().gen_bool(0.5));
    "messages lost and delayed"
}

fn heal(world: &Arc<World>) -> &'static str {
    world.cluster.network().heal();
    "network healed"
}

fn step_a_clock(world: &Arc<World>) -> &'static str {
    // One at a time, and none while the others may still remember the one before: a majority of right clocks is what a wrong
    // one is found by.
    let clocks = || {
        world
            .cluster
            .nodes()
            .into_iter()
            .map(|node| node.clock.clone())
    };
    if clocks().any(|clock| clock.is_off()) {
        clocks().for_each(|clock| clock.set_right());
        world.clocks_were_set_right();
        return "wall clocks set right";
    }
    if !world.clocks_are_settled() {
        return "no wall clock to step";
    }
    world.cluster.any_node().clock.step();
    "wall clock of one node stepped by up to 40 days"
}

async fn restart_a_verifier(world: &Arc<World>) -> &'static str {
    let verifier = world.any_verifier();
    verifier.crash().await;
    verifier.start();
    "restart of a verifier"
}

fn slow_a_verifier(world: &Arc<World>) -> &'static str {
    world.any_verifier().dawdle(random().gen_bool(0.7));
    "slow verifier"
}

fn fail_a_disk(world: &Arc<World>) -> &'static str {
    world.cluster.any_node().disk.fail_next_sync();
    "one sync failed"
}

fn fill_a_disk(world: &Arc<World>) -> &'static str {
    let node = world.cluster.any_node();
    node.disk.run_low(true);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(random().gen_range(500..4_000))).await;
        node.disk.run_low(false);
    });
    "disk without room for writes"
}

fn fill_an_audit_disk(world: &Arc<World>) -> &'static str {
    let node = world.cluster.any_node();
    node.audit.fill(true);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(random().gen_range(500..3_000))).await;
        node.audit.fill(false);
    });
    "audit log that cannot be written"
}

/// A follower loses its disk at the worst of times: the other one was away, and the leader is down. The two agree on anything
/// only if the lost one is counted.
async fn lose_a_disk(world: &Arc<World>) -> &'static str {
    let cluster = &world.cluster;
    let nodes = cluster.nodes();
    let leader = nodes.iter().find(|node| node.leads());
    // Of two voters one that is lost is a quorum lost.
    let all_vote = |leader: &&Arc<Node>| {
        let life = leader.life();
        let voters = life.map(|life| life.consensus.raft().members().voters);
        let ids = nodes.iter().map(|node| node.id).collect();
        voters.is_some_and(|voters| voters == [ids])
    };
    let leader = leader.filter(|_| !cluster.has_lost_disk() && nodes.len() == 3);
    let Some(leader) = leader.filter(all_vote) else {
        return "no disk to lose";
    };
    let others: Vec<_> = nodes.iter().filter(|node| node.id != leader.id).collect();
    let (lost, away) = (others[0], others[1]);
    for other in [lost, leader] {
        cluster.network().cut(away.id, other.id);
        cluster.network().cut(other.id, away.id);
    }
    tokio::time::sleep(Duration::from_millis(random().gen_range(200..900))).await;
    for node in &nodes {
        node.crash().await;
    }
    cluster.network().heal();
    lost.lose_disk().await;
    for node in [lost, away] {
        cluster.revive(node.id).await;
    }
    tokio::time::sleep(Duration::from_millis(random().gen_range(1_000..3_000))).await;
    cluster.revive(leader.id).await;
    "disk of a member lost"
}

/// The leader and one follower have slow disks when the power of all goes, and the third one, whose disk is as quick as ever, comes
/// back last: what it alone had on its disk was promised to nobody.
async fn lose_power_with_slow_disks(world: &Arc<World>) -> &'static str {
    let cluster = &world.cluster;
    let nodes = cluster.nodes();
    let leader = nodes.iter().find(|node| node.leads());
    let Some(leader) = leader.filter(|_| nodes.len() == 3) else {
        return "no leader with a slow disk";
    };
    let others: Vec<_> = nodes.iter().filter(|node| node.id != leader.id).collect();
    let quick = random().gen_range(0..others.len());
    let slow: Vec<_> = nodes
        .iter()
        .filter(|node| node.id != others[quick].id)
        .collect();
    slow.iter().for_each(|node| node.disk.slow_down(true));
    tokio::time::sleep(Duration::from_millis(random().gen_range(100..900))).await;
    for node in &nodes {
        node.crash().await;
    }
    slow.iter().for_each(|node| node.disk.slow_down(false));
    for node in &slow {
        cluster.revive(node.id).await;
    }
    tokio::time::sleep(Duration::from_millis(random().gen_range(1_000..3_000))).await;
    cluster.revive(others[quick].id).await;
    "power lost while two disks are slow"
}

/// A disk is put back from a copy, or a second process runs on one, when the other members know a later start: one that
/// nobody has seen is found by the leader alone.
async fn set_a_disk_back(world: &Arc<World>) -> &'static str {
    let cluster = &world.cluster;
    let node = cluster.any_node();
    let Some((_, starts)) = node.disk.kept_copy() else {
        return "no copy of a disk";
    };
    let knows_later = |other: &Arc<Node>| {
        let state = other.state();
        let known = state.and_then(|state| state.starts().find(node.id).copied());
        known.is_some_and(|known| known.count > starts)
    };
    let others = || {
        cluster
            .nodes()
            .into_iter()
            .filter(|other| other.id != node.id)
    };
    if cluster.has_lost_disk() || others().count() < 2 || !others().all(|other| knows_later(&other))
    {
        return "no copy of a disk";
    }
    if random().gen_bool(0.5) {
        let twin = node.twin().expect("a copy was kept");
        twin.start().await;
        cluster.add_twin(twin);
        return "second process on a copy of a disk";
    }
    node.set_disk_back().await;
    revive_later(world, node.id);
    "disk of a member set back"
}

async fn revive_all(world: &Arc<World>) -> &'static str {
    for node in world.cluster.nodes() {
        world.cluster.revive(node.id).await;
    }
    "all nodes revived"
}

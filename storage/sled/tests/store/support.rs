//! Support of the tests: entries with real commands, ways to append and apply, and the content of a store.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use hessra_people::Person;
use hessra_proof::{Proof, Statement};
use hessra_revocation::{
    FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Revision, Target, UnixMillis,
};
use hessra_sled::{
    Engine, Entry, LogStore, Member, Membership, Parts, Proposal, SledEngine, StateMachine, Store,
    StoreError, TokioTypes, Vote, codec,
};
use hessra_state::{
    Author, Command, Duty, Incarnation, Init, Judge, Pending, Policy, Refusal, RequestId, Revoke,
    SealedKey, Stamped, State, duty_of,
};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{
    CommittedLeaderId, EntryPayload, LogId, RaftLogReader, RaftSnapshotBuilder, TokioRuntime,
};
use tempfile::TempDir;

pub(crate) type Log<E> = LogStore<E, TokioRuntime>;
pub(crate) type Machine<E> = StateMachine<E, TokioRuntime>;
pub(crate) type Types = TokioTypes;

pub(crate) fn open<E: Engine>(engine: E) -> Result<Parts<E, TokioRuntime>, StoreError> {
    Store::open(engine, Arc::new(Anyone))
}

pub(crate) fn open_sled(path: &Path) -> Result<SledEngine, StoreError> {
    SledEngine::open(path, Default::default())
}

/// A fresh engine in a directory that lives as long as the guard.
pub(crate) fn fresh_sled() -> (TempDir, SledEngine) {
    let directory = TempDir::new().unwrap();
    let engine = open_sled(&directory.path().join("data")).unwrap();
    (directory, engine)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn id(term: u64, index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

/// Entry 1 begins the cluster, every tenth is a membership, every seventh is blank, the others revoke something.
pub(crate) fn entry(term: u64, index: u64) -> Entry {
    let payload = match index {
        1 => EntryPayload::Normal(Proposal::from(vec![stamped(
            term,
            index,
            Command::Init(init()),
        )])),
        _ if index.is_multiple_of(10) => EntryPayload::Membership(membership(index)),
        _ if index.is_multiple_of(7) => EntryPayload::Blank,
        _ => EntryPayload::Normal(Proposal::from(vec![stamped(
            term,
            index,
            revoke(term, index),
        )])),
    };
    Entry {
        log_id: id(term, index),
        payload,
    }
}

pub(crate) fn entries(term: u64, indices: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    indices
        .into_iter()
        .map(|index| entry(term, index))
        .collect()
}

pub(crate) fn membership(seed: u64) -> Membership {
    let member = |id: u64| Member {
        peer_address: format!("node-{id}:{}", 7000 + seed % 100),
        public_address: format!("node-{id}:443"),
        incarnation: (id != 4).then_some(Incarnation([id as u8; 16])),
    };
    let nodes: std::collections::BTreeMap<u64, Member> =
        (1..=4).map(|id| (id, member(id))).collect();
    Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes)
}

pub(crate) fn stamped(term: u64, index: u64, command: Command) -> Stamped {
    let mut request = [1; 16];
    request[..8].copy_from_slice(&index.to_be_bytes());
    request[8..].copy_from_slice(&(term + 1).to_be_bytes());
    Stamped {
        at: UnixMillis(1_763_000_000_000 + index),
        author: author(request, &command),
        request: RequestId(request),
        command,
    }
}

/// Author of a command: an operator who has signed it, or the node whose duty it is.
pub(crate) fn author(request: [u8; 16], command: &Command) -> Author {
    if let Some(digest) = codec::statement_digest(command) {
        let person = Person::named("urn:hessra:responder");
        let statement = Statement {
            cluster: [5; 16],
            request,
            command: digest,
            issued_at: 1_763_000_000,
            expires_at: 1_763_000_060,
        };
        // Nothing here looks at signatures.
        let proof = Proof::of_parts(Arc::clone(person.signer()), statement, &[7; 64]);
        return Author::Operator(proof);
    }
    let duty = duty_of(command).unwrap_or(Duty::Start);
    Author::Node { id: 1, duty }
}

/// Judge that lets every author do everything: rights are tested where they are decided.
pub(crate) struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
        Ok(stamped.author.to_string())
    }

    fn still_asks(&self, _: &State, _: &Pending) -> bool {
        true
    }
}

fn revoke(term: u64, index: u64) -> Command {
    let name = format!("urn:hessra:service:term-{term}:agent-{index}");
    Command::Revoke(Revoke {
        targets: vec![Target::Subtree(Identity::parse(&name).unwrap())],
        permanent: index.is_multiple_of(2),
        until: None,
        reason: "compromise".to_owned(),
        ticket: format!("INC-{index}"),
        message: "ask the owner".to_owned(),
    })
}

pub(crate) fn init() -> Init {
    let key = |id: u32, purpose| SealedKey {
        id,
        purpose,
        state: KeyState::Active,
        public_key: [id as u8; 32],
        sealed: vec![9; 80],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    };
    Init {
        feed_id: FeedId([5; 16]),
        salt: FeedSalt([6; 16]),
        keys: vec![key(1, KeyPurpose::Token), key(2, KeyPurpose::Feed)],
        policy: Policy::new("# clients\n".to_owned(), "# resources\n".to_owned()),
    }
}

pub(crate) async fn append<E: Engine>(log: &mut Log<E>, entries: Vec<Entry>) {
    try_append(log, entries).await.unwrap();
}

/// Appends, and waits until it is durable: as a follower does before it answers.
pub(crate) async fn try_append<E: Engine>(
    log: &mut Log<E>,
    entries: Vec<Entry>,
) -> Result<(), String> {
    let last = entries.last().map_or(0, |entry| entry.log_id.index);
    let written = log.blocking_append(entries).await;
    written.map_err(|error| error.to_string())?;
    let durable = log.durability().through(last).await;
    durable.map_err(|error| error.to_string())
}

/// Content that a store serves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub vote: Option<Vote>,
    pub purged: Option<LogId<u64>>,
    pub last: Option<LogId<u64>>,
    pub entries: Vec<Vec<u8>>,
    pub applied: Option<LogId<u64>>,
    pub membership: String,
    pub digest: [u8; 32],
    pub snapshot: Option<Vec<u8>>,
}

pub(crate) async fn contents<E: Engine>(
    (mut log, mut machine): Parts<E, TokioRuntime>,
) -> Result<Contents, String> {
    let text = |error: openraft::StorageError<u64>| error.to_string();
    let state = log.get_log_state().await.map_err(text)?;
    let entries = log.try_get_log_entries(..).await.map_err(text)?;
    let published = machine.watch().borrow().clone();
    let snapshot = machine.get_current_snapshot().await.map_err(text)?;
    Ok(Contents {
        vote: log.read_vote().await.map_err(text)?,
        purged: state.last_purged_log_id,
        last: state.last_log_id,
        entries: entries.iter().map(codec::encode_entry).collect(),
        applied: published.applied,
        membership: published.membership.to_string(),
        digest: machine.remembered().image().machine.digest(),
        snapshot: snapshot.map(|snapshot| snapshot.snapshot.as_bytes().to_vec()),
    })
}

/// A store with a bit of everything: votes, a purged and truncated log, a state, a snapshot, a second state beyond it.
pub(crate) async fn furnish<E: Engine>((mut log, mut machine): Parts<E, TokioRuntime>) {
    for start in [1, 2] {
        log.begin([[start; 16], [start + 2; 16]]).await.unwrap();
    }
    log.save_vote(&Vote::new(1, 2)).await.unwrap();
    append(&mut log, entries(1, 1..=40)).await;
    append(&mut log, entries(1, 41..=60)).await;
    machine.apply(entries(1, 1..=50)).await.unwrap();
    log.save_vote(&Vote::new_committed(2, 3)).await.unwrap();
    log.truncate(id(1, 56)).await.unwrap();
    for first in (56..=95).step_by(5) {
        append(&mut log, entries(2, first..first + 5)).await;
    }
    machine.apply(entries(1, 51..=55)).await.unwrap();
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    log.purge(id(1, 45)).await.unwrap();
    machine.apply(entries(2, 56..=70)).await.unwrap();
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    log.purge(id(2, 62)).await.unwrap();
    machine.apply(entries(2, 71..=90)).await.unwrap();
    log.purge(id(2, 70)).await.unwrap();
    // An append makes durable what was applied before it.
    append(&mut log, entries(2, 96..=97)).await;
}

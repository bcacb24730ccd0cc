//! Golden scripts. One line is one command at a time and with a request id of its own; `at=` (seconds), `by=` and
//! `request=` say otherwise. `UPDATE_GOLDENFILES=1` writes what is answered; read the difference before believing it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Command as Line, Context, Runner};
use hessra_revocation::{
    Cutoff, FeedId, KeyPurpose, KeyState, Revision, Rule, SignerKey, Target, TokenId, UnixMillis,
    UnixSeconds,
};
use hessra_state::{
    Applied, Approval, Author, Command, Envelope, Init, KeyCommand, Lift, MemberChange, Pending,
    PendingAction, PendingId, Policy, PolicyChange, PolicyOrigin, PolicyVersion, RequestId,
    Revocation, Revoke, SealedKey, Stamped, Undo,
};

use crate::sample::{Checked, identity, init, key, policy, revoke, signed, stamped, subtree};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name);
    goldenscript::run(&mut Script::default(), path).unwrap();
}

macro_rules! scripts {
    ($($sentence:ident: $file:literal,)*) => { $(#[test] fn $sentence() { run($file); })* };
}

scripts! {
    nothing_happens_before_init_and_init_happens_once: "init.txt",
    revoking_makes_rules_that_only_become_stronger: "revoke.txt",
    only_a_restore_brings_old_tokens_back: "lift.txt",
    locks_end_by_themselves: "locks.txt",
    a_retry_gets_the_first_answer: "requests.txt",
    a_policy_is_compared_and_set: "policy.txt",
    keys_follow_their_table: "keys.txt",
    what_needs_two_people_waits_for_the_second: "pending.txt",
    refusals_say_what_to_do: "refusals.txt",
    collection_removes_only_what_ended: "collect.txt",
    what_one_operator_revoked_is_removed: "undo.txt",
    versions_only_rise: "version.txt",
    issuing_is_forbidden_below_permanent_rules_and_live_locks: "covered.txt",
}

#[derive(Default)]
struct Script {
    checked: Checked,
    seconds: u64,
    requests: u64,
}

impl Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &Context) -> Outcome<String> {
        let mut arguments = line.consume_args();
        let output = match self.look(&line.name, &mut arguments)? {
            Some(output) => output,
            None => {
                let stamped = self.stamp(&line.name, &mut arguments)?;
                let applied = self.checked.apply(&stamped);
                self.checked.check();
                answer(&applied)
            }
        };
        arguments.reject_next()?;
        Ok(output)
    }
}

/// Looking at the state.
impl Script {
    fn look(&self, name: &str, arguments: &mut ArgumentConsumer<'_>) -> Outcome<Option<String>> {
        let state = &self.checked.state;
        Ok(Some(match name {
            "rules" => sorted(
                state
                    .view()
                    .set
                    .iter()
                    .map(|rule| self.rule(&rule))
                    .collect(),
            ),
            "revocations" => state
                .revocations()
                .values()
                .map(|revocation| self.revocation(revocation))
                .collect(),
            "keys" => state.keys().values().map(key_line).collect(),
            "unused-key" => format!("key id {}", state.unused_key_id()),
            "pending" => state.pending().iter().map(pending_line).collect(),
            "policy-now" => {
                let (revision, policy) = state.policy();
                format!("{} at revision {revision}", policy.clients_toml)
            }
            "policy-history" => {
                let versions = state.policies().iter();
                versions.map(|version| version_line(version)).collect()
            }
            "position" => format!(
                "revision {} keyset {} clock {} version {} answers {}",
                state.view().revision,
                state.view().keyset_version,
                state.clock().0,
                state.version(),
                state.requests().answers().len()
            ),
            "find" => match state.find(&one(targets(arguments)?)?) {
                Some((revision, rule)) => format!("revision {revision}: {}", self.rule(&rule)),
                None => "nothing".into(),
            },
            "covered" => {
                let now = number(arguments.take_key("now").unwrap_or("0"))?;
                let asked = identity(arguments.next_pos().ok_or("covered needs an identity")?);
                match state.covered(&asked, UnixSeconds(now)) {
                    Some(revocation) => format!("by {}", revocation.id(state.view().epoch)),
                    None => "no".into(),
                }
            }
            _ => return Ok(None),
        }))
    }

    fn rule(&self, rule: &Rule) -> String {
        let known = |revocation: &&Revocation| {
            let target = &revocation.target;
            (
                target.kind(),
                target.digest(self.checked.state.view().set.salt()),
            ) == (rule.kind, rule.digest)
        };
        let name = self
            .checked
            .state
            .revocations()
            .values()
            .map(AsRef::as_ref)
            .find(known)
            .map(|found| text(&found.target));
        format!(
            "{} {}{}\n",
            name.unwrap_or_else(|| "nameless".into()),
            cutoff(rule.cutoff),
            until(rule.until)
        )
    }

    fn revocation(&self, revocation: &Revocation) -> String {
        let mut line = format!(
            "{} {} {}{} at {} by {}",
            revocation.id(self.checked.state.view().epoch),
            text(&revocation.target),
            cutoff(revocation.cutoff),
            until(revocation.until),
            revocation.at.seconds(),
            revocation.why.by,
        );
        for (name, said) in [
            ("reason", &revocation.why.reason),
            ("ticket", &revocation.why.ticket),
            ("message", &revocation.why.message),
        ] {
            if !said.is_empty() {
                write!(line, " {name}={said:?}").unwrap();
            }
        }
        if let Some(lifted) = &revocation.lifted {
            let word = if lifted.restored {
                "restored"
            } else {
                "lifted"
            };
            write!(line, " {word} at {} by {}", lifted.revision, lifted.by).unwrap();
        }
        line + "\n"
    }
}

/// Asking for changes.
impl Script {
    fn stamp(&mut self, name: &str, arguments: &mut ArgumentConsumer<'_>) -> Outcome<Stamped> {
        self.seconds = arguments
            .take_key("at")
            .map_or(Ok(self.seconds + 1), number)?;
        self.checked.pass_until(self.seconds);
        self.requests += 1;
        let request = arguments
            .take_key("request")
            .map_or(Ok(1000 + self.requests), number)?;
        let by = arguments
            .take_key("by")
            .map_or_else(|| "urn:h:ann".to_owned(), long);
        let content = arguments.take_key("content").map(number).transpose()?;
        let command = command(name, arguments)?;
        let stamped = stamped(self.seconds, request, command);
        let request = if request == 0 {
            RequestId([0; 16])
        } else {
            stamped.request
        };
        Ok(Stamped {
            author: Author::Operator(signed(&by, [content.unwrap_or(0) as u8; 32])),
            request,
            ..stamped
        })
    }
}

fn command(name: &str, arguments: &mut ArgumentConsumer<'_>) -> Outcome<Command> {
    Ok(match name {
        "init" => altered_init(arguments)?,
        "revoke" => Command::Revoke(revoke_line(arguments)?),
        "lift" => Command::Lift(Lift {
            of: arguments.take_key("of").map(identity),
            revision: Revision(position(arguments)?),
            reason: long(arguments.take_key("reason").unwrap_or_default()),
            restore: flag(arguments, "restore")?,
        }),
        "undo" => Command::Undo(undo_line(arguments)?),
        "ask-undo" => Command::Ask(PendingAction::Undo(undo_line(arguments)?)),
        "policy" => Command::ApplyPolicy {
            based_on: Revision(number(
                arguments
                    .take_key("based_on")
                    .ok_or("policy needs based_on=")?,
            )?),
            policy: altered_policy(arguments)?,
            change: policy_change(arguments)?,
        },
        "prepare" => Command::Key(KeyCommand::Prepare(new_key(arguments)?)),
        "activate" => Command::Key(KeyCommand::Activate {
            published_for_min: arguments
                .take_key("published")
                .map(number)
                .transpose()?
                .map(Duration::from_secs),
            instead_of: arguments
                .take_key("instead_of")
                .map(number)
                .transpose()?
                .map(|id| id as u32),
            id: position(arguments)? as u32,
        }),
        "rewrap" => {
            let mut envelopes = Vec::new();
            while let Some(id) = arguments.next_pos() {
                envelopes.push(Envelope {
                    id: number(id)? as u32,
                    sealed: vec![9; 80],
                });
            }
            Command::Key(KeyCommand::Rewrap(envelopes))
        }
        "ask-revoke" => Command::Ask(PendingAction::Revoke(revoke_line(arguments)?)),
        "ask-lift" => Command::Ask(PendingAction::Lift(Lift {
            of: None,
            revision: Revision(position(arguments)?),
            reason: "mistake".into(),
            restore: true,
        })),
        "ask-revoke-key" => Command::Ask(PendingAction::RevokeKey(position(arguments)? as u32)),
        "approve" => Command::Approve(Approval {
            action: [arguments.take_key("action").map_or(Ok(0), number)? as u8; 32],
            id: PendingId(position(arguments)?),
        }),
        "members" => Command::Members(MemberChange::Remove(position(arguments)?)),
        "cancel" => Command::Cancel(PendingId(position(arguments)?)),
        "retire" => Command::Key(KeyCommand::Retire(position(arguments)? as u32)),
        "revoke-key" => Command::Key(KeyCommand::Revoke(position(arguments)? as u32)),
        "collect" => Command::Collect {
            now: UnixSeconds(position(arguments)?),
        },
        "set-clock-back" => Command::SetClockBack {
            number: position(arguments)?,
            ticket: String::new(),
        },
        "raise-version" => Command::RaiseVersion(position(arguments)? as u32),
        _ => return Err(format!("unknown command {name}").into()),
    })
}

fn undo_line(arguments: &mut ArgumentConsumer<'_>) -> Outcome<Undo> {
    let since = arguments.take_key("since").map_or(Ok(0), number)?;
    Ok(Undo {
        operator: arguments
            .next_pos()
            .ok_or("undo needs an operator")?
            .to_owned(),
        since: UnixMillis(since * 1000),
        reason: "stolen".into(),
        ticket: String::new(),
    })
}

fn altered_init(arguments: &mut ArgumentConsumer<'_>) -> Outcome<Command> {
    let Command::Init(mut init) = init() else {
        unreachable!()
    };
    match arguments.next_pos() {
        None => {}
        Some("no-feed-key") => init.keys.truncate(1),
        Some("two-token-keys") => init.keys.push(key(3, KeyPurpose::Token, KeyState::Active)),
        Some("retired-key") => init.keys.push(key(3, KeyPurpose::Token, KeyState::Retired)),
        Some("prepared-key") => init
            .keys
            .push(key(3, KeyPurpose::Token, KeyState::Prepared)),
        Some("one-key-twice") => {
            init.keys.push(SealedKey {
                id: 3,
                ..key(1, KeyPurpose::Token, KeyState::Prepared)
            });
        }
        Some("zero-feed") => init.feed_id = FeedId([0; 16]),
        Some("wrong-digest") => init.policy.digest[0] ^= 1,
        Some(other) => return Err(format!("unknown init {other}").into()),
    }
    Ok(Command::Init(Init { ..init }))
}

fn revoke_line(arguments: &mut ArgumentConsumer<'_>) -> Outcome<Revoke> {
    Ok(Revoke {
        until: arguments
            .take_key("until")
            .map(number)
            .transpose()?
            .map(UnixSeconds),
        reason: long(arguments.take_key("reason").unwrap_or_default()),
        ticket: long(arguments.take_key("ticket").unwrap_or_default()),
        message: long(arguments.take_key("message").unwrap_or_default()),
        permanent: flag(arguments, "permanent")?,
        ..revoke(targets(arguments)?)
    })
}

/// Targets in the order of the line; `many=N` stands for N subtrees.
fn targets(arguments: &mut ArgumentConsumer<'_>) -> Outcome<Vec<Target>> {
    let mut targets = Vec::new();
    while let Some((kind, value)) = arguments.next_key() {
        match kind {
            "subtree" => targets.push(subtree(value)),
            "exact" => targets.push(Target::Exact(identity(value))),
            "lock" => targets.push(Target::Lock(identity(value))),
            "key" => targets.push(Target::Key(number(value)? as u32)),
            "signer" => targets.push(Target::Signer(SignerKey::Ed25519(
                [number(value)? as u8; 32],
            ))),
            "token" => targets.push(Target::Token(TokenId::new(&[number(value)? as u8; 64])?)),
            "certificate" => targets.push(Target::Certificate([number(value)? as u8; 32])),
            "many" => {
                targets.extend((0..number(value)?).map(|n| subtree(&format!("urn:h:many:n{n}"))))
            }
            _ => return Err(format!("unknown target {kind}").into()),
        }
    }
    Ok(targets)
}

fn policy_change(arguments: &mut ArgumentConsumer<'_>) -> Outcome<PolicyChange> {
    let rollback = arguments.take_key("rollback").map(number).transpose()?;
    let git = arguments
        .take_key("git")
        .map(|commit| commit.repeat(40 / commit.len()));
    Ok(PolicyChange {
        origin: match (rollback, git) {
            (Some(revision), _) => PolicyOrigin::Rollback(Revision(revision)),
            (None, Some(commit)) => PolicyOrigin::Git(commit),
            (None, None) => PolicyOrigin::Operator,
        },
        message: long(arguments.take_key("message").unwrap_or_default()),
        ticket: long(arguments.take_key("ticket").unwrap_or_default()),
    })
}

fn altered_policy(arguments: &mut ArgumentConsumer<'_>) -> Outcome<Policy> {
    if let Some(bytes) = arguments.take_key("bytes") {
        return Ok(Policy::new(
            "x".repeat(number(bytes)? as usize),
            String::new(),
        ));
    }
    let mut policy = policy(arguments.next_pos().ok_or("policy needs a text")?);
    if flag(arguments, "wrong-digest")? {
        policy.digest[0] ^= 1;
    }
    Ok(policy)
}

fn new_key(arguments: &mut ArgumentConsumer<'_>) -> Outcome<SealedKey> {
    let purpose = match arguments.take_key("purpose") {
        None | Some("token") => KeyPurpose::Token,
        Some("feed") => KeyPurpose::Feed,
        Some("audit") => KeyPurpose::Audit,
        Some(other) => return Err(format!("unknown purpose {other}").into()),
    };
    let state = if arguments.take_key("state") == Some("active") {
        KeyState::Active
    } else {
        KeyState::Prepared
    };
    let sealed = arguments
        .take_key("sealed")
        .map(number)
        .transpose()?
        .unwrap_or(72);
    let public_of = arguments.take_key("public_of").map(number).transpose()?;
    let id = position(arguments)? as u32;
    let public_key = key(public_of.map_or(id, |id| id as u32), purpose, state).public_key;
    Ok(SealedKey {
        public_key,
        sealed: vec![1; sealed as usize],
        ..key(id, purpose, state)
    })
}

fn answer(applied: &Applied) -> String {
    match applied {
        Applied::Nothing => "nothing".into(),
        Applied::Initialized { revision } => format!("initialized through revision {revision}"),
        Applied::Revoked(answers) if answers.len() > 8 => {
            format!(
                "{} targets, {} already",
                answers.len(),
                answers.iter().filter(|answer| answer.already).count()
            )
        }
        Applied::Revoked(answers) => answers
            .iter()
            .map(|answer| {
                format!(
                    "{} at {}\n",
                    if answer.already {
                        "already revoked"
                    } else {
                        "revoked"
                    },
                    answer.revision
                )
            })
            .collect(),
        Applied::Lifted { revision, already } => {
            format!(
                "{} at {revision}",
                if *already { "already lifted" } else { "lifted" }
            )
        }
        Applied::Undoing { at_most } => format!("undoing {at_most} at most"),
        Applied::PolicyApplied { revision } => format!("policy at {revision}"),
        Applied::KeyChanged {
            id,
            state,
            revision,
        } => format!("key {id} {state:?} at {revision}"),
        Applied::Rewrapped { keys } => format!("rewrapped {keys}"),
        Applied::Pending { id, until, already } => {
            let already = if *already { " already" } else { "" };
            format!("{id} waits{already} until {}", until.0)
        }
        Applied::Cancelled { id } => format!("{id} cancelled"),
        Applied::ClockSetBack { by } => format!("clock {} s back", by.as_secs()),
        Applied::Collected { removed } => format!("collected {removed}"),
        Applied::MembersPermitted => "members permitted".to_owned(),
        Applied::Spent => "spent".to_owned(),
        Applied::ContextAt(version) => format!("context at version {version}"),
        Applied::Witnessed => "witnessed".to_owned(),
        Applied::StartRecorded => "start recorded".to_owned(),
        Applied::AuditLossAccepted { chains } => format!("loss of {chains} chains accepted"),
        Applied::VersionRaised(version) => format!("version {version}"),
        Applied::Refused(refusal) => format!("refused {:?}: {}", refusal.code, refusal.message),
    }
}

fn pending_line(pending: &Pending) -> String {
    let what = match &pending.action {
        PendingAction::Revoke(revoke) => {
            let targets: Vec<String> = revoke.targets.iter().map(text).collect();
            format!("revoke {}", targets.join(", "))
        }
        PendingAction::Lift(lift) => format!("lift {} restore", lift.revision),
        PendingAction::Undo(undo) => format!("undo {}", undo.operator),
        PendingAction::RevokeKey(id) => format!("revoke key {id}"),
        PendingAction::ApplyPolicy { based_on, .. } => format!("policy based on {based_on}"),
        PendingAction::Members(change) => format!("members {}", change.id()),
    };
    format!("{} {what} asked by {}\n", pending.id, pending.by)
}

fn version_line(version: &PolicyVersion) -> String {
    let origin = match &version.change.origin {
        PolicyOrigin::Start => "start".to_owned(),
        PolicyOrigin::Operator => "operator".to_owned(),
        PolicyOrigin::Rollback(revision) => format!("rollback to {revision}"),
        PolicyOrigin::Git(commit) => format!("git {}", &commit[..7]),
    };
    let text = match &version.policy.clients_toml {
        text if text.len() > 60 => format!("{} bytes", text.len()),
        text => format!("{text:?}"),
    };
    format!(
        "{} {text} by {} at {} from {origin} message {:?} ticket {:?}\n",
        version.revision, version.by, version.at.0, version.change.message, version.change.ticket
    )
}

fn key_line(key: &SealedKey) -> String {
    let half = if key.sealed.is_empty() {
        "forgotten"
    } else {
        "sealed"
    };
    format!(
        "key {} {:?} {:?} at {} {half}\n",
        key.id, key.purpose, key.state, key.changed_at
    )
}

fn text(target: &Target) -> String {
    match target {
        Target::Token(id) => format!("token {}", id.as_bytes()[0]),
        Target::Subtree(identity) => format!("subtree {identity}"),
        Target::Exact(identity) => format!("exact {identity}"),
        Target::Key(id) => format!("key {id}"),
        Target::Signer(key) => format!("signer {}", key.to_bytes()[4]),
        Target::Certificate(fingerprint) => format!("certificate {}", fingerprint[0]),
        Target::Lock(identity) => format!("lock {identity}"),
    }
}

fn cutoff(cutoff: Cutoff) -> String {
    match cutoff {
        Cutoff::Before(revision) => format!("before {revision}"),
        Cutoff::Permanent => "permanent".into(),
    }
}

fn until(until: Option<UnixSeconds>) -> String {
    until
        .map(|until| format!(" until {until}"))
        .unwrap_or_default()
}

/// The order of rules is that of salted digests; people read them by name.
fn sorted(mut lines: Vec<String>) -> String {
    lines.sort();
    lines.concat()
}

/// `x*65` is sixty-five x.
fn long(value: &str) -> String {
    match value.split_once('*') {
        Some((text, times)) => text.repeat(times.parse().unwrap()),
        None => value.to_owned(),
    }
}

fn flag(arguments: &mut ArgumentConsumer<'_>, name: &str) -> Outcome<bool> {
    match arguments.next_pos() {
        None => Ok(false),
        Some(found) if found == name => Ok(true),
        Some(found) => Err(format!("unknown word {found}").into()),
    }
}

fn position(arguments: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    number(arguments.next_pos().ok_or("a number is missing")?)
}

fn number(text: &str) -> Outcome<u64> {
    text.parse()
        .map_err(|error| format!("{text}: {error}").into())
}

fn one(mut targets: Vec<Target>) -> Outcome<Target> {
    targets
        .pop()
        .filter(|_| targets.is_empty())
        .ok_or_else(|| "exactly one target".into())
}

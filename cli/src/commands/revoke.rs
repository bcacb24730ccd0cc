//! `hessra revoke`: preview, confirmation, one commit, and the proof that it is enforced.
//!
//! ```text
//! target ─► preview (stderr) ─► confirm ─► commit ─► containment (live on stderr) ─► answer, exit 0 or 9
//! ```
//!
//! Nothing after the commit undoes it: Ctrl-C and lost connections only end the watching, and the text says how to
//! go on. In an emergency nothing before it may stand in the way: with `--yes` a preview that fails is no obstacle. One that
//! answers, and says that nothing has the name, is: a typo would leave everything as it is. `--force` means it.

mod candidates;
pub(super) mod containment;
mod preview;
mod progress;
mod target;
mod uncontained;

use std::time::Duration;

use hessra_sdk_rust::v1::{RevokeRequest, RevokeResponse, RevokedItem};
use hessra_sdk_rust::{Authority, RequestId};
use serde_json::{Value, json};

use super::confirm::{self, Decided};
use super::waiting::waits;
use crate::args::{RevokeArguments, WaitFor};
use crate::clock;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, timestamp};
use crate::trace::CommandTrace;
use crate::{knowledge, until};

use containment::{Containment, Wait};
use target::RevocationTarget;

/// Time that a preview may take of a revocation that is confirmed: several round trips of any network.
const PREVIEW_MAX: Duration = Duration::from_secs(3);

/// Revocation that is durable.
struct Committed {
    target: RevocationTarget,
    item: RevokedItem,
    answer: RevokeResponse,
}

/// Revokes, and waits as long as asked for.
pub(super) async fn run(
    context: &Context,
    console: Console,
    arguments: &RevokeArguments,
) -> Outcome {
    if let Some(beginning) = target::shortened_id(&arguments.target) {
        return Err(candidates::refuse(context, beginning).await);
    }
    let target = target::read(context, &arguments.target)?;
    let request_id = arguments.retry.id();
    let request = request(&target, arguments, request_id)?;
    let authority = Authority::new(context.authenticated_connection()?);
    if arguments.confirmation.dry_run {
        return preview::dry_run(&authority, console, &target, request).await;
    }
    approve(&authority, console, &target, arguments, &request).await?;
    let trace = CommandTrace::begin(console, "hessra revoke", request_id);
    let outcome = carry_out(
        context,
        &authority,
        console,
        arguments,
        (target, request, request_id),
    )
    .await;
    let failure = outcome
        .as_ref()
        .err()
        .map(|failure| failure.reason.as_ref());
    trace.end(console, failure).await;
    outcome
}

/// Makes the revocation durable, and waits as long as asked for.
async fn carry_out(
    context: &Context,
    authority: &Authority,
    console: Console,
    arguments: &RevokeArguments,
    (target, request, request_id): (RevocationTarget, RevokeRequest, RequestId),
) -> Outcome {
    let answer = commit(authority, request, request_id).await?;
    if let Some(pending) = &answer.pending {
        return waits(console, pending);
    }
    let item = answer.items.first().cloned().ok_or_else(no_item)?;
    let committed = Committed {
        target,
        item,
        answer,
    };
    let outcome = follow(authority, console, arguments, &committed).await;
    let revision = committed.item.revision;
    knowledge::learn(context, |view| view.revision.0 >= revision).await;
    outcome
}

fn request(
    target: &RevocationTarget,
    arguments: &RevokeArguments,
    request_id: RequestId,
) -> Outcome<RevokeRequest> {
    let until = arguments
        .until
        .as_deref()
        .map(|text| until::parse(text, clock::unix_seconds()));
    Ok(RevokeRequest {
        request_id: request_id.0.to_vec(),
        targets: vec![target.wire()],
        permanent: arguments.permanent,
        until: until
            .transpose()
            .map_err(|error| CommandError::usage(error.to_string()))?
            .unwrap_or_default(),
        reason: arguments.reason.clone(),
        ticket: arguments.ticket.clone().unwrap_or_default(),
        message: arguments.message.clone().unwrap_or_default(),
        force: arguments.force,
    })
}

async fn approve(
    authority: &Authority,
    console: Console,
    target: &RevocationTarget,
    arguments: &RevokeArguments,
    request: &RevokeRequest,
) -> Outcome {
    target
        .warnings
        .iter()
        .for_each(|warning| console.warn(warning));
    match confirm::decided(console, &arguments.confirmation, &target.word)? {
        Decided::Ask => {
            let preview = preview::show(authority, console, request).await?;
            preview::refusal(&preview)?;
            confirm::ask(&target.word, "revoke it")
        }
        Decided::Yes => known(authority, console, target, request).await,
    }
}

/// Shows the preview of a revocation that is confirmed, and asks once more when nothing has the name.
async fn known(
    authority: &Authority,
    console: Console,
    target: &RevocationTarget,
    request: &RevokeRequest,
) -> Outcome {
    let asked = async {
        match console.for_machines() {
            true => authority
                .preview_revoke(request.clone())
                .await
                .map_err(CommandError::from),
            false => preview::show(authority, console, request).await,
        }
    };
    let previewed = tokio::time::timeout(PREVIEW_MAX, asked).await;
    let preview = match previewed.unwrap_or_else(|_| Err(no_preview())) {
        Ok(preview) => preview,
        Err(_) if console.for_machines() => return Ok(()),
        Err(failure) => {
            console.warn(&format!("no preview: {failure}"));
            return Ok(());
        }
    };
    match preview::unknown(&preview) {
        Err(_) if request.force => Ok(()),
        Err(_) if console.may_ask() => confirm::ask(&target.word, "revoke it all the same"),
        known => known,
    }
}

fn no_preview() -> CommandError {
    CommandError::unavailable("no server answered within 3 s")
}

async fn commit(
    authority: &Authority,
    request: RevokeRequest,
    request_id: RequestId,
) -> Outcome<RevokeResponse> {
    // An end that was given as a duration is another one by then.
    let until = match request.until {
        0 => String::new(),
        until => format!("--until {}", timestamp(until * 1_000)),
    };
    let answer = tokio::select! {
        answer = authority.revoke(request) => answer.map_err(CommandError::from),
        _ = tokio::signal::ctrl_c() => Err(CommandError::outcome_unknown(
            Exit::Interrupted,
            request_id,
            "stopped before an answer came",
        )),
    };
    // Also when nothing was sent: a script asks again with the id that it was told.
    answer.map_err(|failure| CommandError {
        request_id: Some(request_id.to_string()),
        ..failure.again_with(&until)
    })
}

fn no_item() -> CommandError {
    CommandError::new(
        Exit::Failed,
        "internal",
        "the node answered without a revocation",
    )
    .hint("See `hessra revocations list`.")
}

/// Follows a revocation: says what is committed, waits, and says how far it has got.
async fn follow(
    authority: &Authority,
    console: Console,
    arguments: &RevokeArguments,
    committed: &Committed,
) -> Outcome {
    let done = committed.sentence();
    let said = match console.for_machines() {
        true => Ok(()),
        false => console.committed(&done, &Value::Null, || committed.line()),
    };
    let WaitFor::Verifiers(share) = arguments.wait else {
        said?;
        return console.committed(&done, &committed.to_json(arguments, None), String::new);
    };
    let wait = Wait {
        id: &committed.item.id,
        revision: committed.item.revision,
        share,
        limit: arguments.wait_timeout,
    };
    match containment::wait(authority, console, &wait).await {
        Ok(contained) => {
            let value = committed.to_json(arguments, Some(&contained));
            let done = format!("{done}, and then: {}", contained.summary());
            console.committed(&done, &value, || format!("  {}\n", contained.summary()))?;
            said?;
            contained.outcome()
        }
        Err(interrupted) => {
            console.committed(&done, &committed.to_json(arguments, None), String::new)?;
            Err(interrupted)
        }
    }
}

impl Committed {
    fn sentence(&self) -> String {
        let (id, revision) = (&self.item.id, self.item.revision);
        match self.item.already {
            true => format!("revocation {id} was committed before, at revision {revision}"),
            false => format!("revocation {id} is committed at revision {revision}"),
        }
    }

    fn line(&self) -> String {
        let RevokedItem {
            id,
            revision,
            already,
        } = &self.item;
        if *already {
            return format!("✓ Already revoked at revision {revision} ({id})\n");
        }
        let RevokeResponse {
            nodes_applied,
            nodes,
            commit_ms,
            ..
        } = &self.answer;
        format!(
            "✓ Revocation {id} committed at revision {revision} on {nodes_applied}/{nodes} nodes in {commit_ms:.0} ms\n"
        )
    }

    fn to_json(&self, arguments: &RevokeArguments, contained: Option<&Containment>) -> Value {
        json!({
            "id": self.item.id,
            "revision": self.item.revision,
            "already": self.item.already,
            "scope": if arguments.until.is_some() { "lock" } else { self.target.target.kind().as_str() },
            "target": self.target.target.to_string(),
            "committed_at": timestamp(self.answer.committed_at_ms),
            "nodes": self.answer.nodes_applied,
            "nodes_total": self.answer.nodes,
            "commit_ms": self.answer.commit_ms,
            "wait": contained.map(Containment::to_json),
        })
    }
}

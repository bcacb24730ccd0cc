//! `hessra policy …`: a policy is checked here, compared with the current one, applied with the revision that it was
//! made from.
//!
//! Files are read and validated by the same code that a node uses, so most mistakes are found without a server; before
//! anything is applied the server's own version is asked too.

mod apply;
mod compare;
mod report;
mod texts;

use hessra_policy::{Explanation, Step};
use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{
    CheckPolicyRequest, CheckPolicyResponse, GitFollowing, PolicyTexts, PolicyVersionInfo,
    ProposedPolicy, ShowPolicyResponse,
};
use serde_json::{Value, json};

use crate::args::{CheckPolicy, DiffPolicy, PolicyCommand, PolicyFiles, ShowPolicy};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::files;
use crate::output::{Console, Table, mark, timestamp};
use crate::sdk;

use compare::Comparison;
use texts::Texts;

/// Text of the difference that a policy which waits for approval would make.
pub(super) async fn difference_of(
    authority: &Authority,
    proposed: &ProposedPolicy,
) -> Outcome<String> {
    let texts = Texts::proposed(proposed);
    let Ok(view) = texts.view() else {
        return Ok("This version cannot read the policy: do not approve it.\n".to_owned());
    };
    let shown = authority.show_policy(0).await?;
    let guard = report::Guard {
        weakenings: proposed.weakenings.clone(),
        lockouts: Vec::new(),
    };
    Ok(Comparison::new(&shown, &texts, &view).guarded(guard).text())
}

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: PolicyCommand) -> Outcome {
    let authority =
        || -> Outcome<Authority> { Ok(Authority::new(context.authenticated_connection()?)) };
    match command {
        PolicyCommand::Validate(files) => validate(console, &files),
        PolicyCommand::Diff(arguments) => diff(&authority()?, console, &arguments).await,
        PolicyCommand::Apply(arguments) => apply::apply(&authority()?, console, &arguments).await,
        PolicyCommand::Check(arguments) => match &arguments.policy {
            Some(_) => check_files(console, &arguments),
            None => check(&authority()?, console, arguments).await,
        },
        PolicyCommand::Show(arguments) => show(&authority()?, console, &arguments).await,
        PolicyCommand::History { limit } => history(&authority()?, console, limit).await,
        PolicyCommand::Rollback(arguments) => {
            apply::rollback(&authority()?, console, &arguments).await
        }
    }
}

fn validate(console: Console, files: &PolicyFiles) -> Outcome {
    let texts = Texts::read(files)?;
    match texts.view() {
        Ok(view) => {
            let found = hessra_policy::shortages(&view);
            let lockouts: Vec<String> = found.iter().map(ToString::to_string).collect();
            for lockout in &lockouts {
                console.warn(&format!("it locks people out: {lockout}"));
            }
            console.success(&format!("{} is a valid policy", texts.name()));
            console.answer(
                &json!({"valid": true, "problems": [], "more": 0, "lockouts": lockouts}),
                String::new,
            )
        }
        Err(error) => {
            if console.for_machines() {
                console.answer(&report::to_json(&error), String::new)?;
            } else {
                report::show(console, &error);
            }
            Err(report::invalid(&texts, &error))
        }
    }
}

async fn diff(authority: &Authority, console: Console, arguments: &DiffPolicy) -> Outcome {
    let new = Texts::read(&arguments.files)?;
    let view = report::valid(console, &new)?;
    let shown = authority
        .show_policy(arguments.revision.unwrap_or(0))
        .await?;
    let found = authority.validate_policy(new.to_wire()).await?;
    let guard = report::accepted(console, &new, found)?;
    let comparison = Comparison::new(&shown, &new, &view).guarded(guard);
    console.answer(&comparison.to_json(), || comparison.text())?;
    if comparison.is_empty() {
        console.note("Nothing differs.");
        return Ok(());
    }
    Err(CommandError::no("differs", comparison.summary()))
}

fn check_files(console: Console, arguments: &CheckPolicy) -> Outcome {
    let clients = arguments.policy.clone().unwrap_or_default();
    let texts = Texts::read(&PolicyFiles {
        clients,
        resources: None,
    })?;
    let view = report::valid(console, &texts)?;
    let subject = sdk::identity(&arguments.subject)?;
    let explained = view.explain(&subject, &arguments.resource, &arguments.operation);
    answer_check(console, arguments, &explained, None)
}

async fn check(authority: &Authority, console: Console, arguments: CheckPolicy) -> Outcome {
    sdk::identity(&arguments.subject)?;
    let request = CheckPolicyRequest {
        subject: arguments.subject.clone(),
        resource: arguments.resource.clone(),
        operation: arguments.operation.clone(),
    };
    let CheckPolicyResponse {
        allowed,
        reason,
        steps,
        revision,
    } = authority.check_policy(request).await?;
    let steps = steps.into_iter().map(|step| Step {
        identity: step.identity,
        rule: step.rule,
        line: usize::try_from(step.line).unwrap_or_default(),
        permits: step.permits,
    });
    let explained = Explanation {
        allowed,
        reason,
        steps: steps.collect(),
    };
    answer_check(console, &arguments, &explained, Some(revision))
}

fn answer_check(
    console: Console,
    asked: &CheckPolicy,
    explained: &Explanation,
    revision: Option<u64>,
) -> Outcome {
    let steps: Vec<Value> = explained
        .steps
        .iter()
        .map(|step| {
            json!({"identity": step.identity, "rule": step.rule, "line": step.line, "permits": step.permits})
        })
        .collect();
    let value = json!({
        "allowed": explained.allowed,
        "subject": asked.subject,
        "operation": asked.operation,
        "resource": asked.resource,
        "reason": explained.reason,
        "steps": steps,
        "revision": revision,
    });
    console.answer(&value, || steps_text(explained))?;
    if explained.allowed {
        console.success(&format!("yes: {}", explained.reason));
        return Ok(());
    }
    let code = if explained.steps.is_empty() {
        "unknown_client"
    } else {
        "not_permitted"
    };
    Err(CommandError::no(code, format!("no: {}", explained.reason)))
}

fn steps_text(explained: &Explanation) -> String {
    let line = |step: &Step| {
        let exit = if step.permits { Exit::Done } else { Exit::No };
        let place = match step.line {
            0 => String::new(),
            line => format!("  clients.toml:{line}"),
        };
        format!("{} {}  {}{place}\n", mark(exit), step.identity, step.rule)
    };
    explained.steps.iter().map(line).collect()
}

async fn show(authority: &Authority, console: Console, arguments: &ShowPolicy) -> Outcome {
    let shown = authority
        .show_policy(arguments.revision.unwrap_or(0))
        .await?;
    let version = shown.version.clone().unwrap_or_default();
    let texts = shown.texts.clone().unwrap_or_default();
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| CommandError::file("make the folder", folder, &error))?;
        for (name, text) in [
            (hessra_policy::CLIENTS_FILE, &texts.clients_toml),
            (hessra_policy::RESOURCES_FILE, &texts.resources_toml),
        ] {
            files::write_private(&folder.join(name), text.as_bytes())?;
        }
        console.success(&format!(
            "Revision {} written to {}. Change it, then: hessra policy apply {} --based-on {}",
            version.revision,
            folder.display(),
            folder.display(),
            version.revision
        ));
    }
    let mut value = version_json(&version);
    value["clients_toml"] = json!(texts.clients_toml);
    value["resources_toml"] = json!(texts.resources_toml);
    value["git"] = shown.git.as_ref().map_or(Value::Null, git_json);
    let written = arguments.out.is_some();
    console.answer(&value, || {
        if written {
            String::new()
        } else {
            show_text(&version, &texts)
        }
    })?;
    warn_of_git(console, &shown);
    Ok(())
}

/// Text of a version: a comment with what is known of it, then the texts. It is itself a policy's text.
fn show_text(version: &PolicyVersionInfo, texts: &PolicyTexts) -> String {
    let mut text = format!(
        "# revision {} of {} by {}: {}\n",
        version.revision,
        timestamp(version.at_ms),
        version.by,
        story(version)
    );
    text.push_str(&format!(
        "# {}\n{}",
        hessra_policy::CLIENTS_FILE,
        texts.clients_toml
    ));
    if !texts.resources_toml.is_empty() {
        text.push_str(&format!(
            "\n# {}\n{}",
            hessra_policy::RESOURCES_FILE,
            texts.resources_toml
        ));
    }
    text
}

fn warn_of_git(console: Console, shown: &ShowPolicyResponse) {
    let Some(git) = &shown.git else { return };
    let from = format!("{} ({})", git.url, git.branch);
    if !git.error.is_empty() {
        console.warn(&format!("following {from} fails: {}", git.error));
    } else if git.drift {
        console.warn(&format!(
            "the policy is not that of {from} at {}",
            short(&git.commit)
        ));
    } else if git.commit.is_empty() {
        console.note(&format!("  Follows {from}: not looked at yet"));
    } else {
        let at = short(&git.commit);
        console.note(&format!(
            "  Follows {from} at {at}, looked at {}",
            timestamp(git.synced_ms)
        ));
    }
}

async fn history(authority: &Authority, console: Console, limit: u32) -> Outcome {
    let answer = authority.policy_history(limit).await?;
    let items: Vec<Value> = answer.versions.iter().map(version_json).collect();
    let whole = json!({"versions": items, "revision": answer.revision});
    console.answer_list(&whole, &items, || {
        let mut table = Table::new(&["revision", "when", "by", "why", "ticket"]);
        for version in &answer.versions {
            let stands = if version.current { "*" } else { "" };
            table.row([
                format!("{}{stands}", version.revision),
                timestamp(version.at_ms),
                version.by.clone(),
                story(version),
                version.ticket.clone(),
            ]);
        }
        table.text()
    })
}

/// Origin of a version, and its author's message.
fn story(version: &PolicyVersionInfo) -> String {
    let origin = match version.origin.as_str() {
        "start" => "the cluster's first".to_owned(),
        "rollback" => format!("back to revision {}", version.rollback_to),
        "git" => format!("commit {}", short(&version.commit)),
        _ => "applied".to_owned(),
    };
    match version.message.is_empty() {
        true => origin,
        false => format!("{origin}, {}", version.message),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn version_json(version: &PolicyVersionInfo) -> Value {
    let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "revision": version.revision,
        "current": version.current,
        "digest": data_encoding::HEXLOWER.encode(&version.digest),
        "at_ms": version.at_ms,
        "by": version.by,
        "origin": version.origin,
        "rollback_to": (version.rollback_to > 0).then_some(version.rollback_to),
        "commit": present(&version.commit),
        "message": version.message,
        "ticket": version.ticket,
        "bytes": version.bytes,
    })
}

fn git_json(git: &GitFollowing) -> Value {
    json!({
        "url": git.url,
        "branch": git.branch,
        "commit": git.commit,
        "synced_ms": git.synced_ms,
        "drift": git.drift,
        "error": git.error,
        "applies": git.applies,
    })
}

#[cfg(test)]
mod tests {
    use hessra_policy::structure;
    use hessra_sdk_rust::token::{Limits, mint, token};

    #[test]
    fn a_policy_is_bounded_by_what_tokens_are_made_of() {
        let limits = Limits::default();
        assert_eq!(structure::COMPONENTS_MAX, mint::NODES_MAX);
        assert_eq!(structure::DESIGNATIONS_MAX, mint::DESIGNATIONS_MAX);
        assert_eq!(structure::EXPOSURES_MAX, mint::EXPOSURES_MAX);
        let delegations = usize::from(structure::DELEGATIONS_MAX);
        assert_eq!(delegations, limits.delegation_depth_max);
        let refreshes = usize::try_from(structure::REFRESHES_MAX).expect("few");
        assert_eq!(refreshes + limits.blocks_max, token::ANCESTORS_MAX);
    }
}

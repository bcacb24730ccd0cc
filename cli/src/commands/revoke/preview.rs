//! Preview of a revocation: what it would reach, before it is made.

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{PreviewItem, PreviewResponse, RevokeRequest};
use serde_json::{Value, json};

use super::target::RevocationTarget;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Most names in one line; the count is always said.
const NAMES_MAX: usize = 8;

/// Shows on stderr what it would reach.
///
/// # Errors
/// No server could answer, or the caller may not ask. That it would be refused is in the answer: see [`refusal`].
pub(super) async fn show(
    authority: &Authority,
    console: Console,
    request: &RevokeRequest,
) -> Outcome<PreviewResponse> {
    let preview = authority.preview_revoke(request.clone()).await?;
    to_text(&preview)
        .lines()
        .for_each(|line| console.note(line));
    Ok(preview)
}

/// The whole command with `--dry-run`: the preview is the answer.
pub(super) async fn dry_run(
    authority: &Authority,
    console: Console,
    target: &RevocationTarget,
    request: RevokeRequest,
) -> Outcome {
    target
        .warnings
        .iter()
        .for_each(|warning| console.warn(warning));
    let preview = authority.preview_revoke(request).await?;
    console.answer(&to_json(&preview), || to_text(&preview))?;
    refusal(&preview)
}

/// Refusal that the revocation would meet, as a failure.
///
/// # Errors
/// Not permitted, with why.
pub(super) fn refusal(preview: &PreviewResponse) -> Outcome {
    if preview.allowed {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::NotPermitted,
        "not_permitted",
        preview.refusal.clone(),
    ))
}

/// Failure of a revocation of a name that nothing has, when there is nobody to ask and it is not forced.
///
/// # Errors
/// Not found, with the name that was probably meant.
pub(super) fn unknown(preview: &PreviewResponse) -> Outcome {
    let Some(item) = preview.items.iter().find(|item| item.unknown) else {
        return Ok(());
    };
    let message = format!(
        "`{}` is not known: neither the policy, now or before, nor a revocation names it, or what it lies below",
        item.target
    );
    let meant = meant(item).map_or_else(String::new, |name| format!("Did you mean `{name}`? "));
    Err(
        CommandError::new(Exit::NotFound, "unknown_target", message).hint(format!(
            "{meant}Add --force to revoke the name all the same."
        )),
    )
}

fn meant(item: &PreviewItem) -> Option<&str> {
    (!item.nearest.is_empty()).then_some(item.nearest.as_str())
}

fn to_text(preview: &PreviewResponse) -> String {
    let items = preview.items.iter().map(item_text);
    let verifiers = format!(
        "  Verifiers    {} online, {} stale\n  Unknown      delegations made offline below it are covered too\n",
        preview.verifiers_online, preview.verifiers_stale
    );
    let approval = preview
        .needs_approval
        .then(|| "  Approval     needed of a second person; nothing is done before\n".to_owned());
    let silenced = (!preview.silenced.is_empty()).then(|| {
        let lift = match preview.lift_lost {
            true => ". NONE IS LEFT THAT MAY LIFT IT: give an operator outside of it the right `lift` first",
            false => "",
        };
        let names = names(&preview.silenced);
        format!("  Operators    {names} may do nothing any more{lift}\n")
    });
    items
        .chain([verifiers])
        .chain(silenced)
        .chain(approval)
        .collect()
}

fn item_text(item: &PreviewItem) -> String {
    let mut text = format!("Revokes {} {}\n", item.scope, item.target);
    if item.unknown {
        let meant = meant(item).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        text.push_str(&format!(
            "  Name         NOT KNOWN: neither the policy, now or before, nor a revocation names it{meant}\n"
        ));
    }
    if item.already {
        text.push_str(&format!(
            "  Already      revoked at revision {}\n",
            item.already_revision
        ));
    }
    if !item.known_below.is_empty() {
        text.push_str(&format!("  Identities   {}\n", names(&item.known_below)));
    }
    if !item.resources.is_empty() {
        text.push_str(&format!("  Could reach  {}\n", names(&item.resources)));
    }
    text
}

fn names(all: &[String]) -> String {
    let shown = all
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = all.len().saturating_sub(NAMES_MAX);
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

fn to_json(preview: &PreviewResponse) -> Value {
    json!({
        "dry_run": true,
        "allowed": preview.allowed,
        "needs_approval": preview.needs_approval,
        "refusal": (!preview.allowed).then_some(&preview.refusal),
        "revision": preview.revision,
        "silenced": preview.silenced,
        "lift_lost": preview.lift_lost,
        "verifiers": {"online": preview.verifiers_online, "stale": preview.verifiers_stale},
        "items": preview.items.iter().map(item_json).collect::<Vec<_>>(),
    })
}

fn item_json(item: &PreviewItem) -> Value {
    json!({
        "scope": item.scope,
        "target": item.target,
        "known": !item.unknown,
        "nearest": meant(item),
        "known_below": item.known_below,
        "resources": item.resources,
        "already": item.already,
        "already_revision": item.already.then_some(item.already_revision),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview() -> PreviewResponse {
        let item = PreviewItem {
            scope: "subtree".to_owned(),
            target: "urn:h:a:b".to_owned(),
            known_below: (0..10).map(|number| format!("n{number}")).collect(),
            ..PreviewItem::default()
        };
        PreviewResponse {
            items: vec![item],
            allowed: true,
            verifiers_online: 3,
            ..PreviewResponse::default()
        }
    }

    #[test]
    fn many_names_are_counted() {
        assert!(
            to_text(&preview()).contains("n7 and 2 more"),
            "{}",
            to_text(&preview())
        );
    }

    #[test]
    fn a_name_that_nothing_has_is_not_found_and_the_nearest_is_said() {
        let mut preview = preview();
        assert_eq!(unknown(&preview), Ok(()));
        preview.items[0].unknown = true;
        preview.items[0].nearest = "urn:h:a:c".to_owned();
        let failure = unknown(&preview).expect_err("unknown");
        assert_eq!(
            (failure.exit, failure.reason.as_ref()),
            (Exit::NotFound, "unknown_target")
        );
        assert!(
            failure
                .hint
                .expect("a hint")
                .contains("Did you mean `urn:h:a:c`?")
        );
        assert!(
            to_text(&preview).contains("NOT KNOWN"),
            "{}",
            to_text(&preview)
        );
    }

    #[test]
    fn a_refusal_is_not_permitted() {
        let refused = PreviewResponse {
            allowed: false,
            refusal: "not yours".to_owned(),
            ..preview()
        };
        assert_eq!(
            refusal(&refused).expect_err("refused").exit,
            Exit::NotPermitted
        );
        assert_eq!(refusal(&preview()), Ok(()));
    }
}

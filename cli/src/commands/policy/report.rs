//! Problems of a policy, for people and for programs.

use hessra_policy::{CLIENTS_FILE, PolicyError, PolicyView, Problem, RESOURCES_FILE};
use hessra_sdk_rust::v1::{PolicyProblem, ValidatePolicyResponse};
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};

use super::texts::Texts;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Policy of the texts; problems are printed before the failure.
///
/// # Errors
/// No: they are not valid.
pub(super) fn valid(console: Console, texts: &Texts) -> Outcome<PolicyView> {
    texts.view().map_err(|error| {
        show(console, &error);
        invalid(texts, &error)
    })
}

/// Effects of a policy on the rule of two persons, and on the people who may change it, in words.
#[derive(Default)]
pub(super) struct Guard {
    /// People that it locks out.
    pub lockouts: Vec<String>,
    /// Reasons for which a second person must approve it.
    pub weakenings: Vec<String>,
}

/// Checks that a server accepts the texts: it may find problems that this version does not.
///
/// # Errors
/// No: they are not valid there.
pub(super) fn accepted(
    console: Console,
    texts: &Texts,
    answer: ValidatePolicyResponse,
) -> Outcome<Guard> {
    if answer.problems.is_empty() {
        return Ok(Guard {
            lockouts: answer.lockouts,
            weakenings: answer.weakenings,
        });
    }
    let problems = answer.problems.into_iter().map(problem).collect();
    let read = [
        (CLIENTS_FILE, texts.clients.as_str()),
        (RESOURCES_FILE, &texts.resources),
    ];
    let error = PolicyError::new(problems, &read);
    show(console, &error);
    Err(invalid(texts, &error).hint(
        "These files are valid for this version of the command line, but not for the server's.",
    ))
}

/// Shows every problem with its quoted line, to people.
pub(super) fn show(console: Console, error: &PolicyError) {
    // Colours are taken out again where the stream does not show them.
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(110);
    for diagnostic in error.diagnostics() {
        let mut text = String::new();
        // A report that cannot be drawn is still a sentence with its place.
        if handler.render_report(&mut text, diagnostic).is_err() {
            text = diagnostic.to_string();
        }
        console.report(text.trim_end());
    }
    if error.more() > 0 {
        console.report(&format!("and {} more problems", error.more()));
    }
}

/// Failure of texts with these problems.
pub(super) fn invalid(texts: &Texts, error: &PolicyError) -> CommandError {
    let count = error.problems().count() + error.more();
    let problems = if count == 1 {
        "1 problem".to_owned()
    } else {
        format!("{count} problems")
    };
    let first = error.problems().next();
    let first = first.map(|problem| format!(", the first at {problem}"));
    CommandError::no(
        "invalid_policy",
        format!(
            "{} is not a valid policy: {problems}{}",
            texts.name(),
            first.unwrap_or_default()
        ),
    )
    .hint("`hessra policy validate` shows all of them, each at its place.")
}

/// JSON for programs.
pub(super) fn to_json(error: &PolicyError) -> Value {
    let problems: Vec<Value> = error
        .problems()
        .map(|problem| {
            json!({
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
                "hint": problem.hint,
            })
        })
        .collect();
    json!({"valid": false, "problems": problems, "more": error.more()})
}

fn problem(wire: PolicyProblem) -> Problem {
    let number = |number: u64| usize::try_from(number).unwrap_or_default();
    Problem {
        file: wire.file,
        line: number(wire.line.into()),
        column: number(wire.column.into()),
        span: number(wire.start)..number(wire.end).max(number(wire.start)),
        message: wire.message,
        hint: wire.hint,
    }
}

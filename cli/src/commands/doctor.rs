//! `hessra doctor`: everything between this terminal and a healthy cluster, one line each, with what to do.
//!
//! A check never stops those after it. The outcome is the worst of them: 0 all good, 9 something needs a look,
//! 8 something does not work.

mod certificates;
mod cluster;
mod keys;
mod local;

use serde_json::{Value, json};

use crate::args::ConnectionArguments;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Console};

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    name: &'static str,
    /// `Done`, `Unconfirmed` (needs a look) or `Unavailable` (does not work).
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn good(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            exit: Exit::Done,
            message: message.into(),
            hint: None,
        }
    }

    /// Works, but somebody will have to act.
    pub fn warning(
        name: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            name,
            exit: Exit::Unconfirmed,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Does not work.
    pub fn bad(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name,
            exit: Exit::Unavailable,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Does not work, as a failure says.
    pub fn failed(name: &'static str, failure: Failure) -> Self {
        Self {
            name,
            exit: Exit::Unavailable,
            message: failure.message,
            hint: failure.hint,
        }
    }

    /// Needs a look rather than does not work.
    pub fn soften(&mut self) {
        if self.exit == Exit::Unavailable {
            self.exit = Exit::Unconfirmed;
        }
    }

    fn to_json(&self) -> Value {
        let result = match self.exit {
            Exit::Done => "ok",
            Exit::Unconfirmed => "warn",
            _ => "fail",
        };
        json!({"name": self.name, "result": result, "message": self.message, "hint": self.hint})
    }

    fn to_text(&self) -> String {
        let hint = self
            .hint
            .iter()
            .map(|hint| format!("    {hint}\n"))
            .collect::<String>();
        format!(
            "{} {:<12} {}\n{hint}",
            output::mark(self.exit),
            self.name,
            self.message
        )
    }
}

/// Checks everything and prints what was found.
pub async fn run(arguments: &ConnectionArguments, console: Console) -> Outcome {
    let findings = match Context::resolve(arguments) {
        Ok(context) => check(&context).await,
        Err(failure) => vec![Finding::failed("config", failure)],
    };
    let items: Vec<Value> = findings.iter().map(Finding::to_json).collect();
    let whole = json!({"healthy": findings.iter().all(|finding| finding.exit == Exit::Done), "checks": items});
    console.answer_list(&whole, &items, || {
        findings.iter().map(Finding::to_text).collect()
    })?;
    verdict(&findings)
}

async fn check(context: &Context) -> Vec<Finding> {
    let mut findings = local::check(context);
    findings.extend(cluster::check(context).await);
    findings
}

fn verdict(findings: &[Finding]) -> Outcome {
    let count = |exit| {
        findings
            .iter()
            .filter(|finding| finding.exit == exit)
            .count()
    };
    match (count(Exit::Unavailable), count(Exit::Unconfirmed)) {
        (0, 0) => Ok(()),
        (0, looks) => Err(Failure::new(
            Exit::Unconfirmed,
            "degraded",
            format!("{looks} of the checks need a look"),
        )),
        (bad, _) => Err(Failure::new(
            Exit::Unavailable,
            "unavailable",
            format!("{bad} of the checks failed"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_the_worst_finding() {
        let (good, look, bad) = (
            Finding::good("a", "fine"),
            Finding::warning("b", "hm", "look"),
            Finding::bad("c", "no", "do"),
        );
        assert_eq!(verdict(std::slice::from_ref(&good)), Ok(()));
        let code = |findings: &[Finding]| verdict(findings).expect_err("not fine").exit.code();
        assert_eq!(code(&[good.clone(), look.clone()]), 9);
        let mut softened = bad.clone();
        softened.soften();
        assert_eq!(code(&[softened, good.clone()]), 9);
        assert_eq!(code(&[bad, look, good]), 8);
    }
}

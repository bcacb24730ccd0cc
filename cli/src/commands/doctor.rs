//! `hessra doctor`: everything between this terminal and a healthy cluster, one line each, with what to do.
//!
//! A check never stops those after it. The outcome is the worst of them: 0 all good, 9 something needs a look,
//! 8 something does not work.

mod certificates;
mod cluster;
mod finding;
mod keys;
mod local;

use serde_json::{Value, json};

use crate::args::ConnectionArguments;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

use finding::Finding;

/// Checks everything and prints what was found.
pub(super) async fn run(arguments: &ConnectionArguments, console: Console) -> Outcome {
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
        (0, looks) => Err(CommandError::new(
            Exit::Unconfirmed,
            "degraded",
            format!("{looks} of the checks need a look"),
        )),
        (bad, _) => Err(CommandError::new(
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

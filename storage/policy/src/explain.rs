//! Explanation of an answer: every rule on the way down, and the one that decides.

use hessra_revocation::Identity;
use hessra_settings::nearest;

use crate::rights::Limit;
use crate::view::PolicyView;

/// An answer with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub allowed: bool,
    /// One sentence: what decides.
    pub reason: String,
    /// Every rule that was asked, from the root down. Empty for an unknown identity.
    pub steps: Vec<Step>,
}

/// One rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Identity that the rule belongs to: the subject or an ancestor of it.
    pub identity: String,
    /// Rule: its entry, a pattern, or a role of a realm.
    pub rule: String,
    /// Line in `clients.toml`; 0 when no line says it.
    pub line: usize,
    /// True when it permits the operation on the resource.
    pub permits: bool,
}

impl PolicyView {
    /// Explains whether this subject may do this, and which rule decides.
    #[must_use]
    pub fn explain(&self, subject: &Identity, resource: &str, operation: &str) -> Explanation {
        if !self.is_known(subject) {
            return Explanation {
                allowed: false,
                reason: self.unknown(subject),
                steps: Vec::new(),
            };
        }
        let right = (resource.to_owned(), operation.to_owned());
        let step = |limit: Limit<'_>| Step {
            identity: limit.holder.to_owned(),
            rule: limit.rule.to_string(),
            line: limit.line,
            permits: limit.rights.contains(&right),
        };
        let steps: Vec<Step> = self.limits_of(subject).map(step).collect();
        let reason = match steps.iter().find(|step| !step.permits) {
            Some(step) => format!(
                "{} of `{}`{} does not permit `{operation}` on `{resource}`",
                step.rule,
                step.identity,
                place(step.line)
            ),
            None => granted(&steps, resource, operation),
        };
        Explanation {
            allowed: steps.iter().all(|step| step.permits),
            reason,
            steps,
        }
    }

    fn unknown(&self, subject: &Identity) -> String {
        let named: Vec<Identity> = self.named_identities().collect();
        let named: Vec<&str> = named.iter().map(Identity::path).collect();
        let near = nearest(subject.path(), &named);
        let hint = near.map_or_else(String::new, |near| format!(". Did you mean `{near}`?"));
        format!("`{subject}` is not a client of the policy, nor a member of a realm{hint}")
    }
}

/// The last step is the subject's own rule; those above it could have taken the right away.
fn granted(steps: &[Step], resource: &str, operation: &str) -> String {
    let Some(own) = steps.last() else {
        return format!("`{operation}` on `{resource}` is permitted");
    };
    let above = match steps.len() {
        1 => "",
        _ => ", and everything above permits it too",
    };
    format!(
        "{} of `{}`{} permits `{operation}` on `{resource}`{above}",
        own.rule,
        own.identity,
        place(own.line)
    )
}

fn place(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(" ({}:{line})", crate::CLIENTS_FILE),
    }
}

//! Finding of one check.

use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::CommandError;
use crate::output;

/// Finding of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub name: &'static str,
    /// Result: `Done`, `Unconfirmed` (needs a look) or `Unavailable` (does not work).
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

impl Finding {
    /// Good finding: as it should be.
    pub(super) fn good(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            exit: Exit::Done,
            message: message.into(),
            hint: None,
        }
    }

    /// Warning: it works, but an operator will have to act.
    pub(super) fn warning(
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

    /// Bad finding: it does not work.
    pub(super) fn bad(
        name: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            name,
            exit: Exit::Unavailable,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Bad finding of a failure.
    pub(super) fn failed(name: &'static str, failure: CommandError) -> Self {
        Self {
            name,
            exit: Exit::Unavailable,
            message: failure.message,
            hint: failure.hint,
        }
    }

    /// Softens a bad finding to a warning.
    pub(super) fn soften(&mut self) {
        if self.exit == Exit::Unavailable {
            self.exit = Exit::Unconfirmed;
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let result = match self.exit {
            Exit::Done => "ok",
            Exit::Unconfirmed => "warn",
            _ => "fail",
        };
        json!({"name": self.name, "result": result, "message": self.message, "hint": self.hint})
    }

    pub(super) fn to_text(&self) -> String {
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

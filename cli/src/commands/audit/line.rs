//! A line of an audit, read.

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};

/// A record for programs, with nothing that this version does not know left out.
pub(super) fn parsed(line: &str) -> Outcome<Value> {
    serde_json::from_str(line).map_err(|error| {
        CommandError::new(
            Exit::Failed,
            "unsupported",
            format!("a node sent a line that is no record: {error}"),
        )
        .hint("Upgrade this command; `hessra audit verify` checks the node.")
    })
}

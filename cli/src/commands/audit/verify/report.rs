//! The answer of a check: what each chain is, what is missing of it, and whether all pass.

use hessra_audit::{Fault, Walked};
use serde_json::{Value, json};

use crate::commands::audit::gather::Missing;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

pub(super) const KEEP: &str = "Keep a copy of the files, compare with exports and with other nodes, and look for who can write there.";

/// Failure for a chain that has a fault at a place.
pub(super) fn broken(place: &str, fault: &Fault) -> CommandError {
    CommandError::no("audit_broken", format!("{place}: {fault}")).hint(KEEP)
}

/// Chains that were walked, and what was found.
pub(super) struct Checked {
    console: Console,
    allow_lost: bool,
    chains: Vec<(String, Walked)>,
    fault: Option<CommandError>,
    missing: Missing,
}

impl Checked {
    pub(super) fn new(console: Console, allow_lost: bool) -> Self {
        Self {
            console,
            allow_lost,
            chains: Vec::new(),
            fault: None,
            missing: Missing::default(),
        }
    }

    /// Adds a chain without a fault.
    pub(super) fn add(&mut self, name: String, walked: Walked) {
        self.chains.push((name, walked));
    }

    /// Adds a chain with a fault. The first is the failure, the others are said.
    pub(super) fn fault(&mut self, failure: CommandError) {
        match self.fault {
            None => self.fault = Some(failure),
            Some(_) => self.console.failure(&failure),
        }
    }

    /// Adds a chain that could not be read.
    pub(super) fn missing(&mut self, missing: Missing) {
        self.missing.extend(missing);
    }

    /// Says what was found.
    ///
    /// # Errors
    /// A chain has a fault, lost records, or could not be read.
    pub(super) fn finish(mut self) -> Outcome {
        if self.chains.is_empty() && self.fault.is_none() {
            return Err(self.missing.into_failure());
        }
        let items: Vec<Value> = self.chains.iter().map(to_json).collect();
        let whole = json!({"chains": items, "missing": self.missing.nodes()});
        self.console
            .answer(&whole, || self.chains.iter().map(to_text).collect())?;
        let chains = std::mem::take(&mut self.chains);
        for (name, walked) in &chains {
            self.warn_of_keys(walked);
            if let Some(failure) = lost(name, walked).filter(|_| !self.allow_lost) {
                self.fault(failure);
            }
        }
        match self.fault {
            Some(failure) => {
                self.missing.warn(self.console);
                Err(failure)
            }
            None => self.missing.told(self.console),
        }
    }

    fn warn_of_keys(&self, walked: &Walked) {
        if !walked.unknown_keys.is_empty() {
            let keys: Vec<String> = walked.unknown_keys.iter().map(u32::to_string).collect();
            self.console.warn(&format!(
                "signatures by audit key {} were not checked: give the keys with --keys",
                keys.join(", ")
            ));
        }
    }
}

/// Failure for records that were deleted and that nobody had exported.
fn lost(name: &str, walked: &Walked) -> Option<CommandError> {
    let (from, through) = walked.lost?;
    let message = format!(
        "{name}: records {from} to {through} were deleted by retention, and nobody had exported them"
    );
    Some(CommandError::no("audit_lost", message).hint(
        "Export more often than retention deletes, or raise audit.keep_size; --allow-lost passes what is whole.",
    ))
}

fn to_json((name, walked): &(String, Walked)) -> Value {
    let lost = walked
        .lost
        .map(|(from, through)| json!({"from": from, "through": through}));
    json!({
        "chain": name,
        "node": walked.node,
        "kind": walked.chain.as_str(),
        "id": walked.chain_id.map(|id| id.hex()),
        "records": walked.records,
        "first": walked.first,
        "last": walked.last,
        "hash": walked.hash,
        "checkpoints": walked.checkpoints,
        "attested_through": walked.attested_through,
        "signed": walked.signed,
        "signed_through": walked.signed_through,
        "pruned_through": walked.pruned_through,
        "exported_through": walked.exported_through,
        "lost": lost,
    })
}

fn to_text((name, walked): &(String, Walked)) -> String {
    let mut text = format!(
        "{name}: records {} to {} are whole and unchanged; its node has signed through record {}; {} of {} checkpoints are \
         signed by the cluster, through record {}\n",
        walked.first,
        walked.last,
        walked.attested_through,
        walked.signed,
        walked.checkpoints,
        walked.signed_through
    );
    if walked.pruned_through > 0 {
        let (pruned, exported) = (walked.pruned_through, walked.exported_through);
        text.push_str(&format!(
            "  records 1 to {pruned} were deleted by retention; exported are those through record {exported}\n"
        ));
    }
    text
}

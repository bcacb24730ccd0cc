//! `hessra identity inspect`: the content of a token. Nothing here is proven: `identity verify` proves.

use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_sdk_rust::token::Description;
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::InspectToken;
use crate::clock;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Console, timestamp};
use crate::sdk;
use crate::tokens::{self, GivenToken};

/// Content of a token, with the clock of this computer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inspected {
    said: Description,
    now: u64,
}

impl Inspected {
    /// Reads a token.
    ///
    /// # Errors
    /// Usage: the text is no token.
    pub(crate) fn read(text: &str, now: u64) -> Outcome<Self> {
        sdk::describe(text).map(|said| Self { said, now })
    }

    /// Description of the token.
    pub(crate) fn said(&self) -> &Description {
        &self.said
    }

    /// Identity that acts: the last of the chain; of an authorization, the one that the right is granted to.
    pub(crate) fn identity(&self) -> &str {
        let granted = || self.said.rights.first().map(|right| right.subject.as_str());
        self.said
            .chain
            .last()
            .map(String::as_str)
            .or_else(granted)
            .unwrap_or_default()
    }

    /// End of the token, in unix seconds: the earliest that any of its blocks sets.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.said.expires_at.map(|end| end.0)
    }

    /// Status by the clock alone: `valid`, `expired` or `unknown`.
    pub(crate) fn status(&self) -> &'static str {
        match self.expires_at() {
            None => "unknown",
            Some(end) if self.now < end => "valid",
            Some(_) => "expired",
        }
    }

    /// Time that it still lives: `59m`, `expired` or `unknown`.
    pub(crate) fn expires_in_human(&self) -> String {
        match self.expires_at() {
            Some(end) if self.now < end => duration::rounded(Duration::from_secs(end - self.now)),
            Some(_) => "expired".to_owned(),
            None => "unknown".to_owned(),
        }
    }
}

/// Prints the content of a token.
pub(super) fn run(context: &Context, console: Console, arguments: &InspectToken) -> Outcome {
    let given = match &arguments.positional {
        Some(argument) => tokens::read(context, argument)?,
        None => tokens::read_stored(context, &arguments.token)?,
    };
    print(console, &given)
}

/// Prints the content of a token, wherever it came from.
pub(crate) fn print(console: Console, given: &GivenToken) -> Outcome {
    let inspected = Inspected::read(&given.text, clock::unix_seconds())?;
    console.answer(&to_json(&inspected, &given.source, console.verbose), || {
        to_text(&inspected, console.verbose)
    })
}

fn to_json(inspected: &Inspected, source: &str, verbose: bool) -> Value {
    let said = &inspected.said;
    let ids: Vec<String> = said
        .blocks
        .iter()
        .map(|block| HEXLOWER.encode(block.revocation_id.as_bytes()))
        .collect();
    let rights = said.rights.iter();
    let mut value = json!({
        "source": source,
        "class": class(said),
        "identity": inspected.identity(),
        "chain": said.chain,
        "rights": rights.map(|right| json!([right.subject, right.resource, right.operation])).collect::<Vec<_>>(),
        "delegable": said.delegable,
        "problem": said.problem,
        "status": inspected.status(),
        "expiry": inspected.expires_at(),
        "expires_in_human": inspected.expires_in_human(),
        "revocation_ids": ids,
        "key_id": said.root_key_id,
        "verified": false,
    });
    if verbose {
        value["content"] = json!(content(said));
    }
    value
}

fn to_text(inspected: &Inspected, verbose: bool) -> String {
    let said = &inspected.said;
    let end = inspected.expires_at().map_or_else(
        || "unknown".to_owned(),
        |end| timestamp(end.saturating_mul(1_000)),
    );
    let mut lines = vec![
        ("Identity", inspected.identity().to_owned()),
        ("Class", class(said)),
        ("Status", format!("{}, not verified", inspected.status())),
        (
            "Expires",
            format!("{end} ({})", inspected.expires_in_human()),
        ),
        ("Chain", said.chain.join(" → ")),
        (
            "Key id",
            said.root_key_id
                .map_or_else(|| "none".to_owned(), |id| id.to_string()),
        ),
        ("Problem", said.problem.clone().unwrap_or_default()),
    ];
    lines.extend(said.rights.iter().map(|right| {
        (
            "Right",
            format!("{} {} {}", right.subject, right.operation, right.resource),
        )
    }));
    let blocks = said.blocks.iter().enumerate();
    lines.extend(blocks.map(|(number, block)| {
        (
            "Block",
            format!(
                "{number} {}",
                HEXLOWER.encode(block.revocation_id.as_bytes())
            ),
        )
    }));
    let said_lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let mut text: String = said_lines
        .map(|(name, value)| format!("{name:<9} {value}\n"))
        .collect();
    if verbose {
        text.push_str(&format!("\n{}\n", content(said)));
    }
    text
}

fn class(said: &Description) -> String {
    said.class
        .map_or_else(|| "unknown".to_owned(), |class| class.to_string())
}

/// Datalog, block by block.
fn content(said: &Description) -> String {
    said.blocks
        .iter()
        .map(|block| block.source.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use hessra_sdk_rust::revocation::UnixSeconds;

    use super::*;

    fn inspected(expires_at: Option<u64>) -> Inspected {
        let said = Description {
            class: None,
            chain: vec!["urn:h:a".to_owned(), "urn:h:a:b".to_owned()],
            delegable: true,
            problem: None,
            rights: Vec::new(),
            expires_at: expires_at.map(UnixSeconds),
            root_key_id: Some(1),
            facts: None,
            blocks: Vec::new(),
        };
        Inspected { said, now: 1_000 }
    }

    #[test]
    fn the_status_is_by_the_clock_alone() {
        assert_eq!(inspected(Some(1_001)).status(), "valid");
        assert_eq!(inspected(Some(1_000)).status(), "expired");
        assert_eq!(inspected(None).status(), "unknown");
        assert_eq!(inspected(Some(4_600)).expires_in_human(), "1h");
    }

    #[test]
    fn text_never_claims_that_it_is_verified() {
        assert!(to_text(&inspected(Some(2_000)), false).contains("valid, not verified"));
        assert_eq!(to_json(&inspected(None), "x", false)["verified"], false);
    }
}

//! Records, chains, damage, filters, other formats.

mod chains;
mod filters;
mod formats;
mod texts;
mod times;

use hessra_audit::{Event, Head, Outcome, Record, seal};

/// 2026-01-01T00:00:00Z.
pub const NEW_YEAR: u64 = 1_767_225_600_000;

/// A record that says something in most fields.
pub fn record(number: u64) -> Record {
    let mut record = Record::new(Event::AuthzDenied, Outcome::Denied, NEW_YEAR + number);
    record.node = 7;
    record.id = format!("n7-{number}");
    record.reason = "not_permitted".to_owned();
    record.actor.subject = "urn:hessra:alice".to_owned();
    record.actor.auth = "bearer".to_owned();
    record.target.resource = "api".to_owned();
    record.target.operation = "write".to_owned();
    record.target.token_ids = vec!["ab".repeat(64)];
    record.message = format!("request {number}");
    record
}

/// The lines of a chain that follows `head`.
pub fn lines(mut head: Head, count: u64) -> Vec<String> {
    (1..=count)
        .map(|number| {
            let (line, next) = seal(&mut record(number), &head);
            head = next;
            line
        })
        .collect()
}

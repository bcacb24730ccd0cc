//! Candidates for a shortened token id: the whole ids that the audit has.

use std::collections::BTreeSet;
use std::time::Duration;

use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, SearchAuditRequest};
use serde_json::Value;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};

/// Candidates that are named.
const SHOWN_MAX: usize = 4;
/// Records that each node is asked for: a token is in a handful.
const RECORDS_MAX: u32 = 50;
/// Time for asking: who has the whole id does not come here.
const ASKING_MAX: Duration = Duration::from_secs(5);

/// Refuses a shortened id, and names the whole ones that begin so, as far as this caller may know.
pub(super) async fn refuse(context: &Context, beginning: &str) -> CommandError {
    let beginning = beginning.to_lowercase();
    let found = tokio::time::timeout(ASKING_MAX, whole_ids(context, &beginning)).await;
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    let hint = match found.len() {
        0 => format!(
            "Copy all of it: `hessra audit search token={beginning}*` finds it, on each node."
        ),
        _ => {
            let shown: Vec<&str> = found.iter().take(SHOWN_MAX).map(String::as_str).collect();
            let more = match found.len().saturating_sub(SHOWN_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("The audit has {}{more}.", shown.join(", "))
        }
    };
    let message = format!("`{beginning}` is no whole token id, and no token would match it");
    CommandError::new(Exit::Usage, "shortened_token_id", message).hint(hint)
}

async fn whole_ids(context: &Context, beginning: &str) -> Outcome<BTreeSet<String>> {
    let client = AuditClient::new(context.authenticated_connection()?);
    let mut ids = BTreeSet::new();
    for (_, server) in client.servers().await {
        let request = SearchAuditRequest {
            chain: AuditChain::Changes.into(),
            conditions: vec![format!("token={beginning}*")],
            before: 0,
            limit: RECORDS_MAX,
        };
        let page = client.search(&server, request).await?;
        ids.extend(page.lines.iter().flat_map(|line| ids_of(line, beginning)));
    }
    Ok(ids)
}

/// Token ids of a record that begin so.
fn ids_of(line: &str, beginning: &str) -> Vec<String> {
    let record: Value = serde_json::from_str(line).unwrap_or_default();
    let ids = record["target"]["token_ids"].as_array();
    let ids = ids.into_iter().flatten().filter_map(Value::as_str);
    ids.filter(|id| id.starts_with(beginning))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_begin_so_are_candidates_and_others_of_the_record_are_not() {
        let line = r#"{"target":{"token_ids":["abcd","acdc"]}}"#;
        assert_eq!(ids_of(line, "abc"), ["abcd"]);
        assert!(ids_of("no record", "abc").is_empty());
    }
}

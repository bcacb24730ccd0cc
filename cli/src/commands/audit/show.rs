//! Record as a person reads it: time, node, event, caller, target, reason.

use serde_json::Value;

/// Width of the column of the event.
const EVENT_WIDTH: usize = 21;

/// Lines of records, one each.
pub(super) fn lines(records: &[Value]) -> String {
    records.iter().map(|record| line(record) + "\n").collect()
}

/// Line of one record.
pub(super) fn line(record: &Value) -> String {
    let text = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let node = record["node"].as_u64().unwrap_or_default();
    let mut line = format!(
        "{}  {node}  {:<EVENT_WIDTH$} {:<8}",
        text("/ts"),
        text("/event"),
        text("/outcome")
    );
    for (name, value) in [
        ("by", text("/actor/subject")),
        ("from", text("/actor/ip")),
        ("on", &target(record)),
        ("reason", text("/reason")),
        ("ticket", text("/ticket")),
        ("request", text("/request/id")),
    ] {
        if !value.is_empty() {
            line.push_str(&format!("  {name}={value}"));
        }
    }
    match text("/message") {
        "" => line,
        message => format!("{line}  {message}"),
    }
}

/// Target of a record: `api:read` for an authorization, else the subject, the id, or the kind.
fn target(record: &Value) -> String {
    let target = &record["target"];
    let text = |name: &str| target[name].as_str().unwrap_or_default();
    let (subject, id) = (text("subject"), text("id"));
    let named = match (subject, id) {
        ("", "") => text("type").to_owned(),
        (subject, "") => subject.to_owned(),
        ("", id) => id.to_owned(),
        (subject, id) => format!("{subject} ({id})"),
    };
    match (text("resource"), text("operation")) {
        ("", _) => named,
        (resource, operation) => format!("{resource}:{operation}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_when_what_who_and_why() {
        let record = json!({
            "ts": "2026-01-01T00:00:00.000Z", "node": 2, "event": "authz.denied", "outcome": "denied",
            "reason": "not_permitted", "actor": {"subject": "urn:hessra:alice", "auth": "mtls", "ip": "10.0.0.1"},
            "target": {"type": "authorization", "subject": "urn:hessra:alice", "resource": "api", "operation": "write"},
            "message": "`urn:hessra:alice` may not `write` on `api`",
        });
        assert_eq!(
            line(&record),
            "2026-01-01T00:00:00.000Z  2  authz.denied          denied    by=urn:hessra:alice  from=10.0.0.1  \
             on=api:write  reason=not_permitted  `urn:hessra:alice` may not `write` on `api`"
        );
    }
}

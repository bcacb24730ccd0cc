//! The same record in the Open Cybersecurity Schema Framework, version 1.6.0 (<https://schema.ocsf.io/1.6.0>).
//!
//! | what it is about | class |
//! |---|---|
//! | identity tokens | Authentication (3002) |
//! | authorization tokens | Authorize Session (3003) |
//! | callers without the right; reading the audit | API Activity (6003) |
//! | changes that operators make | Entity Management (3004) |
//! | alarms | Detection Finding (2004) |
//! | the audit's own records | Event Log Activity (1008) |
//!
//! Fields without a place of their own are in `unmapped`, the hash among them, so that an event leads back to its
//! record.

use serde_json::{Map, Value, json};

use crate::record::{Class, Event, Outcome, Record};
use crate::time::millis;

const SCHEMA: &str = "1.6.0";

/// `type_uid` is `class * 100 + activity`; `category_uid` the thousands of `class`.
struct Kind {
    class: u64,
    activity: u64,
}

/// An event of the framework. `hash` is the record's, hexadecimal.
#[must_use]
pub fn event(record: &Record, hash: &str) -> Value {
    let event = Event::parse(&record.event);
    let class = event.map_or(Class::Bookkeeping, Event::class);
    let kind = kind(event, class);
    let mut object = common(record, &kind, class);
    object.extend(details(record, class));
    object.insert("unmapped".to_owned(), unmapped(record, hash));
    Value::Object(object)
}

fn kind(event: Option<Event>, class: Class) -> Kind {
    let (class, activity) = match (event, class) {
        // Authentication Ticket.
        (_, Class::Authentication) => (3002, 3),
        (Some(Event::AccessDenied), _) => (6003, 99),
        // Assign Privileges.
        (_, Class::Authorization) => (3003, 1),
        (Some(event), Class::Administration) => (3004, administration(event)),
        // Read.
        (_, Class::Reading) => (6003, 2),
        // Create: a finding that was not there.
        (_, Class::Alarm) => (2004, 1),
        _ => (1008, 99),
    };
    Kind { class, activity }
}

/// Activities of Entity Management: create 1, update 3, delete 4, enroll 6, unenroll 7, activate 10, deactivate 11.
fn administration(event: Event) -> u64 {
    match event {
        Event::ClusterInitialized | Event::RevocationCreated | Event::KeyPrepared => 1,
        Event::RevocationLifted | Event::RevocationsUndone => 4,
        Event::MemberAdded => 6,
        Event::MemberRemoved => 7,
        Event::KeyActivated => 10,
        Event::KeyRetired | Event::KeyRevoked => 11,
        _ => 3,
    }
}

fn common(record: &Record, kind: &Kind, class: Class) -> Map<String, Value> {
    let (status, status_id) = match record.outcome {
        Outcome::Success => ("Success", 1),
        Outcome::Denied | Outcome::Failure => ("Failure", 2),
    };
    // Informational, low, high.
    let severity = match (class, record.outcome) {
        (Class::Alarm, _) => 4,
        (_, Outcome::Success) => 1,
        _ => 2,
    };
    let mut object = object(json!({
        "category_uid": kind.class / 1_000,
        "class_uid": kind.class,
        "activity_id": kind.activity,
        "type_uid": kind.class * 100 + kind.activity,
        "time": millis(&record.ts).unwrap_or_default(),
        "severity_id": severity,
        "status": status,
        "status_id": status_id,
        "metadata": {
            "version": SCHEMA,
            "uid": record.id,
            "event_code": record.event,
            "original_time": record.ts,
            "sequence": record.seq,
            "product": { "name": "hessra", "vendor_name": "hessra" },
        },
    }));
    let texts = [
        ("status_code", &record.reason),
        ("message", &record.message),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        object.insert(name.to_owned(), json!(text));
    }
    object
}

fn details(record: &Record, class: Class) -> Map<String, Value> {
    let target = &record.target;
    let source = json!({ "ip": record.actor.ip });
    let actor = json!({ "user": { "name": record.actor.subject, "uid": record.actor.subject } });
    let subject = if target.subject.is_empty() {
        &record.actor.subject
    } else {
        &target.subject
    };
    let user = json!({ "name": subject, "uid": subject });
    object(match class {
        Class::Authentication => json!({
            "user": user, "actor": actor, "src_endpoint": source, "auth_protocol": record.actor.auth,
        }),
        Class::Authorization if record.target.resource.is_empty() => json!({
            "actor": actor, "src_endpoint": source, "api": { "operation": record.request.api },
        }),
        Class::Authorization => json!({
            "user": user, "actor": actor, "src_endpoint": source,
            "privileges": [format!("{}:{}", target.resource, target.operation)],
        }),
        Class::Administration => json!({
            "actor": actor,
            "entity": { "type": target.r#type, "uid": target.id, "name": target.subject },
        }),
        Class::Reading => json!({
            "actor": actor, "src_endpoint": source, "api": { "operation": record.action },
        }),
        Class::Alarm => json!({
            "finding_info": { "uid": record.id, "title": record.event, "desc": record.message },
        }),
        Class::Bookkeeping => json!({ "log_name": "audit" }),
    })
}

fn unmapped(record: &Record, hash: &str) -> Value {
    json!({
        "node": record.node,
        "chain": record.chain,
        "raft": record.raft,
        "revision": record.revision,
        "action": record.action,
        "target": record.target,
        "actor": record.actor,
        "request": record.request,
        "change": record.change,
        "ticket": record.ticket,
        "prev": record.prev,
        "hash": hash,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

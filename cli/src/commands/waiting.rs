//! Answer to a request that waits for a second person.

use hessra_sdk_rust::v1::PendingApproval;
use serde_json::json;

use crate::failure::Outcome;
use crate::output::{Console, timestamp};

/// Says that nothing is done yet, and what is to be done next. Exit 0: what was asked for waits.
pub(super) fn waits(console: Console, pending: &PendingApproval) -> Outcome {
    let id = &pending.id;
    let value = json!({"pending": {
        "id": id,
        "until": timestamp(pending.until_ms),
        "already": pending.already,
    }});
    let again = if pending.already { " already" } else { "" };
    let asked = format!("{id} waits for a second person");
    console.committed(&asked, &value, || {
        format!(
            "… Nothing is done yet: {id} waits{again} for a second person, until {}\n  \
             Another operator with the same right: hessra approvals approve {id}\n",
            timestamp(pending.until_ms)
        )
    })
}

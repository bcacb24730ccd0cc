//! Keys that sign for very long, and what one operator can do alone.

use std::time::Duration;

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{KeyInfo, ListKeysResponse, StatusResponse};
use hessra_settings::duration;

use super::finding::Finding;
use crate::failure::CommandError;

/// Longest time that a key signs without a look. A year: the longest that compliance texts ask for.
const AGE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Checks the age of the keys that sign.
pub(super) async fn check(authority: &Authority) -> Finding {
    match authority.list_keys().await {
        Ok(answer) => assess(&answer),
        Err(error) => Finding::failed("keys", CommandError::from(error)),
    }
}

fn assess(answer: &ListKeysResponse) -> Finding {
    let age = |key: &KeyInfo| Duration::from_millis(answer.now_ms.saturating_sub(key.since_ms));
    let active = answer.keys.iter().filter(|key| key.state == "active");
    let Some(oldest) = active.max_by_key(|key| age(key)) else {
        return Finding::warning("keys", "no key signs", "See `hessra keys list`.");
    };
    let (age, purpose) = (age(oldest), &oldest.purpose);
    let shown = duration::rounded(age);
    if age <= AGE_MAX {
        return Finding::good("keys", format!("the oldest that signs is {shown} old"));
    }
    Finding::warning(
        "keys",
        format!("{purpose} key {} has signed for {shown}", oldest.id),
        format!(
            "Replace it: hessra keys rotate --purpose {purpose}. Or set keys.rotate_every on every node."
        ),
    )
}

/// Finding about the second person for what can hurt everyone.
pub(super) fn two_person(status: &StatusResponse) -> Finding {
    if !status.one_person {
        return Finding::good(
            "approvals",
            "two operators are needed for what can hurt everyone",
        );
    }
    // An operator chose it, and may have no second one: it is named, and not counted as a fault.
    Finding::good(
        "approvals",
        "one operator alone can revoke near the root, restore tokens and revoke keys (two_person = false)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn answer(age_days: u64) -> ListKeysResponse {
        let key = |id, since_ms| KeyInfo {
            id,
            purpose: "token".into(),
            state: "active".into(),
            since_ms,
            ..KeyInfo::default()
        };
        ListKeysResponse {
            now_ms: 1_000 * 86_400_000,
            keys: vec![
                key(1, (1_000 - age_days) * 86_400_000),
                key(2, 999 * 86_400_000),
            ],
            ..ListKeysResponse::default()
        }
    }

    #[test]
    fn a_key_older_than_a_year_is_named() {
        assert_eq!(assess(&answer(365)).exit, Exit::Done);
        let old = assess(&answer(366));
        assert_eq!(old.exit, Exit::Unconfirmed);
    }
}

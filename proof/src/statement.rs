//! Statement: what an operator signs.

use data_encoding::HEXLOWER;
use serde::Deserialize;

/// Seconds between the time of signing and the end of a proof, at most. Long enough for every retry of one request, short
/// enough that a proof that was read off a node's disk is worth nothing.
pub const LIFE_SECONDS_MAX: u64 = 300;
/// Seconds by which the clock of the operator's machine may differ from the cluster's: a laptop that slept.
pub const SKEW_SECONDS_MAX: u64 = 300;

/// One command, as its author means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Id of the cluster that it is for: that of its feed.
    pub cluster: [u8; 16],
    /// Id of the request, the same in every retry.
    pub request: [u8; 16],
    /// SHA-256 of the command's content.
    pub command: [u8; 32],
    /// Unix seconds at which it was signed, on the author's clock.
    pub issued_at: u64,
    /// Unix seconds after which it is worth nothing.
    pub expires_at: u64,
}

/// Wire form of [`Statement`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    cluster: String,
    request: String,
    command: String,
    iat: u64,
    exp: u64,
}

impl Statement {
    /// The one spelling of the statement.
    #[must_use]
    pub fn payload(&self) -> String {
        format!(
            r#"{{"cluster":"{}","request":"{}","command":"{}","iat":{},"exp":{}}}"#,
            HEXLOWER.encode(&self.cluster),
            HEXLOWER.encode(&self.request),
            HEXLOWER.encode(&self.command),
            self.issued_at,
            self.expires_at
        )
    }

    /// Reads the one spelling.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let read: Payload = serde_json::from_slice(payload).ok()?;
        let statement = Self {
            cluster: array(&read.cluster)?,
            request: array(&read.request)?,
            command: array(&read.command)?,
            issued_at: read.iat,
            expires_at: read.exp,
        };
        (statement.payload().as_bytes() == payload).then_some(statement)
    }

    /// True when the statement may be acted on at `now`, in Unix seconds.
    #[must_use]
    pub fn is_current(&self, now: u64) -> bool {
        let life = self.expires_at.checked_sub(self.issued_at);
        life.is_some_and(|life| life <= LIFE_SECONDS_MAX)
            && self.issued_at <= now.saturating_add(SKEW_SECONDS_MAX)
            && now <= self.expires_at.saturating_add(SKEW_SECONDS_MAX)
    }
}

fn array<const N: usize>(hex: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Statement = Statement {
        cluster: [1; 16],
        request: [2; 16],
        command: [3; 32],
        issued_at: 1_000,
        expires_at: 1_300,
    };

    #[test]
    fn a_statement_has_one_spelling() {
        let payload = STATEMENT.payload();
        assert_eq!(Statement::read(payload.as_bytes()), Some(STATEMENT));
        for other in [
            payload.replace(',', ", "),
            payload.replace("}", r#","crit":[]}"#),
            payload.replace("0202", "02 02"),
            payload.replace("0101", "FF01"),
        ] {
            assert_eq!(Statement::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_statement_is_current_from_its_issue_to_its_end_give_or_take_the_clocks() {
        let ends = 1_300 + SKEW_SECONDS_MAX;
        assert!(STATEMENT.is_current(1_000 - SKEW_SECONDS_MAX) && STATEMENT.is_current(ends));
        assert!(!STATEMENT.is_current(1_000 - SKEW_SECONDS_MAX - 1));
        assert!(!STATEMENT.is_current(ends + 1));
        let long = Statement {
            expires_at: 1_000 + LIFE_SECONDS_MAX + 1,
            ..STATEMENT
        };
        assert!(!long.is_current(1_000), "it lives for too long");
        let backwards = Statement {
            expires_at: 999,
            ..STATEMENT
        };
        assert!(!backwards.is_current(1_000));
    }
}

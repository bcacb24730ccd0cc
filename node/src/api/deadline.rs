//! The deadline of a request, as its sender names it: nothing is done for one that has given up.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Request;

/// Deadline for a member that names none.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest deadline, also for a member that names a longer one.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// The sender's own deadline, so that nothing is done for a sender that has given up.
pub(super) fn timeout_of<T>(request: &Request<T>) -> Option<Duration> {
    let header = request
        .metadata()
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok());
    header.and_then(parse_timeout)
}

pub(super) fn deadline_of<T>(request: &Request<T>) -> Instant {
    Instant::now() + timeout_of(request).map_or(DEADLINE, |timeout| timeout.min(DEADLINE_MAX))
}

/// Parses `grpc-timeout` of the gRPC specification: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse_timeout("1500000u"),
            Some(Duration::from_millis(1_500))
        );
        for wrong in ["", "m", "10", "10x", "123456789S", "é", "-1S"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }
}

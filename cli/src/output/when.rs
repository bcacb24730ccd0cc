//! Instants as people and programs read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Timestamp of RFC 3339 in UTC with milliseconds: for programs and for tables.
pub(crate) fn timestamp(unix_milliseconds: u64) -> String {
    instant(unix_milliseconds).map_or_else(
        || unix_milliseconds.to_string(),
        |instant| format!("{instant:.3}"),
    )
}

/// Clock time of this computer, hour and minute; the date too when it is not today's.
pub(crate) fn clock_time(unix_milliseconds: u64, now: u64) -> String {
    local_time(unix_milliseconds, now, "%H:%M")
}

/// Clock time of this computer to the second; the date too when it is not today's.
pub(crate) fn clock_second(unix_milliseconds: u64, now: u64) -> String {
    local_time(unix_milliseconds, now, "%H:%M:%S")
}

fn local_time(unix_milliseconds: u64, now: u64, of_day: &str) -> String {
    let local = |at| instant(at).map(|instant| instant.to_zoned(TimeZone::system()));
    let (Some(at), Some(now)) = (local(unix_milliseconds), local(now)) else {
        return timestamp(unix_milliseconds);
    };
    let time = at.strftime(of_day).to_string();
    match at.date() == now.date() {
        true => time,
        false => format!("{} {time}", at.strftime("%Y-%m-%d")),
    }
}

fn instant(unix_milliseconds: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(unix_milliseconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(timestamp(1_000_000_000_123), "2001-09-09T01:46:40.123Z");
        assert_eq!(timestamp(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn another_day_is_shown_with_its_date() {
        let now = 1_000_000_000_000;
        assert_eq!(clock_time(now, now).len(), "10:41".len());
        assert_eq!(
            clock_time(now - 3 * 86_400_000, now).len(),
            "2001-09-06 01:46".len()
        );
    }
}

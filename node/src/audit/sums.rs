//! Refusals beyond a rate are counted, not written one by one: a stranger decides how many there are.
//!
//! ```text
//! refusal ─▶ admit: within the rate of its address and kind, and of all? ─ yes ─▶ a record of its own
//!                                                                         └ no ──▶ counted ─ every 10 s ─▶ one record
//! ```
//! The rates: so many at once and then a few a second of one address and kind (event and reason), and of all together,
//! with a budget of their own for callers that proved who they are: so strangers do not hide what a known caller tries.
//! Sums name the address (of IPv6 its /64) and the kind; when there are more of them than the table holds, the rest
//! share a sum by kind.
//!
//! A crash loses the counts of the last ten seconds, never a record that somebody waited for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hessra_audit::Record;
use hessra_revocation::Monotonic;

/// Records of one address and kind that are written at once, before its rate counts. Origin: a person who tries a
/// command a few times is seen whole.
const KEY_BURST: u64 = 20;
/// Records a second of one address and kind.
const KEY_PER_SECOND: u64 = 1;
/// Records of all strangers, or of all proved callers, at once.
const ALL_BURST: u64 = 200;
/// Records a second of each of the two: 20 of 700 bytes are 1.2 GB a day.
const ALL_PER_SECOND: u64 = 20;
/// Addresses and kinds with a rate of their own.
const KEYS_MAX: usize = 4_096;
/// Milliseconds between two writings of the sums.
const WINDOW_MILLIS: u64 = 10_000;
/// Records of sums that are written for one window.
const SUMS_MAX: usize = 32;

/// Decision on one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It gets a record of its own.
    Written,
    /// It was counted.
    Counted,
}

/// Counts refusals beyond the rate.
#[derive(Debug, Default)]
pub(super) struct Sums {
    inner: Mutex<Inner>,
}

/// A sum: so many refusals of one kind had no record of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) event: String,
    pub(super) reason: String,
    /// Address, of IPv6 its /64; empty for many addresses.
    pub(super) address: String,
    pub(super) count: u64,
    pub(super) millis: u64,
}

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeMap<Key, Rated>,
    /// Counts of addresses and kinds that have no place in the table, by event and reason.
    elsewhere: BTreeMap<(String, String), u64>,
    strangers: Bucket,
    proved: Bucket,
    began: u64,
}

/// Address and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    address: String,
    event: String,
    reason: String,
}

#[derive(Debug, Default)]
struct Rated {
    bucket: Bucket,
    counted: u64,
}

/// A token bucket (ITU-T I.371, as a level that drains).
#[derive(Debug, Default)]
struct Bucket {
    /// Thousandths of a record that were taken and have not come back.
    taken: u64,
    at: u64,
}

impl Bucket {
    fn drain(&mut self, per_second: u64, now: u64) {
        let back = now.saturating_sub(self.at).saturating_mul(per_second);
        self.taken = self.taken.saturating_sub(back);
        self.at = now;
    }

    fn has_room(&mut self, burst: u64, per_second: u64, now: u64) -> bool {
        self.drain(per_second, now);
        self.taken + 1_000 <= burst * 1_000
    }

    fn take(&mut self) {
        self.taken += 1_000;
    }
}

impl Sums {
    /// Decides whether a refusal gets a record of its own; counts it when not.
    pub(super) fn admit(&self, record: &Record, now: Monotonic) -> Admitted {
        let mut inner = self.lock();
        let key = key_of(record);
        if inner.has_room(&key, record.is_unproved(), now.0) {
            return Admitted::Written;
        }
        inner.count(key);
        Admitted::Counted
    }

    /// Counts a refusal that was to have a record of its own, and for which there was no room in the queue.
    pub(super) fn count(&self, record: &Record) {
        self.lock().count(key_of(record));
    }

    /// The sums of the window, when it is over, or when `last` says that no other comes.
    pub(super) fn due(&self, now: Monotonic, last: bool) -> Vec<Sum> {
        let mut inner = self.lock();
        let millis = now.0.saturating_sub(inner.began);
        if millis < WINDOW_MILLIS && !last {
            return Vec::new();
        }
        inner.began = now.0;
        inner.sums(millis, now.0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_room(&mut self, key: &Key, unproved: bool, now: u64) -> bool {
        let all = match unproved {
            true => &mut self.strangers,
            false => &mut self.proved,
        };
        if !all.has_room(ALL_BURST, ALL_PER_SECOND, now) {
            return false;
        }
        if self.keys.len() < KEYS_MAX || self.keys.contains_key(key) {
            let bucket = &mut self.keys.entry(key.clone()).or_default().bucket;
            if !bucket.has_room(KEY_BURST, KEY_PER_SECOND, now) {
                return false;
            }
            bucket.take();
        }
        all.take();
        true
    }

    fn count(&mut self, key: Key) {
        if let Some(rated) = self.keys.get_mut(&key) {
            rated.counted += 1;
        } else if self.keys.len() < KEYS_MAX {
            let rated = Rated {
                counted: 1,
                ..Rated::default()
            };
            self.keys.insert(key, rated);
        } else {
            *self.elsewhere.entry((key.event, key.reason)).or_default() += 1;
        }
    }

    /// The largest counts each by itself, all others by kind. Forgets who is quiet.
    fn sums(&mut self, millis: u64, now: u64) -> Vec<Sum> {
        let mut counted: Vec<(Key, u64)> = Vec::new();
        for (key, rated) in &mut self.keys {
            if rated.counted > 0 {
                counted.push((key.clone(), std::mem::take(&mut rated.counted)));
            }
            rated.bucket.drain(KEY_PER_SECOND, now);
        }
        self.keys.retain(|_, rated| rated.bucket.taken > 0);
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (key, count) in counted.split_off(counted.len().min(SUMS_MAX)) {
            *self.elsewhere.entry((key.event, key.reason)).or_default() += count;
        }
        let alone = counted.into_iter().map(|(key, count)| Sum {
            event: key.event,
            reason: key.reason,
            address: key.address,
            count,
            millis,
        });
        let elsewhere = std::mem::take(&mut self.elsewhere).into_iter();
        let elsewhere = elsewhere.map(|((event, reason), count)| Sum {
            event,
            reason,
            address: String::new(),
            count,
            millis,
        });
        alone.chain(elsewhere).collect()
    }
}

fn key_of(record: &Record) -> Key {
    Key {
        address: network(&record.actor.ip),
        event: record.event.clone(),
        reason: record.reason.clone(),
    }
}

/// The address, of IPv6 the /64 that one subscriber has (RFC 6177).
fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_none() => {
            let high = u128::from(six) >> 64 << 64;
            format!("{}/64", Ipv6Addr::from(high))
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hessra_audit::{Event, Outcome};

    use super::*;

    fn refusal(address: &str, subject: &str) -> Record {
        let mut record = Record::new(Event::AccessDenied, Outcome::Denied, 0);
        record.actor.ip = address.to_owned();
        record.actor.auth = "none".to_owned();
        record.actor.subject = subject.to_owned();
        record
    }

    fn written(sums: &Sums, count: usize, address: impl Fn(usize) -> String, subject: &str) -> u64 {
        let now = Monotonic(1);
        let outcomes =
            (0..count).map(|number| sums.admit(&refusal(&address(number), subject), now));
        outcomes
            .filter(|outcome| *outcome == Admitted::Written)
            .count() as u64
    }

    #[test]
    fn one_address_has_a_burst_and_then_its_rate_and_the_rest_is_summed() {
        let sums = Sums::default();
        let one = |_| "10.0.0.7".to_owned();
        assert_eq!(written(&sums, 60_000, one, ""), KEY_BURST);
        assert!(sums.due(Monotonic(9_999), false).is_empty());
        let due = sums.due(Monotonic(10_000), false);
        assert_eq!(due.len(), 1);
        assert_eq!(
            (due[0].address.as_str(), due[0].count),
            ("10.0.0.7", 60_000 - KEY_BURST)
        );
        let again = sums.admit(&refusal("10.0.0.7", ""), Monotonic(10_001));
        assert_eq!(again, Admitted::Written);
    }

    #[test]
    fn many_addresses_share_one_budget_and_a_bounded_number_of_sums() {
        let sums = Sums::default();
        let many = |number| format!("10.{}.{}.1", number / 256, number % 256);
        assert_eq!(written(&sums, 20_000, many, ""), ALL_BURST);
        assert!(sums.lock().keys.len() <= KEYS_MAX);
        let due = sums.due(Monotonic(10_000), false);
        assert!(due.len() <= SUMS_MAX + 1, "{}", due.len());
        let counted: u64 = due.iter().map(|sum| sum.count).sum();
        assert_eq!(counted, 20_000 - ALL_BURST, "none is lost");
    }

    #[test]
    fn strangers_do_not_take_the_budget_of_those_who_proved_who_they_are() {
        let sums = Sums::default();
        let many = |number| format!("10.{}.{}.1", number / 256, number % 256);
        written(&sums, 20_000, many, "");
        let alice = refusal("10.9.9.9", "urn:hessra:alice");
        assert_eq!(sums.admit(&alice, Monotonic(1)), Admitted::Written);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let sums = Sums::default();
        let one = |number| format!("2001:db8:1:2::{number:x}");
        assert_eq!(written(&sums, 1_000, one, ""), KEY_BURST);
        assert_eq!(sums.due(Monotonic(0), true)[0].address, "2001:db8:1:2::/64");
    }

    #[test]
    fn who_is_quiet_is_forgotten() {
        let sums = Sums::default();
        written(&sums, 100, |_| "10.0.0.7".to_owned(), "");
        sums.due(Monotonic(10_000), false);
        sums.due(Monotonic(1_000_000), false);
        assert!(sums.lock().keys.is_empty());
    }
}

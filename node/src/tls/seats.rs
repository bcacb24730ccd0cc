//! Seats: open connections, counted by standing and by address, so that neither one address nor all strangers together take
//! what others need.
//!
//! ```text
//! arrive ── handshake (bounded in all, by address, and by second) ──▶ sit: unproved | proved | kept
//!   └ too many a second: closed before TLS    └ too many at once: the oldest of the busiest address makes room
//! ```
//! Handshakes take no seats. A newcomer pushes the oldest unfinished handshake out instead of being refused: silent
//! connections cannot keep others out, and an honest handshake ends in milliseconds. Nothing here knows what a connection
//! carries.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Handshakes a second of an address whose seats for strangers are all taken: enough for an operator behind it to prove
/// itself, and little work for a flood.
const PROOFS_PER_SECOND: u32 = 50;
/// Addresses above which those without a connection are forgotten: about 2 MB.
const ADDRESSES_REMEMBERED: usize = 16_384;
/// Time that handshakes are counted over.
const SECOND: Duration = Duration::from_secs(1);

/// Standing of a connection: what its certificate proved when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// No certificate, or one that nobody here knows.
    #[default]
    Unproved,
    /// A caller that is known.
    Proved,
    /// A caller that seats are kept for: operators on the public port, members on the peer port.
    Kept,
}

impl Standing {
    /// Every standing, the least first.
    pub const ALL: [Self; 3] = [Self::Unproved, Self::Proved, Self::Kept];

    /// Name in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unproved => "unproved",
            Self::Proved => "proved",
            Self::Kept => "kept",
        }
    }
}

/// Block of addresses that one holder has: an IPv4 address, or an IPv6 /64 (RFC 6177: what a site gets at least).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressBlock(IpAddr);

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

impl From<IpAddr> for AddressBlock {
    fn from(address: IpAddr) -> Self {
        // An IPv4 address that is written as IPv6 is the same machine.
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() & !u128::from(u64::MAX),
            )),
        })
    }
}

/// Limits of the seats of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatLimits {
    /// Seats in all.
    pub seats_max: u32,
    /// Of these, for unproved connections.
    pub unproved_max: u32,
    /// Of these, for connections that are not [`Standing::Kept`].
    pub shared_max: u32,
    /// Unproved connections of one address.
    pub unproved_per_address_max: u32,
    /// Connections of any other one standing of one address.
    pub proved_per_address_max: u32,
    /// Connections of one certificate.
    pub per_certificate_max: u32,
    /// Handshakes under way.
    pub handshakes_max: u32,
    /// Handshakes under way of one address.
    pub handshakes_per_address_max: u32,
    /// Handshakes that one address may begin in a second.
    pub handshakes_per_second: u32,
}

/// Error of a connection for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The address began too many handshakes in this second.
    #[error("too many connections of this address a second")]
    TooFast,
    /// All seats for this standing are taken, or all of this address.
    #[error("no seat is free")]
    NoSeat,
}

/// Told how many seats a standing has taken.
type Report = Box<dyn Fn(Standing, u32) + Send + Sync>;

/// The seats of one port.
pub(super) struct Seats {
    limits: SeatLimits,
    report: Report,
    table: Mutex<Table>,
}

impl Seats {
    pub(super) fn new(
        limits: SeatLimits,
        report: impl Fn(Standing, u32) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits,
            report: Box::new(report),
            table: Mutex::default(),
        })
    }

    /// Takes a new connection in for its handshake.
    ///
    /// # Errors
    /// [`Full::TooFast`].
    pub(super) fn arrive(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Arrival, Full> {
        let block = AddressBlock::from(address);
        let (number, pushed_out) = self.table().arrive(&self.limits, block, now)?;
        Ok(Arrival {
            seats: Arc::clone(self),
            block,
            number,
            pushed_out,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, standing: Standing, table: &Table) {
        (self.report)(standing, table.taken.of(standing));
    }
}

/// A connection in its handshake; forgotten when dropped.
pub(super) struct Arrival {
    seats: Arc<Seats>,
    block: AddressBlock,
    number: u64,
    pushed_out: CancellationToken,
}

impl Arrival {
    /// Cancelled when the handshake must make room for others.
    pub(super) fn pushed_out(&self) -> &CancellationToken {
        &self.pushed_out
    }

    /// Takes a seat after the handshake. `certificate`: SHA-256 of the one that was shown.
    ///
    /// # Errors
    /// [`Full::NoSeat`].
    pub(super) fn sit(
        self,
        standing: Standing,
        certificate: Option<[u8; 32]>,
    ) -> Result<Seat, Full> {
        let seats = Arc::clone(&self.seats);
        let mut table = seats.table();
        let holder = Holder {
            block: self.block,
            standing,
            certificate,
        };
        if !table.sit(&seats.limits, holder) {
            drop(table);
            return Err(Full::NoSeat);
        }
        seats.report(standing, &table);
        drop(table);
        Ok(Seat { seats, holder })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.seats.table().depart(self.block, self.number);
    }
}

/// The seat of one connection; given back when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    holder: Holder,
}

/// Holder of a seat: what it is counted by.
#[derive(Clone, Copy)]
struct Holder {
    block: AddressBlock,
    standing: Standing,
    certificate: Option<[u8; 32]>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        table.rise(self.holder);
        self.seats.report(self.holder.standing, &table);
    }
}

/// Seats taken, by standing.
#[derive(Clone, Copy, Debug, Default)]
struct Taken([u32; Standing::ALL.len()]);

impl Taken {
    fn of(&self, standing: Standing) -> u32 {
        self.0[standing as usize]
    }

    fn all(&self) -> u32 {
        self.0.iter().sum()
    }

    fn add(&mut self, standing: Standing) {
        self.0[standing as usize] += 1;
    }

    fn remove(&mut self, standing: Standing) {
        let taken = &mut self.0[standing as usize];
        *taken = taken.saturating_sub(1);
    }
}

/// Connections of one address.
#[derive(Default)]
struct Held {
    taken: Taken,
    /// Handshakes under way, the oldest first.
    handshakes: VecDeque<(u64, CancellationToken)>,
    begun: PerSecond,
}

/// Count of things in the current second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerSecond(Option<(Instant, u32)>);

impl PerSecond {
    /// Counts one more; false when the second has had its share.
    pub(super) fn take(&mut self, share: u32, now: Instant) -> bool {
        let (since, count) = match self.0 {
            Some((since, count)) if now.duration_since(since) < SECOND => (since, count),
            _ => (now, 0),
        };
        self.0 = Some((since, count.saturating_add(1).min(share)));
        count < share
    }

    fn is_current(&self, now: Instant) -> bool {
        self.0
            .is_some_and(|(since, _)| now.duration_since(since) < SECOND)
    }

    fn is_at_most_one(&self) -> bool {
        self.0.is_none_or(|(_, count)| count <= 1)
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.taken.all() == 0 && self.handshakes.is_empty()
    }
}

#[derive(Default)]
struct Table {
    taken: Taken,
    handshakes: u32,
    addresses: BTreeMap<AddressBlock, Held>,
    certificates: BTreeMap<[u8; 32], u32>,
    next: u64,
}

impl Table {
    fn arrive(
        &mut self,
        limits: &SeatLimits,
        block: AddressBlock,
        now: Instant,
    ) -> Result<(u64, CancellationToken), Full> {
        if self.addresses.len() >= ADDRESSES_REMEMBERED {
            self.forget_empty(now);
        }
        let held = self.addresses.entry(block).or_default();
        let is_full = held.taken.of(Standing::Unproved) >= limits.unproved_per_address_max;
        let share = match is_full {
            true => limits.handshakes_per_second.min(PROOFS_PER_SECOND),
            false => limits.handshakes_per_second,
        };
        if !held.begun.take(share, now) {
            return Err(Full::TooFast);
        }
        if held.handshakes.len() >= limits.handshakes_per_address_max as usize {
            self.push_out(block);
        } else if self.handshakes >= limits.handshakes_max {
            let busiest = self.busiest().unwrap_or(block);
            self.push_out(busiest);
        }
        let (number, token) = (self.next, CancellationToken::new());
        self.next += 1;
        self.handshakes += 1;
        let held = self.addresses.entry(block).or_default();
        held.handshakes.push_back((number, token.clone()));
        Ok((number, token))
    }

    /// The address with the most handshakes under way.
    fn busiest(&self) -> Option<AddressBlock> {
        let busiest = self
            .addresses
            .iter()
            .max_by_key(|(_, held)| held.handshakes.len());
        busiest.map(|(block, _)| *block)
    }

    /// Ends the oldest handshake of an address.
    fn push_out(&mut self, block: AddressBlock) {
        let held = self.addresses.get_mut(&block);
        if let Some((_, token)) = held.and_then(|held| held.handshakes.pop_front()) {
            token.cancel();
            self.handshakes = self.handshakes.saturating_sub(1);
        }
    }

    /// Takes note that a handshake is over. One that was pushed out is not there any more.
    fn depart(&mut self, block: AddressBlock, number: u64) {
        let Some(held) = self.addresses.get_mut(&block) else {
            return;
        };
        let before = held.handshakes.len();
        held.handshakes.retain(|(other, _)| *other != number);
        if held.handshakes.len() < before {
            self.handshakes = self.handshakes.saturating_sub(1);
        }
    }

    fn sit(&mut self, limits: &SeatLimits, holder: Holder) -> bool {
        if !self.has_room(limits, &holder) {
            return false;
        }
        let Holder {
            block, standing, ..
        } = holder;
        self.taken.add(standing);
        self.addresses.entry(block).or_default().taken.add(standing);
        if let Some(certificate) = holder.certificate {
            *self.certificates.entry(certificate).or_default() += 1;
        }
        true
    }

    fn has_room(&self, limits: &SeatLimits, holder: &Holder) -> bool {
        let standing = holder.standing;
        let here = self.addresses.get(&holder.block);
        let here = here.map_or(0, |held| held.taken.of(standing));
        let shown = holder
            .certificate
            .and_then(|shown| self.certificates.get(&shown));
        let shared = self.taken.of(Standing::Unproved) + self.taken.of(Standing::Proved);
        let has_its_share = match standing {
            Standing::Unproved => {
                shared < limits.shared_max
                    && self.taken.of(standing) < limits.unproved_max
                    && here < limits.unproved_per_address_max
            }
            Standing::Proved => shared < limits.shared_max && here < limits.proved_per_address_max,
            Standing::Kept => here < limits.proved_per_address_max,
        };
        has_its_share
            && self.taken.all() < limits.seats_max
            && shown.is_none_or(|count| *count < limits.per_certificate_max)
    }

    fn rise(&mut self, holder: Holder) {
        self.taken.remove(holder.standing);
        if let Some(certificate) = holder.certificate
            && let Some(count) = self.certificates.get_mut(&certificate)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.certificates.remove(&certificate);
            }
        }
        if let Some(held) = self.addresses.get_mut(&holder.block) {
            held.taken.remove(holder.standing);
            // An address that never knocked twice is forgotten at once; a busy one after its second.
            if held.is_empty() && held.begun.is_at_most_one() {
                self.addresses.remove(&holder.block);
            }
        }
    }

    fn forget_empty(&mut self, now: Instant) {
        self.addresses
            .retain(|_, held| !held.is_empty() || held.begun.is_current(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SeatLimits = SeatLimits {
        seats_max: 10,
        unproved_max: 5,
        shared_max: 8,
        unproved_per_address_max: 3,
        proved_per_address_max: 6,
        per_certificate_max: 4,
        handshakes_max: 4,
        handshakes_per_address_max: 3,
        handshakes_per_second: 100,
    };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seats() -> Arc<Seats> {
        Seats::new(LIMITS, |_, _| {})
    }

    fn sit(seats: &Arc<Seats>, from: &str, standing: Standing) -> Result<Seat, Full> {
        seats
            .arrive(address(from), Instant::now())?
            .sit(standing, None)
    }

    /// Seats that an address gets, up to twenty.
    fn taken(seats: &Arc<Seats>, from: &str, standing: Standing) -> Vec<Seat> {
        (0..20)
            .map_while(|_| sit(seats, from, standing).ok())
            .collect()
    }

    #[test]
    fn an_address_is_one_ipv4_address_or_one_network_of_64_bits() {
        let block = |text| AddressBlock::from(address(text));
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), block("2001:db8:1:2:ffff::1"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
    }

    #[test]
    fn one_address_and_all_strangers_together_have_a_share_and_others_have_the_rest() {
        let seats = seats();
        let first = taken(&seats, "192.0.2.1", Standing::Unproved);
        assert_eq!(first.len(), 3, "one address");
        let second = taken(&seats, "192.0.2.2", Standing::Unproved);
        assert_eq!(second.len(), 2, "all strangers");
        let proved = taken(&seats, "192.0.2.1", Standing::Proved);
        assert_eq!(proved.len(), 3, "all but the seats that are kept");
        let kept = taken(&seats, "192.0.2.1", Standing::Kept);
        assert_eq!(kept.len(), 2, "the kept ones");
        drop(first);
        assert_eq!(taken(&seats, "192.0.2.3", Standing::Unproved).len(), 3);
    }

    #[test]
    fn one_certificate_has_a_share_from_wherever_it_comes() {
        let seats = seats();
        let sit = |from: u8, certificate| {
            let arrival = seats.arrive(IpAddr::from([192, 0, 2, from]), Instant::now());
            arrival
                .unwrap()
                .sit(Standing::Proved, Some(certificate))
                .ok()
        };
        let one: Vec<Seat> = (0..8).filter_map(|from| sit(from, [1; 32])).collect();
        assert_eq!(one.len(), 4);
        assert!(sit(9, [2; 32]).is_some(), "another one");
        drop(one);
        assert!(sit(9, [1; 32]).is_some());
    }

    #[test]
    fn a_silent_handshake_makes_room_for_the_next_one() {
        let (seats, now) = (seats(), Instant::now());
        let arrive = |from| seats.arrive(address(from), now).unwrap();
        let silent: Vec<Arrival> = (0..3).map(|_| arrive("192.0.2.1")).collect();
        let _honest = arrive("192.0.2.1");
        let pushed: Vec<bool> = silent
            .iter()
            .map(|arrival| arrival.pushed_out().is_cancelled())
            .collect();
        assert_eq!(pushed, [true, false, false], "the oldest of its address");
        let _other = arrive("192.0.2.2");
        let _third = arrive("192.0.2.3");
        assert!(silent[1].pushed_out().is_cancelled(), "of the busiest");
        drop(silent);
        assert_eq!(seats.table().handshakes, 3);
    }

    #[test]
    fn an_address_begins_so_many_handshakes_a_second_and_few_when_its_seats_are_taken() {
        let (seats, now) = (seats(), Instant::now());
        let begun = |from: &str, now| {
            let arrive = |_| seats.arrive(address(from), now).is_ok();
            (0..200).filter(|number| arrive(*number)).count()
        };
        assert_eq!(begun("192.0.2.1", now), 100);
        assert_eq!(begun("192.0.2.1", now + SECOND), 100, "the next second");
        let _full = taken(&seats, "192.0.2.2", Standing::Unproved);
        let later = now + 10 * SECOND;
        assert_eq!(begun("192.0.2.2", later), PROOFS_PER_SECOND as usize);
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let (seats, now) = (seats(), Instant::now());
        for number in 0..2 * u32::try_from(ADDRESSES_REMEMBERED).unwrap() {
            let address = IpAddr::V4(number.into());
            // One second for each thousand.
            let now = now + SECOND * (number / 1_000);
            drop(seats.arrive(address, now));
        }
        assert!(seats.table().addresses.len() <= ADDRESSES_REMEMBERED);
    }
}

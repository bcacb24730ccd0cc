//! Pools: places for requests that are worked on, apart for each kind of caller, so that no kind takes another's.
//!
//! | pool | who | processors |
//! |---|---|---|
//! | certificates | shows a client certificate, and no token to judge | all |
//! | bearers | shows an identity token, or nothing | all but one; of two, both |
//! | questions | anyone: is this token good, may it be used? | half |
//!
//! Anyone can ask about a token, and a token's Datalog is written by its holders. So questions have a pool of their own, and
//! fewer processors: a flood of them is the questioners' refusal, and no bearer's, no certificate holder's, and not the
//! cluster's, whose tasks want a processor too. In the pools of strangers one address has half of the seats at most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::issuer::Caller;
use crate::problem::{Kind, Problem};
use crate::tls::AddressBlock;

/// Kind of caller that a request is worked on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Certificate,
    Bearer,
    Question,
}

impl Standing {
    /// Standing of a caller that asks for a token.
    pub(super) fn of(caller: &Caller) -> Self {
        match (&caller.certificate, &caller.bearer) {
            (Some(_), None) => Self::Certificate,
            _ => Self::Bearer,
        }
    }

    /// Word of metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Bearer => "bearer",
            Self::Question => "question",
        }
    }
}

/// The pools of one node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Pools {
    certificates: Arc<Pool>,
    bearers: Arc<Pool>,
    questions: Arc<Pool>,
}

struct Pool {
    seats: Arc<Semaphore>,
    /// Permits for computation.
    processors: Arc<Semaphore>,
    /// Seats that one address may have; `None`: all.
    share: Option<usize>,
    taken: Mutex<HashMap<AddressBlock, usize>>,
}

impl Pools {
    /// Pools of so many seats each.
    pub(super) fn new(seats: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let strangers = Some(seats.div_ceil(2));
        Self {
            certificates: Pool::new(seats, processors, None),
            bearers: Pool::new(seats, processors_of_bearers(processors), strangers),
            questions: Pool::new(seats, processors / 2, strangers),
        }
    }

    /// A seat in the pool of a standing, for a caller from this address.
    ///
    /// # Errors
    /// All are taken, or all that the address may have.
    pub(super) fn seat(
        &self,
        standing: Standing,
        address: Option<IpAddr>,
    ) -> Result<Seat, Problem> {
        let pool = match standing {
            Standing::Certificate => &self.certificates,
            Standing::Bearer => &self.bearers,
            Standing::Question => &self.questions,
        };
        Pool::seat(pool, address)
    }
}

/// Half of a small machine is too much to keep idle: what a bearer's request costs is bounded, and the system shares two
/// processors among those who want them.
fn processors_of_bearers(processors: usize) -> usize {
    match processors {
        0..=2 => processors,
        more => more - 1,
    }
}

impl Pool {
    fn new(seats: usize, processors: usize, share: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            seats: Arc::new(Semaphore::new(seats)),
            processors: Arc::new(Semaphore::new(processors.max(1))),
            share,
            taken: Mutex::default(),
        })
    }

    fn seat(pool: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Problem> {
        let permit = Arc::clone(&pool.seats).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Problem::new(
                Kind::TooMany,
                "overloaded",
                "this node has too many requests: try again soon",
            )
        })?;
        let network = address.map(AddressBlock::from);
        if let (Some(network), Some(share)) = (network, pool.share) {
            let mut taken = pool.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let seats = taken.entry(network).or_default();
            if *seats >= share {
                return Err(Problem::new(
                    Kind::TooMany,
                    "overloaded",
                    "your address has too many requests under way: try again soon",
                ));
            }
            *seats += 1;
        }
        Ok(Seat {
            pool: Arc::clone(pool),
            network: network.filter(|_| pool.share.is_some()),
            _permit: permit,
        })
    }
}

/// Seat in a pool, until it is dropped.
pub(super) struct Seat {
    pool: Arc<Pool>,
    network: Option<AddressBlock>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Permits for the computation of the pool.
    pub(super) fn processors(&self) -> Arc<Semaphore> {
        Arc::clone(&self.pool.processors)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let taken = self.pool.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&network) {
            Some(seats) if *seats > 1 => *seats -= 1,
            _ => drop(taken.remove(&network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn flooded(pools: &Pools, standing: Standing, from: &str) -> Vec<Seat> {
        std::iter::from_fn(|| pools.seat(standing, address(from)).ok()).collect()
    }

    #[test]
    fn a_flood_of_questions_takes_no_seat_of_whoever_asks_for_a_token() {
        let pools = Pools::new(8);
        let flood = [
            flooded(&pools, Standing::Question, "192.0.2.1"),
            flooded(&pools, Standing::Question, "192.0.2.2"),
        ];
        assert!(
            pools
                .seat(Standing::Question, address("192.0.2.3"))
                .is_err()
        );
        assert!(pools.seat(Standing::Bearer, address("192.0.2.1")).is_ok());
        assert!(
            pools
                .seat(Standing::Certificate, address("192.0.2.1"))
                .is_ok()
        );
        drop(flood);
        assert!(pools.seat(Standing::Question, address("192.0.2.3")).is_ok());
    }

    #[test]
    fn one_address_has_half_of_the_seats_of_strangers() {
        let pools = Pools::new(8);
        for standing in [Standing::Question, Standing::Bearer] {
            let flood = flooded(&pools, standing, "2001:db8::1");
            assert_eq!(flood.len(), 4);
            // An address of IPv6 is one of a network that its holder has whole.
            assert!(pools.seat(standing, address("2001:db8::2")).is_err());
            assert_eq!(flooded(&pools, standing, "2001:db8:0:1::2").len(), 4);
        }
        assert_eq!(flooded(&pools, Standing::Certificate, "192.0.2.1").len(), 8);
    }

    #[test]
    fn a_seat_that_is_left_leaves_nothing_behind() {
        let pools = Pools::new(8);
        drop(flooded(&pools, Standing::Question, "192.0.2.1"));
        let taken = pools.questions.taken.lock().expect("not poisoned");
        assert!(taken.is_empty());
    }

    #[test]
    fn who_shows_a_token_is_a_bearer_whatever_else_it_shows() {
        let nobody = Caller {
            certificate: None,
            bearer: None,
        };
        assert_eq!(Standing::of(&nobody), Standing::Bearer);
        let bearer = Caller {
            bearer: Some("token".to_owned()),
            ..nobody
        };
        assert_eq!(Standing::of(&bearer), Standing::Bearer);
    }
}

//! Places: requests that run at once on a port, and the bytes of their bodies, bounded before anything is read.
//!
//! ```text
//! request ─ place free for its standing and address? ─ body: not too large, in time, room in memory ─ service
//!             └ no: RESOURCE_EXHAUSTED or 429            └ no: the same, or DEADLINE_EXCEEDED
//! ```
//! A body is not polled here. It is bounded where it is polled, which a service does once it knows who asks: until then the
//! transport holds what its window lets in, and nothing more. A refusal here writes no record: it is what protects the disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use hessra_proto::status::{Failure, Reason};
use http::header;
use opentelemetry::KeyValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::metered::{Allowance, Held, Metered, Room};
use crate::problem::{Kind, Problem};
use crate::telemetry::Metrics;
use crate::tls::{AddressBlock, CallerAddress, Standing};

/// Addresses that may have all their places without a proof at once.
const ADDRESSES_FULL: u32 = 8;
/// Places of an address with a proof, for each one without: a whole site may stand behind it.
const PROVED_SHARE: u32 = 16;
/// Time after which a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limits of places.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// Requests at once of one address without a proof.
    pub per_address_max: u32,
    /// Bytes of bodies in memory.
    pub bodies_bytes_max: usize,
}

/// The places of one port. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
}

struct Shared {
    limits: PlaceLimits,
    unproved: Mutex<Taken>,
    /// Places taken with a proof.
    proved: Mutex<Taken>,
    /// Bytes that are free for bodies, by standing.
    bodies: [Arc<Semaphore>; Standing::ALL.len()],
    metrics: Arc<Metrics>,
}

/// Places taken.
#[derive(Default)]
struct Taken {
    all: u32,
    by_address: BTreeMap<AddressBlock, u32>,
}

/// The place of one request, with the bytes of its body; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    standing: Standing,
    /// `None` = a request that came over no connection.
    address: Option<AddressBlock>,
    bytes: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Places {
    /// All places free.
    #[must_use]
    pub fn new(limits: PlaceLimits, metrics: &Arc<Metrics>) -> Self {
        let quarter = limits.bodies_bytes_max / 4;
        let bodies = Standing::ALL.map(|standing| match standing {
            Standing::Unproved | Standing::Proved => quarter,
            Standing::Kept => 2 * quarter,
        });
        Self {
            shared: Arc::new(Shared {
                limits,
                unproved: Mutex::default(),
                proved: Mutex::default(),
                bodies: bodies.map(|bytes| Arc::new(Semaphore::new(bytes))),
                metrics: Arc::clone(metrics),
            }),
        }
    }

    /// Router whose requests take places.
    pub fn around(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, placed))
    }

    /// Takes a place; `None` = there is none.
    fn take(&self, standing: Standing, address: Option<AddressBlock>) -> Option<Place> {
        if let Some(address) = address
            && !self.shared.take(standing, address)
        {
            return None;
        }
        Some(Place {
            shared: Arc::clone(&self.shared),
            standing,
            address,
            bytes: Mutex::default(),
        })
    }
}

async fn placed(State(places): State<Places>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let standing = extensions.get::<Standing>().copied().unwrap_or_default();
    let address = extensions.get::<CallerAddress>();
    let address = address.map(|address| AddressBlock::from(address.0.ip()));
    let Some(place) = places.take(standing, address) else {
        places.shared.refused("places");
        return full(&request);
    };
    let place: Arc<dyn Room> = Arc::new(place);
    let allowance = Allowance::of(request.uri().path());
    let request = request.map(|body| Metered::around(body, allowance, Arc::clone(&place)));
    let response = next.run(request).await;
    response.map(|body| Body::new(Held::new(body, place)))
}

/// Answer for a request that has no place.
fn full(request: &Request) -> Response {
    let sentence = "too many requests of this address run at once";
    if is_grpc(request) {
        let failure = Failure::new(Reason::Limit, sentence)
            .hint("Show a client certificate, end streams that are not read, or try again.")
            .retry_after(RETRY_AFTER);
        return Status::from(failure).into_http();
    }
    Problem::new(Kind::TooMany, "overloaded", sentence).into_response()
}

fn is_grpc(request: &Request) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}

impl Shared {
    fn take(&self, standing: Standing, address: AddressBlock) -> bool {
        let each = self.limits.per_address_max;
        let (each, all) = match standing {
            Standing::Unproved => (each, each.saturating_mul(ADDRESSES_FULL)),
            // Seats are kept for them, and each seat has its streams.
            Standing::Proved | Standing::Kept => (each.saturating_mul(PROVED_SHARE), u32::MAX),
        };
        self.taken(standing).take(address, each, all)
    }

    fn taken(&self, standing: Standing) -> MutexGuard<'_, Taken> {
        let taken = match standing {
            Standing::Unproved => &self.unproved,
            Standing::Proved | Standing::Kept => &self.proved,
        };
        // Nothing panics while it holds the lock.
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, reason: &'static str) {
        let reason = [KeyValue::new("reason", reason)];
        self.metrics.requests_refused.add(1, &reason);
    }
}

impl Taken {
    fn take(&mut self, address: AddressBlock, each_max: u32, all_max: u32) -> bool {
        let here = self.by_address.get(&address).copied().unwrap_or_default();
        if here >= each_max || self.all >= all_max {
            return false;
        }
        self.all += 1;
        self.by_address.insert(address, here + 1);
        true
    }

    fn give_back(&mut self, address: AddressBlock) {
        self.all = self.all.saturating_sub(1);
        let here = self.by_address.get(&address).copied().unwrap_or_default();
        if here <= 1 {
            self.by_address.remove(&address);
        } else {
            self.by_address.insert(address, here - 1);
        }
    }
}

impl Room for Place {
    fn hold(&self, bytes: usize) -> bool {
        let pool = Arc::clone(&self.shared.bodies[self.standing as usize]);
        let Some(more) = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| pool.try_acquire_many_owned(bytes).ok())
        else {
            return false;
        };
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        true
    }

    fn refused(&self, reason: &'static str) {
        self.shared.refused(reason);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.shared.taken(self.standing).give_back(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let limits = PlaceLimits {
            per_address_max: 2,
            bodies_bytes_max: 400,
        };
        Places::new(limits, &Metrics::unrecorded())
    }

    fn address(last: u8) -> Option<AddressBlock> {
        Some(AddressBlock::from(std::net::IpAddr::from([
            192, 0, 2, last,
        ])))
    }

    #[test]
    fn an_address_has_its_places_and_callers_with_a_proof_have_theirs() {
        let places = places();
        let take = |last, standing| places.take(standing, address(last));
        let taken: Vec<Place> = (0..9).map_while(|_| take(1, Standing::Unproved)).collect();
        assert_eq!(taken.len(), 2);
        assert!(take(1, Standing::Kept).is_some() && take(2, Standing::Unproved).is_some());
        drop(taken);
        assert!(take(1, Standing::Unproved).is_some());
        let proved: Vec<Place> = (0..99).map_while(|_| take(1, Standing::Proved)).collect();
        assert_eq!(proved.len(), 32, "an address with proofs has more");
        let all: Vec<Place> = (10..100)
            .filter_map(|last| take(last, Standing::Unproved))
            .collect();
        assert_eq!(all.len(), 16, "all strangers together");
    }

    #[test]
    fn strangers_hold_a_quarter_of_the_memory_and_operators_have_their_half() {
        let places = places();
        let take = |standing| places.take(standing, address(1)).unwrap();
        let stranger = take(Standing::Unproved);
        assert!(stranger.hold(60) && stranger.hold(40) && !stranger.hold(1));
        let operator = take(Standing::Kept);
        assert!(operator.hold(200) && !operator.hold(1));
        drop(stranger);
        assert!(take(Standing::Unproved).hold(100));
    }
}

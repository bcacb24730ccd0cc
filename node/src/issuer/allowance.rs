//! Allowances: how often an identity, the subject of a token, or an address is worked for.
//!
//! Each is asked before the expensive part of what it bounds. An address is asked before a token is looked at: nothing else
//! is known of a stranger. A subject is asked when the signatures of its token verify, before the checks of its holders run:
//! before that, anybody could use up the allowance of anybody else. Being asked about is no asking: tokens of a subject that
//! others show have an allowance of their own, so that nobody who holds one keeps the subject from its next.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};

use crate::edge::random_16;
use crate::tls::AddressBlock;

/// Identities that the limiter has before they are swept: names in the policy, not in requests, bound them.
const LIMITED_MAX: usize = 10_000;

/// Requests per second, and as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one identity; and about the tokens of one subject.
    pub per_identity: NonZeroU32,
    /// Of one address without a client certificate.
    pub per_address: NonZeroU32,
}

/// The allowances of one node.
pub(super) struct Allowances {
    identities: DefaultKeyedRateLimiter<String>,
    asked_about: Buckets,
    addresses: Buckets,
}

/// Payer of the judgement of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// Its subject, which shows it to get another.
    Subject,
    /// Its subject, about whose token somebody asks.
    AskedAbout,
    /// A caller that has paid.
    Paid,
}

impl Allowances {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            identities: RateLimiter::keyed(Quota::per_second(rates.per_identity)),
            asked_about: Buckets::new(rates.per_identity),
            addresses: Buckets::new(rates.per_address),
        }
    }

    /// Takes a request from the allowance of an identity; false when nothing is left.
    pub(super) fn of_identity(&self, path: &str) -> bool {
        if self.identities.len() > LIMITED_MAX {
            self.identities.retain_recent();
        }
        self.identities.check_key(&path.to_owned()).is_ok()
    }

    /// Takes a question about a token of a subject from its allowance; false when nothing is left.
    pub(super) fn of_questions(&self, path: &str) -> bool {
        self.asked_about.take(path)
    }

    /// Takes a request from the allowance of an address; false when nothing is left.
    pub(super) fn of_address(&self, address: IpAddr) -> bool {
        self.addresses
            .take(&AddressBlock::from(address).to_string())
    }
}

/// Allowances of names that requests choose. Names share buckets, by a digest that nobody outside can compute: their memory
/// is bounded, whoever comes.
struct Buckets {
    salt: [u8; 16],
    limiter: DefaultKeyedRateLimiter<u16>,
}

impl Buckets {
    fn new(per_second: NonZeroU32) -> Self {
        Self {
            salt: random_16(),
            limiter: RateLimiter::keyed(Quota::per_second(per_second)),
        }
    }

    /// Takes one from the allowance; false when nothing is left.
    fn take(&self, name: &str) -> bool {
        let digest = Sha256::new_with_prefix(self.salt).chain_update(name);
        let [high, low, ..]: [u8; 32] = digest.finalize().into();
        let bucket = u16::from_be_bytes([high, low]);
        self.limiter.check_key(&bucket).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_allowance_and_no_more() {
        let buckets = Buckets::new(NonZeroU32::new(2).expect("not zero"));
        let taken = (0..10).filter(|_| buckets.take("192.0.2.7")).count();
        assert!((2..10).contains(&taken), "{taken}");
    }
}

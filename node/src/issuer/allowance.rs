//! Allowances: how often an identity, the subject of a token, or an address is worked for.
//!
//! Each is asked before the expensive part of what it bounds. An address is asked before a token is looked at: nothing else
//! is known of a stranger. A subject is asked when the signatures of its token verify, before the checks of its holders run:
//! before that, anybody could use up the allowance of anybody else. Being asked about is no asking: tokens of a subject that
//! others show have an allowance of their own, so that nobody who holds one keeps the subject from its next.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hessra_revocation::Identity;
use opentelemetry::KeyValue;
use sha2::{Digest as _, Sha256};

use super::Issuer;
use crate::edge::random_16;
use crate::problem::{Kind, Problem};

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

/// Who pays for the judgement of a token.
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
}

impl Issuer {
    /// Checks that requests come not too often from an address.
    ///
    /// # Errors
    /// They do.
    pub fn allows(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(address) = address else {
            return Ok(());
        };
        let network = network_of(address).to_string();
        match self.allowances.addresses.take(&network) {
            true => Ok(()),
            false => Err(self.limited("address", "your address asks too often")),
        }
    }

    /// Checks that an identity asks not too often.
    pub(super) fn limit(&self, identity: &Identity) -> Result<(), Problem> {
        self.limit_named(identity.path())
    }

    /// Checks that the subject of a token, whose signatures verify, has not used up its allowance.
    pub(super) fn limit_subject(&self, subject: &str, payer: Payer) -> Result<(), Problem> {
        // Names of subjects are canonical, or nothing is permitted to them.
        let path = Identity::parse(subject).map_or_else(
            |_| subject.to_owned(),
            |identity| identity.path().to_owned(),
        );
        match payer {
            Payer::Paid => Ok(()),
            Payer::Subject => self.limit_named(&path),
            Payer::AskedAbout if self.allowances.asked_about.take(&path) => Ok(()),
            Payer::AskedAbout => Err(self.limited(
                "subject",
                &format!("tokens of `{path}` are asked about too often"),
            )),
        }
    }

    fn limit_named(&self, path: &str) -> Result<(), Problem> {
        let identities = &self.allowances.identities;
        if identities.len() > LIMITED_MAX {
            identities.retain_recent();
        }
        identities
            .check_key(&path.to_owned())
            .map_err(|_| self.limited("identity", &format!("`{path}` asks too often")))
    }

    fn limited(&self, by: &'static str, what: &str) -> Problem {
        let metrics = &self.parts.metrics;
        metrics.requests_limited.add(1, &[KeyValue::new("by", by)]);
        let sentence = format!("{what}: try again in a second");
        Problem::new(Kind::TooMany, "rate_limited", sentence)
    }
}

/// Network that counts as one address: an IPv6 address is one of the /64 that its holder has whole.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
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
    fn an_address_is_the_network_that_its_holder_has() {
        let network = |text: &str| network_of(text.parse().expect("an address")).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_name_has_its_allowance_and_no_more() {
        let buckets = Buckets::new(NonZeroU32::new(2).expect("not zero"));
        let taken = (0..10).filter(|_| buckets.take("192.0.2.7")).count();
        assert!((2..10).contains(&taken), "{taken}");
    }
}

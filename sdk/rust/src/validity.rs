//! Validity of certificates, as they state it themselves.

use std::fmt;

use hessra_revocation::UnixSeconds;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// Validity of a chain of certificates: from the last beginning to the first end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    from: UnixSeconds,
    until: UnixSeconds,
}

/// Reason for which a chain is not valid now. Continues a sentence that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotValid {
    Ended(UnixSeconds),
    NotYet(UnixSeconds),
}

impl Validity {
    /// Validity of a chain; `None` when a certificate of it cannot be read.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let each = chain.iter().map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let validity = certificate.validity();
            Some(Self {
                from: seconds(validity.not_before),
                until: seconds(validity.not_after),
            })
        });
        let each: Vec<Self> = each.collect::<Option<_>>()?;
        Some(Self {
            from: each.iter().map(|one| one.from).max()?,
            until: each.iter().map(|one| one.until).min()?,
        })
    }

    pub(crate) fn check(self, now: UnixSeconds) -> Result<(), NotValid> {
        match self {
            // A certificate is valid within the second that it names as its last.
            Self { until, .. } if now > until => Err(NotValid::Ended(until)),
            Self { from, .. } if now < from => Err(NotValid::NotYet(from)),
            _ => Ok(()),
        }
    }
}

fn seconds(time: ASN1Time) -> UnixSeconds {
    UnixSeconds(u64::try_from(time.timestamp()).unwrap_or_default())
}

impl fmt::Display for NotValid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(at) => write!(f, "ended at {}", utc(*at)),
            Self::NotYet(at) => write!(f, "is not valid before {}", utc(*at)),
        }
    }
}

/// Instant as people read it: `2026-11-21T10:00:00Z`.
pub(crate) fn utc(at: UnixSeconds) -> String {
    let time = i64::try_from(at.0)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    let Some(time) = time.map(|time| time.to_datetime()) else {
        return format!("{at} (unix seconds)");
    };
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_between_its_instants_and_says_them() {
        let validity = Validity {
            from: UnixSeconds(1_000_000_000),
            until: UnixSeconds(1_800_000_000),
        };
        let at = |now| {
            validity
                .check(UnixSeconds(now))
                .map_err(|not| not.to_string())
        };
        assert_eq!(
            at(999_999_999),
            Err("is not valid before 2001-09-09T01:46:40Z".to_owned())
        );
        assert_eq!(at(1_000_000_000), Ok(()));
        assert_eq!(at(1_800_000_000), Ok(()));
        assert_eq!(
            at(1_800_000_001),
            Err("ended at 2027-01-15T08:00:00Z".to_owned())
        );
    }
}

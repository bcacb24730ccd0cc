//! Validity of certificates, as they state it.

use std::path::Path;

use hessra_settings::duration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::Finding;
use crate::failure::{CommandError, Outcome};

/// Time before the end within which a certificate needs a look: two weeks leave time to get another.
const SOON: u64 = 14 * 24 * 60 * 60;

/// Validity of a certificate: its begin and its end, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub from: u64,
    pub until: u64,
}

/// Validity of every certificate in a PEM file.
pub(super) fn read(bytes: &[u8], path: &Path) -> Outcome<Vec<Validity>> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found: Option<Vec<Validity>> = ders
        .ok()
        .and_then(|ders| ders.iter().map(|der| validity(der)).collect());
    found.filter(|found| !found.is_empty()).ok_or_else(|| {
        CommandError::usage(format!("{} holds no certificate", path.display()))
            .hint("Give a PEM file.")
    })
}

/// Validity of one certificate.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds =
        |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = certificate.validity();
    Some(Validity {
        from: seconds(validity.not_before),
        until: seconds(validity.not_after),
    })
}

/// Finding about certificates: valid now and for a while, or what to do. The first to end counts.
pub(super) fn assess(name: &'static str, what: &str, found: &[Validity], now: u64) -> Finding {
    let until = found
        .iter()
        .map(|validity| validity.until)
        .min()
        .unwrap_or_default();
    let from = found
        .iter()
        .map(|validity| validity.from)
        .max()
        .unwrap_or_default();
    let left = duration::rounded(std::time::Duration::from_secs(until.saturating_sub(now)));
    match () {
        () if now < from => Finding::bad(
            name,
            format!("{what} is not valid yet"),
            "Check this computer's clock.",
        ),
        () if now >= until => Finding::bad(
            name,
            format!("{what} has expired"),
            "Get a new certificate.",
        ),
        () if until - now < SOON => Finding::warning(
            name,
            format!("{what} expires in {left}"),
            "Get a new certificate before.",
        ),
        () => Finding::good(name, format!("{what}, valid for {left}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_end_of_a_certificate_is_seen_coming() {
        let found = [Validity {
            from: 100,
            until: 100 + 2 * SOON,
        }];
        let at = |now| assess("c", "it", &found, now).exit;
        assert_eq!(at(99), Exit::Unavailable);
        assert_eq!(at(100), Exit::Done);
        assert_eq!(at(101 + SOON), Exit::Unconfirmed);
        assert_eq!(at(100 + 2 * SOON), Exit::Unavailable);
    }

    #[test]
    fn what_is_no_certificate_is_refused_by_name() {
        let failure = read(b"hello", Path::new("x.pem")).expect_err("refused");
        assert!(failure.message.contains("x.pem"), "{failure}");
    }
}

//! Errors of TLS, found inside those of the libraries that carry them, and what they mean.

use std::error::Error;
use std::fmt;

use rustls::AlertDescription as Alert;

/// Refusal of the client's certificate by a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateRefused {
    /// It has ended, or has not begun.
    Ended,
    Revoked,
    /// No authority that the server believes has signed it.
    Stranger,
    /// None was shown, and one is needed.
    Missing,
    Other,
}

impl CertificateRefused {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Ended => {
                "Get a new certificate, and check the clocks of this computer and of the server."
            }
            Self::Revoked => "Get a new certificate.",
            Self::Stranger => "Use a client certificate that comes from the cluster's client CA.",
            Self::Missing => "Give a client certificate and its key.",
            Self::Other => {
                "Check that the client certificate comes from the cluster's client CA and has not expired."
            }
        }
    }
}

/// Continues a sentence that names the server.
impl fmt::Display for CertificateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "refuses the client certificate: it has ended, or is not valid yet",
            Self::Revoked => "refuses the client certificate: it is revoked",
            Self::Stranger => "refuses the client certificate: it does not know who issued it",
            Self::Missing => "needs a client certificate, and none was shown",
            Self::Other => "refuses the client certificate",
        })
    }
}

/// Refusal of our certificate inside an error, if that is what it is about.
pub(crate) fn certificate_refused(error: &(dyn Error + 'static)) -> Option<CertificateRefused> {
    let rustls::Error::AlertReceived(alert) = cause(error)? else {
        return None;
    };
    Some(match alert {
        Alert::CertificateExpired => CertificateRefused::Ended,
        Alert::CertificateRevoked => CertificateRefused::Revoked,
        Alert::UnknownCA => CertificateRefused::Stranger,
        Alert::CertificateRequired | Alert::NoCertificate => CertificateRefused::Missing,
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => CertificateRefused::Other,
        _ => return None,
    })
}

/// The error of TLS inside another, if there is one. An IO error that carries it is passed over by its own `source`.
pub(crate) fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let causes = std::iter::successors(Some(error), |cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        match io.and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => (**cause).source(),
        }
    });
    causes.filter_map(|cause| cause.downcast_ref()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("transport error")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_alert_about_the_certificate_is_found_wherever_it_is_carried() {
        let refused = |alert| {
            let carried = std::io::Error::other(rustls::Error::AlertReceived(alert));
            certificate_refused(&Outer(carried))
        };
        let expected = [
            (Alert::CertificateExpired, Some(CertificateRefused::Ended)),
            (Alert::CertificateRevoked, Some(CertificateRefused::Revoked)),
            (Alert::UnknownCA, Some(CertificateRefused::Stranger)),
            (
                Alert::CertificateRequired,
                Some(CertificateRefused::Missing),
            ),
            (Alert::CertificateUnknown, Some(CertificateRefused::Other)),
            (Alert::InternalError, None),
        ];
        for (alert, expected) in expected {
            assert_eq!(refused(alert), expected, "{alert:?}");
        }
        let plain = Outer(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(certificate_refused(&plain), None);
    }
}

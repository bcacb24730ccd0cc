//! TLS of one port as its files say now, and whether a certificate that was shown before would still be believed.
//!
//! A handshake checks a chain once; a connection lives for an hour. When the authorities of a port change, each open
//! connection asks again ([`Trust::believes`]) and is cut when its own is gone.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;

use hessra_revocation::UnixMillis;

/// Certificate, key and authorities of a port.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) trust: Trust,
}

/// The authorities of a port.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Of the authorities of the port's file alone.
    of_files: Arc<dyn ClientCertVerifier>,
    /// The authorities themselves, sorted: other ones are another trust.
    roots: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    pub(super) fn new(
        verifier: Arc<dyn ClientCertVerifier>,
        of_files: Arc<dyn ClientCertVerifier>,
        mut roots: Vec<CertificateDer<'static>>,
    ) -> Self {
        roots.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        Self {
            verifier,
            of_files,
            roots: roots.into(),
        }
    }

    /// True when a chain, the caller's own certificate first, leads to one of these authorities.
    pub(super) fn believes(&self, chain: &[CertificateDer<'static>], now: UnixMillis) -> bool {
        leads(chain, &self.verifier, now)
    }

    /// True when a chain leads to an authority of the port's file, which may name operators; those of the policy may not.
    pub(super) fn vouches_for_operators(
        &self,
        chain: &[CertificateDer<'static>],
        now: UnixMillis,
    ) -> bool {
        leads(chain, &self.of_files, now)
    }
}

fn leads(
    chain: &[CertificateDer<'static>],
    verifier: &Arc<dyn ClientCertVerifier>,
    now: UnixMillis,
) -> bool {
    let Some((own, above)) = chain.split_first() else {
        return true;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    verifier.verify_client_cert(own, above, now).is_ok()
}

/// TLS of one port, replaced in place when its files change. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct PortTls {
    current: Arc<ArcSwap<ServerTls>>,
    trust: Arc<watch::Sender<Trust>>,
}

impl PortTls {
    /// The TLS of a port.
    #[must_use]
    pub fn new(tls: ServerTls) -> Self {
        Self {
            trust: Arc::new(watch::Sender::new(tls.trust.clone())),
            current: Arc::new(ArcSwap::from_pointee(tls)),
        }
    }

    /// Takes over what was read anew: for new connections all of it, for open ones its authorities.
    pub fn replace(&self, tls: ServerTls) {
        let trust = tls.trust.clone();
        self.current.store(Arc::new(tls));
        self.trust.send_if_modified(|before| {
            let is_other = before.roots != trust.roots;
            *before = trust;
            is_other
        });
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The authorities, and a notice when they change.
    pub(super) fn trust(&self) -> watch::Receiver<Trust> {
        self.trust.subscribe()
    }
}

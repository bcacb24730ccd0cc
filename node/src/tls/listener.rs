//! Accepts connections, within limits, and serves a router on them.
//!
//! ```text
//! accept ─ permit free? ─ handshake in time? ─ admitted? ─ h2 or http/1.1 by ALPN ─ router
//!            └ no: closed, counted      └ no: closed, logged
//! ```
//! The protocol comes from ALPN alone: guessing it from the first bytes would let a silent connection wait for ever.
//! Nothing here knows what the router does.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use opentelemetry::KeyValue;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::PeerCertificate;
use crate::telemetry::Metrics;

/// Limits of connections.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ListenerLimits {
    pub connections_max: u32,
    pub connections_per_address_max: u32,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub streams_max: u32,
    /// Streams that a caller took back before they were looked at, at once; above it the connection is closed.
    pub streams_reset_max: usize,
    pub header_bytes_max: u32,
}

/// Pause after an accept error (no descriptors left): the next one would come at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that a peer may send unread, per stream and connection (HTTP/2 flow control).
const WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes that hyper buffers for one stream that its reader does not take: ten thousand slow verifiers stay below 200
/// MB.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Decision whether a caller with this certificate, or none, comes in.
type Admission = Arc<dyn Fn(Option<&PeerCertificate>) -> Result<(), NotAdmitted> + Send + Sync>;

/// Error of a caller that is turned away after its handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No certificate was shown.
    #[error("the caller showed no certificate")]
    NoCertificate,
    /// A certificate was shown that names no member.
    #[error("the certificate names no node of cluster `{cluster}` (SAN URIs: {names})")]
    NotAMember {
        /// The cluster whose port this is.
        cluster: String,
        /// The names that the certificate has.
        names: String,
    },
}

/// One TLS port.
pub struct Listener {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ArcSwap<ServerConfig>>,
    limits: ListenerLimits,
    admission: Admission,
    permits: Arc<Permits>,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Listens; nothing is accepted before [`Listener::serve`]. `admission` is asked after each handshake.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub async fn open(
        name: &'static str,
        address: SocketAddr,
        tls: Arc<ArcSwap<ServerConfig>>,
        limits: ListenerLimits,
        admission: impl Fn(Option<&PeerCertificate>) -> Result<(), NotAdmitted> + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let permits = Arc::new(Permits::new(name, Arc::clone(&metrics)));
        Ok(Self {
            name,
            listener,
            address,
            tls,
            limits,
            admission: Arc::new(admission),
            permits,
            metrics,
        })
    }

    /// The address in use: tells the port that was asked for as 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, then lets requests under way finish, at most for `grace`.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.accept(stream, address, &router, graceful.watcher()),
                    Err(error) => {
                        warn!(port = self.name, %error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = stop.cancelled() => break,
            }
        }
        drop(self.listener);
        if timeout(grace, graceful.shutdown()).await.is_err() {
            warn!(
                port = self.name,
                ?grace,
                "connections cut: they did not end in time"
            );
        }
    }

    fn accept(&self, stream: TcpStream, address: SocketAddr, router: &Router, watcher: Watcher) {
        let Some(permit) = Permits::take(&self.permits, address.ip(), &self.limits) else {
            refused(&self.metrics, self.name, "full");
            debug!(port = self.name, %address, "connection refused: no permit");
            return;
        };
        let connection = Connection {
            name: self.name,
            address,
            tls: self.tls.load_full(),
            limits: self.limits.clone(),
            admission: Arc::clone(&self.admission),
            router: router.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        tokio::spawn(async move {
            connection.run(stream, watcher).await;
            drop(permit);
        });
    }
}

/// One connection.
struct Connection {
    name: &'static str,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    limits: ListenerLimits,
    admission: Admission,
    router: Router,
    metrics: Arc<Metrics>,
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher) {
        // Small answers must not wait for more: a revocation is a small answer.
        let _ = stream.set_nodelay(true);
        let handshake = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream);
        let stream = match timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse("handshake", &explained(&error)),
            Err(_) => return self.refuse("timeout", "no handshake in time"),
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(PeerCertificate::read);
        if let Err(reason) = (self.admission)(certificate.as_ref()) {
            return self.refuse("not_admitted", &reason.to_string());
        }
        self.serve(stream, certificate, watcher).await;
    }

    async fn serve(
        self,
        stream: TlsStream<TcpStream>,
        certificate: Option<PeerCertificate>,
        watcher: Watcher,
    ) {
        let builder = self.builder(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let (router, address) = (self.router, self.address);
        let certificate = certificate.map(Arc::new);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(CallerAddress(address));
            if let Some(certificate) = &certificate {
                request
                    .extensions_mut()
                    .insert(PeerCertificate::clone(certificate));
            }
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            debug!(port = self.name, %address, error, "connection broke");
        }
    }

    fn builder(&self, http2: bool) -> Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_pending_accept_reset_streams(limits.streams_reset_max)
            .max_header_list_size(limits.header_bytes_max)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(limits.idle_timeout / 2)
            .keep_alive_timeout(limits.idle_timeout / 2);
        if http2 {
            builder.http2_only()
        } else {
            builder.http1_only()
        }
    }

    fn refuse(&self, kind: &'static str, reason: &str) {
        refused(&self.metrics, self.name, kind);
        if self.name == "peer" {
            warn!(port = self.name, address = %self.address, reason, "connection refused");
        } else {
            debug!(port = self.name, address = %self.address, reason, "connection refused");
        }
    }
}

/// Address of the caller; a request extension on both ports.
#[derive(Clone, Copy, Debug)]
pub struct CallerAddress(pub SocketAddr);

fn refused(metrics: &Metrics, port: &'static str, reason: &'static str) {
    metrics.connections_refused.add(
        1,
        &[KeyValue::new("port", port), KeyValue::new("reason", reason)],
    );
}

/// The sentence that names what to look at, for the failures that people run into.
fn explained(error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the caller's certificate was not signed by a CA that this port trusts".to_owned()
        }
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the caller's certificate has expired".to_owned(),
        Some(Error::NoCertificatesPresented) => "the caller showed no certificate".to_owned(),
        _ => error.to_string(),
    }
}

/// Permits for open connections, in all and by address.
struct Permits {
    port: &'static str,
    metrics: Arc<Metrics>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

/// One connection's permit; given back when dropped.
struct Permit {
    permits: Arc<Permits>,
    address: IpAddr,
}

impl Permits {
    fn new(port: &'static str, metrics: Arc<Metrics>) -> Self {
        Self {
            port,
            metrics,
            taken: Mutex::default(),
        }
    }

    fn take(permits: &Arc<Self>, address: IpAddr, limits: &ListenerLimits) -> Option<Permit> {
        let mut taken = permits.taken();
        let here = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.all >= limits.connections_max || here >= limits.connections_per_address_max {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        permits.record(taken.all);
        Some(Permit {
            permits: Arc::clone(permits),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, open: u32) {
        self.metrics
            .connections
            .record(u64::from(open), &[KeyValue::new("port", self.port)]);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.permits.taken();
        taken.all = taken.all.saturating_sub(1);
        self.permits.record(taken.all);
        let here = taken
            .by_address
            .get(&self.address)
            .copied()
            .unwrap_or_default();
        if here <= 1 {
            taken.by_address.remove(&self.address);
        } else {
            taken.by_address.insert(self.address, here - 1);
        }
    }
}

//! Accepts connections, within limits, and serves a router on them.
//!
//! ```text
//! accept ─ too many of its address? ─ handshake in time? ─ admitted? ─ seat free? ─ h2 or http/1.1 by ALPN ─ router
//!            └ yes: closed, counted     └ no: closed, logged            └ no: closed, counted
//! ```
//! The protocol comes from ALPN alone: guessing it from the first bytes would let a silent connection wait for ever. How long
//! a connection lives is decided in [`lifetime`](super::lifetime), how many there are in [`seats`](super::seats). Nothing here
//! knows what the router does.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use opentelemetry::KeyValue;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::lifetime::{Activity, Bounds, Decision, End, Exchange, Seen, decide};
use super::seats::{Arrival, PerSecond, SeatLimits, Seats, Standing};
use super::trust::{PortTls, Trust};
use super::{PeerCertificate, ends_at};
use crate::edge::{Clock, random_bytes};
use crate::telemetry::Metrics;

/// Limits of connections.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ListenerLimits {
    pub seats: SeatLimits,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    /// Longest time in which a caller takes nothing of an answer.
    pub stall_timeout: Duration,
    /// Longest life of a connection; each has between three quarters of it and all.
    pub age_max: Duration,
    pub streams_max: u32,
    /// Streams that a caller took back before they were looked at, at once; above it the connection is closed.
    pub streams_reset_max: usize,
    /// True when a connection is closed that takes back far more requests than are answered.
    pub is_counting_taken_back: bool,
    pub header_bytes_max: u32,
}

/// Pause after an accept error (no descriptors left): the next one would come at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that a peer may send unread, per stream and connection (HTTP/2 flow control).
const WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * WINDOW_BYTES;
/// The same for a caller that proved nothing: what HTTP/2 begins with, and no more (RFC 9113 §6.9.2). Its bodies are small.
const UNPROVED_WINDOW_BYTES: u32 = 65_535;
/// Streams of one connection of a caller that proved nothing: what RFC 9113 §6.5.2 calls the least that does not limit
/// parallelism.
const UNPROVED_STREAMS_MAX: u32 = 100;
/// Malformed streams of one connection; above it the connection is closed.
const ERRORS_MAX: usize = 100;
/// Bytes that hyper buffers for one stream that its reader does not take: ten thousand slow verifiers stay below 200
/// MB.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Refusals of the peer port that are logged in a second: a person looks at the first ones, and a flood fills no disk.
const WARNINGS_PER_SECOND: u32 = 20;

/// Decision whether a caller with this certificate, or none, comes in, and as what.
pub type Admission =
    Arc<dyn Fn(Option<&PeerCertificate>) -> Result<Standing, NotAdmitted> + Send + Sync>;

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
    listener: TcpListener,
    address: SocketAddr,
    port: Port,
}

/// Parts that all connections of a port share. Cheap to clone.
#[derive(Clone)]
struct Port {
    name: &'static str,
    tls: PortTls,
    limits: Arc<ListenerLimits>,
    clock: Clock,
    metrics: Arc<Metrics>,
    warnings: Arc<Mutex<PerSecond>>,
}

/// Service of a port, and the callers that it is for.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Served {
    pub router: Router,
    /// Asked after each handshake.
    pub admission: Admission,
}

impl Listener {
    /// Listens; nothing is accepted before [`Listener::serve`].
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub async fn open(
        name: &'static str,
        address: SocketAddr,
        tls: PortTls,
        limits: ListenerLimits,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let port = Port {
            name,
            tls,
            limits: Arc::new(limits),
            clock,
            metrics,
            warnings: Arc::default(),
        };
        Ok(Self {
            listener,
            address,
            port,
        })
    }

    /// The address in use: tells the port that was asked for as 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, then lets requests under way finish, at most for `grace`.
    pub async fn serve(self, served: Served, stop: CancellationToken, grace: Duration) {
        let (port, cut) = (self.port, CancellationToken::new());
        let seats = port.seats();
        // Each connection holds a sender: when all are gone, so are the connections.
        let (open, mut ended) = mpsc::channel::<()>(1);
        loop {
            let (stream, address) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        warn!(port = port.name, %error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = stop.cancelled() => break,
            };
            let arrival = match seats.arrive(address.ip(), Instant::now()) {
                Ok(arrival) => arrival,
                Err(full) => {
                    port.refused("too_fast");
                    debug!(port = port.name, %address, %full, "connection refused");
                    continue;
                }
            };
            let connection = Connection {
                port: port.clone(),
                address,
                served: served.clone(),
                stop: stop.clone(),
                cut: cut.clone(),
            };
            let open = open.clone();
            tokio::spawn(async move {
                connection.run(stream, arrival).await;
                drop(open);
            });
        }
        drop((self.listener, open));
        if timeout(grace, ended.recv()).await.is_err() {
            warn!(
                port = port.name,
                ?grace,
                "connections cut: they did not end in time"
            );
        }
        cut.cancel();
    }
}

impl Port {
    fn seats(&self) -> Arc<Seats> {
        let (name, metrics) = (self.name, Arc::clone(&self.metrics));
        Seats::new(self.limits.seats, move |standing, taken| {
            let labels = [
                KeyValue::new("port", name),
                KeyValue::new("standing", standing.word()),
            ];
            metrics.connections.record(taken.into(), &labels);
        })
    }

    fn refused(&self, reason: &'static str) {
        let labels = [
            KeyValue::new("port", self.name),
            KeyValue::new("reason", reason),
        ];
        self.metrics.connections_refused.add(1, &labels);
    }

    fn ended(&self, end: End) {
        let labels = [
            KeyValue::new("port", self.name),
            KeyValue::new("reason", end.word()),
        ];
        self.metrics.connections_ended.add(1, &labels);
    }

    /// True when a refusal is one that a person should see: members are few, and none is refused without a reason.
    fn is_worth_a_warning(&self) -> bool {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        self.name == "peer" && warnings.take(WARNINGS_PER_SECOND, Instant::now())
    }

    /// Bounds of a connection that begins now.
    fn bounds(&self, chain: &[CertificateDer<'static>]) -> Bounds {
        let (limits, now) = (&self.limits, Instant::now());
        let [random] = random_bytes();
        Bounds {
            idle_max: limits.idle_timeout,
            stall_max: limits.stall_timeout,
            aged_at: now + jittered(limits.age_max, random),
            certificate_ends: self.end_of(chain, now),
            is_counting_taken_back: limits.is_counting_taken_back,
        }
    }

    /// Instant at which the first certificate of a chain ends.
    fn end_of(&self, chain: &[CertificateDer<'static>], now: Instant) -> Option<Instant> {
        let ends = chain.iter().map(|each| ends_at(each).unwrap_or(0)).min()?;
        let left =
            Duration::from_secs(ends).saturating_sub(Duration::from_millis(self.clock.wall().0));
        now.checked_add(left)
    }
}

/// Between three quarters of a time and all of it: connections that were made together do not end together.
fn jittered(time: Duration, random: u8) -> Duration {
    time.mul_f64(0.75 + 0.25 * f64::from(random) / 255.0)
}

/// One connection.
struct Connection {
    port: Port,
    address: SocketAddr,
    served: Served,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// The caller at the other end of a connection.
struct Peer {
    chain: Vec<CertificateDer<'static>>,
    certificate: Option<PeerCertificate>,
    standing: Standing,
    /// Taken before the handshake, so that no change since is missed.
    trust: watch::Receiver<Trust>,
}

impl Connection {
    async fn run(self, stream: TcpStream, arrival: Arrival) {
        // Small answers must not wait for more: a revocation is a small answer.
        let _ = stream.set_nodelay(true);
        let mut trust = self.port.tls.trust();
        let handshake = TlsAcceptor::from(self.port.tls.config()).accept(stream);
        let handshake = timeout(self.port.limits.handshake_timeout, handshake);
        let done = tokio::select! {
            done = handshake => done,
            () = arrival.pushed_out().cancelled() => {
                return self.refuse("pushed_out", "its handshake made room for others");
            }
            () = self.stop.cancelled() => return,
        };
        let stream = match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse("handshake", &explained(&error)),
            Err(_) => return self.refuse("timeout", "no handshake in time"),
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = shown
            .iter()
            .cloned()
            .map(CertificateDer::into_owned)
            .collect();
        let is_of_files = trust
            .borrow_and_update()
            .vouches_for_operators(&chain, self.port.clock.wall());
        let own = chain.first();
        let certificate = own.map(|own| PeerCertificate::read(own, is_of_files));
        let standing = match (self.served.admission)(certificate.as_ref()) {
            Ok(standing) => standing,
            Err(reason) => return self.refuse("not_admitted", &reason.to_string()),
        };
        let fingerprint = certificate.as_ref().map(|shown| shown.sha256);
        let _seat = match arrival.sit(standing, fingerprint) {
            Ok(seat) => seat,
            Err(full) => return self.refuse("full", &full.to_string()),
        };
        let peer = Peer {
            chain,
            certificate,
            standing,
            trust,
        };
        self.serve(stream, peer).await;
    }

    async fn serve(self, stream: TlsStream<TcpStream>, mut peer: Peer) {
        let bounds = self.port.bounds(&peer.chain);
        let (activity, goodbye) = (Activity::begin(Instant::now()), CancellationToken::new());
        let service = self.service(&peer, &activity, &goodbye);
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let builder = self.builder(is_http2, peer.standing);
        let mut connection = pin!(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .into_owned()
        );
        let (mut is_untrusted, mut leaving_until) = (false, None);
        loop {
            let seen = Seen {
                is_untrusted,
                is_closing: self.stop.is_cancelled(),
                leaving_until,
                ..activity.seen()
            };
            let look_at = match decide(&bounds, &seen, Instant::now()) {
                Decision::Wait(until) => until,
                Decision::Goodbye(end, until) => {
                    self.port.ended(end);
                    leaving_until = Some(until);
                    // Who serves on a port that closes knows it already, and sends its callers elsewhere.
                    if end != End::Closing {
                        goodbye.cancel();
                    }
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Decision::Cut(end) => {
                    self.port.ended(end);
                    debug!(port = self.port.name, address = %self.address, reason = end.word(), "connection cut");
                    return;
                }
            };
            tokio::select! {
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        debug!(port = self.port.name, address = %self.address, error, "connection broke");
                    }
                    return;
                }
                () = sleep_until(look_at) => {}
                () = activity.taking_back() => {}
                // The sender is a part of the port, which this connection has.
                Ok(()) = peer.trust.changed(), if !peer.chain.is_empty() => {
                    let trust = peer.trust.borrow_and_update().clone();
                    let now = self.port.clock.wall();
                    let vouches = trust.vouches_for_operators(&peer.chain, now);
                    let vouched = peer.certificate.as_ref().is_some_and(|own| own.is_of_files);
                    is_untrusted |= !trust.believes(&peer.chain, now) || vouches != vouched;
                }
                () = self.stop.cancelled(), if leaving_until.is_none() => {}
                () = self.cut.cancelled() => return,
            }
        }
    }

    fn service(
        &self,
        peer: &Peer,
        activity: &Arc<Activity>,
        goodbye: &CancellationToken,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = http::Response<Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let (router, address) = (self.served.router.clone(), CallerAddress(self.address));
        let (standing, goodbye) = (peer.standing, Goodbye(goodbye.clone()));
        let certificate = peer.certificate.clone().map(Arc::new);
        let activity = Arc::clone(activity);
        service_fn(move |mut request: Request<Incoming>| {
            let exchange = activity.request(request.method());
            let extensions = request.extensions_mut();
            extensions.insert(address);
            extensions.insert(standing);
            extensions.insert(goodbye.clone());
            if let Some(certificate) = &certificate {
                extensions.insert(PeerCertificate::clone(certificate));
            }
            answered(router.clone(), request.map(Body::new), exchange)
        })
    }

    fn builder(&self, is_http2: bool, standing: Standing) -> Builder<TokioExecutor> {
        let limits = &self.port.limits;
        let (streams, window, connection_window) = match standing {
            Standing::Unproved => (
                limits.streams_max.min(UNPROVED_STREAMS_MAX),
                UNPROVED_WINDOW_BYTES,
                UNPROVED_WINDOW_BYTES,
            ),
            Standing::Proved | Standing::Kept => {
                (limits.streams_max, WINDOW_BYTES, CONNECTION_WINDOW_BYTES)
            }
        };
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .max_pending_accept_reset_streams(limits.streams_reset_max)
            .max_local_error_reset_streams(ERRORS_MAX)
            .max_header_list_size(limits.header_bytes_max)
            .initial_stream_window_size(window)
            .initial_connection_window_size(connection_window)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(limits.idle_timeout / 2)
            .keep_alive_timeout(limits.idle_timeout / 2);
        if is_http2 {
            builder.http2_only()
        } else {
            builder.http1_only()
        }
    }

    fn refuse(&self, kind: &'static str, reason: &str) {
        let (port, address) = (self.port.name, self.address);
        self.port.refused(kind);
        if self.port.is_worth_a_warning() {
            warn!(port, %address, reason, "connection refused");
        } else {
            debug!(port, %address, reason, "connection refused");
        }
    }
}

/// Answers a request; the answer is watched until it is taken.
async fn answered(
    router: Router,
    request: Request<Body>,
    exchange: Exchange,
) -> Result<http::Response<Body>, std::convert::Infallible> {
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| exchange.answer(body)))
}

/// Address of the caller; a request extension on both ports.
#[derive(Clone, Copy, Debug)]
pub struct CallerAddress(pub SocketAddr);

/// Goodbye of the connection, said when it must end soon while its port stays open; a request extension on both ports. An answer
/// that has no end of its own ends then, so that the caller asks again on a new connection.
#[derive(Clone, Debug, Default)]
pub struct Goodbye(CancellationToken);

impl Goodbye {
    /// Returns when the connection must end.
    pub async fn said(&self) {
        self.0.cancelled().await;
    }
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

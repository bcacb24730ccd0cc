//! HTTP/2 by hand: connections and requests that no well-behaved client makes.
//!
//! An [`Attacker`] makes connections ([`Link`]), and leaves on them what is unfinished, unread or taken back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, SendStream};
use hessra_proto::v1::feed::{self, Hello, Upstream, upstream};
use http::Request;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Time after which an attacker gives up on a connection, a stream or an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of all answers of a connection that a client takes unasked.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Time without a refusal after which a stream counts as one that goes on.
const SILENCE: Duration = Duration::from_millis(50);

/// An attacker with one address, and a certificate or none.
#[derive(Clone)]
pub struct Attacker {
    address: String,
    tls: TlsConnector,
}

/// One HTTP/2 connection. Closed when dropped.
pub struct Link {
    /// Bytes of an answer that are taken unasked.
    window: u32,
    requests: SendRequest<Bytes>,
    pings: PingPong,
    driver: tokio::task::JoinHandle<()>,
}

/// A stream that was opened.
pub struct Opened {
    /// Body of the request.
    pub upload: SendStream<Bytes>,
    /// Answer to it.
    pub answer: ResponseFuture,
}

impl Attacker {
    /// Attacker without a certificate.
    pub fn stranger(address: &str, ca: &Path) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots(ca));
        Self::new(address, config.with_no_client_auth())
    }

    /// Attacker with the certificate `NAME.crt` and its key.
    pub fn with_certificate(address: &str, ca: &Path, name: &Path) -> Self {
        let certificate = CertificateDer::from_pem_file(name.with_extension("crt"));
        let key = PrivateKeyDer::from_pem_file(name.with_extension("key"));
        let config = ClientConfig::builder().with_root_certificates(roots(ca));
        let config = config
            .with_client_auth_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
            .expect("a certificate and its key");
        Self::new(address, config)
    }

    fn new(address: &str, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection costs the node a whole handshake.
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            address: address.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A TCP connection; `None` when it is refused.
    pub async fn tcp(&self) -> Option<TcpStream> {
        let connected = timeout(PATIENCE, TcpStream::connect(&self.address)).await;
        connected.ok()?.ok()
    }

    /// A TLS connection; `None` when the handshake is refused.
    pub async fn tls(&self) -> Option<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connected = timeout(PATIENCE, self.tls.connect(name, self.tcp().await?)).await;
        connected.ok()?.ok()
    }

    /// An HTTP/2 connection that takes so many bytes of each answer and no more; `None` when it is refused.
    pub async fn link(&self, window: u32) -> Option<Link> {
        let stream = self.tls().await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(window)
            // Each stream has its own; that of the connection never stands in the way.
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(100_000)
            .handshake(stream);
        let (requests, mut connection) = timeout(PATIENCE, handshake).await.ok()?.ok()?;
        let pings = connection.ping_pong()?;
        let driver = tokio::spawn(async move {
            // How it ends is what the attacker learns from its requests.
            let _ = connection.await;
        });
        let mut link = Link {
            window,
            requests,
            pings,
            driver,
        };
        // A server that has no seat closes after the handshake: its answer to a ping says that it has one.
        link.is_open().await.then_some(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// True when the node answers a ping.
    pub async fn is_open(&mut self) -> bool {
        let answered = timeout(PATIENCE, self.pings.ping(h2::Ping::opaque())).await;
        answered.is_ok_and(|answer| answer.is_ok())
    }

    /// Returns when the connection has ended.
    pub async fn ended(&mut self) {
        // It is told apart from an end by nobody.
        let _ = (&mut self.driver).await;
    }

    /// Opens a stream with the head of a gRPC request; `None` when the node lets no more in.
    pub async fn open(&mut self, path: &str) -> Option<Opened> {
        let request = grpc(path);
        self.send(request, false).await
    }

    /// Sends a gRPC request with an empty message. Returns its status code, as far as the node says one.
    pub async fn ask(&mut self, path: &str) -> Option<u32> {
        let mut opened = self.open(path).await?;
        let _ = opened.upload.send_data(framed(&[]), true);
        let answer = timeout(PATIENCE, opened.answer).await.ok()?.ok()?;
        let status = answer.headers().get("grpc-status")?;
        status.to_str().ok()?.parse().ok()
    }

    /// Opens an HTTPS request; with its body still to come, or none.
    pub async fn https(
        &mut self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
    ) -> Option<Opened> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", "application/json");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(()).expect("a request");
        self.send(request, method == "GET").await
    }

    async fn send(&mut self, request: Request<()>, is_whole: bool) -> Option<Opened> {
        let ready = timeout(PATIENCE, self.requests.clone().ready()).await;
        let mut requests = ready.ok()?.ok()?;
        let (answer, upload) = requests.send_request(request, is_whole).ok()?;
        Some(Opened { upload, answer })
    }

    /// Opens a stream of the feed and says hello; `None` when it is refused.
    pub async fn follow(&mut self, verifier: &str) -> Option<(Opened, h2::RecvStream)> {
        let mut opened = self.open("/hessra.v1.feed.Feed/Follow").await?;
        let hello = Upstream {
            message: Some(upstream::Message::Hello(Hello {
                verifier_id: verifier.to_owned(),
                log_root: vec![0; 32],
                ..Hello::default()
            })),
        };
        let message = framed(&hello.encode_to_vec());
        opened.upload.send_data(message, false).ok()?;
        let answer = timeout(PATIENCE, &mut opened.answer).await.ok()?.ok()?;
        let mut stream = answer.into_body();
        let patience = match self.window {
            0 => SILENCE,
            _ => PATIENCE,
        };
        let is_served = match timeout(patience, stream.data()).await {
            Ok(Some(Ok(part))) => {
                // Taken, so that more may come.
                let _ = stream.flow_control().release_capacity(part.len());
                is_welcome(&part)
            }
            Ok(_) => false,
            // A client without a window hears nothing, and its stream goes on.
            Err(_) => self.window == 0,
        };
        is_served.then_some((opened, stream))
    }
}

/// True when a stream begins with a welcome.
fn is_welcome(begin: &Bytes) -> bool {
    let Some(([_, length @ ..], rest)) = begin.split_first_chunk::<5>() else {
        return false;
    };
    let length = u32::from_be_bytes(*length) as usize;
    let message = rest.get(..length).map(feed::Downstream::decode);
    let message = message.and_then(|message| message.ok()?.message);
    matches!(message, Some(feed::downstream::Message::Welcome(_)))
}

fn roots(ca: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).expect("the CA of the cluster");
    roots.add(ca).expect("a CA");
    roots
}

fn grpc(path: &str) -> Request<()> {
    Request::builder()
        .method("POST")
        .uri(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

/// A gRPC message with its head.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(&head(message.len())[..]);
    bytes.put_slice(message);
    bytes.freeze()
}

/// Head of a gRPC message of so many bytes.
pub fn head(bytes: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(bytes).expect("a small message").to_be_bytes();
    [0, a, b, c, d]
}
